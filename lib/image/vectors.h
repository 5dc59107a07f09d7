// Walking through a request's memory piece by piece.
#pragma once

#include <algorithm>
#include <cstdint>

#include <varve/types.h>

#include "base/bytes.h"

namespace varve {

// A position in an array of vectors. The array stays the caller's.
class VectorCursor {
 public:
  VectorCursor() = default;
  VectorCursor(const IoVector* vectors, std::uint32_t count) noexcept
      : vectors_(vectors), left_(count) {
    skip_empty();
  }

  // Describes the next `length` bytes with at most `capacity` vectors in `target`; fewer bytes when
  // those do not suffice. Returns the vectors used and sets `length` to the bytes they cover. Does
  // not move. REQUIRES, like what moves over memory below: so many bytes are left.
  std::uint32_t describe(IoVector* target, std::uint32_t capacity,
                         std::uint64_t& length) const noexcept {
    VectorCursor cursor = *this;
    std::uint32_t used = 0;
    std::uint64_t covered = 0;
    while (covered < length && used < capacity) {
      VARVE_ASSERT(cursor.left_ != 0);
      const std::uint64_t piece =
          std::min<std::uint64_t>(cursor.vectors_->size - cursor.inside_, length - covered);
      target[used++] = {cursor.vectors_->data + cursor.inside_, static_cast<std::size_t>(piece)};
      covered += piece;
      cursor.advance(piece);
    }
    length = covered;
    return used;
  }
  // A cursor without memory stays where it is.
  void advance(std::uint64_t length) noexcept {
    while (length != 0 && left_ != 0) {
      const std::uint64_t piece = std::min<std::uint64_t>(vectors_->size - inside_, length);
      inside_ += piece;
      length -= piece;
      skip_empty();
    }
  }
  // Fills the next `length` bytes and moves past them.
  void fill_zero(std::uint64_t length) noexcept {
    for_each(length, [](Bytes piece) { zero_bytes(piece); });
  }
  void copy_in(ConstBytes source) noexcept {
    for_each(source.size(), [&](Bytes piece) {
      copy_bytes(piece, source.first(piece.size()));
      source = source.subspan(piece.size());
    });
  }
  void copy_out(Bytes target) noexcept {
    for_each(target.size(), [&](Bytes piece) {
      copy_bytes(target.first(piece.size()), piece);
      target = target.subspan(piece.size());
    });
  }

 private:
  template <class Visitor>
  void for_each(std::uint64_t length, Visitor&& visit) noexcept {
    while (length != 0) {
      VARVE_ASSERT(left_ != 0);
      const std::uint64_t piece = std::min<std::uint64_t>(vectors_->size - inside_, length);
      visit(Bytes(vectors_->data + inside_, static_cast<std::size_t>(piece)));
      length -= piece;
      advance(piece);
    }
  }
  void skip_empty() noexcept {
    while (left_ != 0 && inside_ == vectors_->size) {
      ++vectors_;
      --left_;
      inside_ = 0;
    }
  }

  const IoVector* vectors_ = nullptr;
  std::uint32_t left_ = 0;
  std::uint64_t inside_ = 0;  // Bytes of the first vector already passed.
};

}  // namespace varve
