#include "io/bounce.h"

#include <algorithm>
#include <memory>
#include <new>
#include <utility>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/failure.h"
#include "base/units.h"
#include "io/file_storage.h"
#include "io/vectors.h"

namespace varve {
namespace {

// A longer request goes through in pieces of this size.
constexpr std::uint64_t kBounceBytesMax = kMiB;

}  // namespace

Bounce::Bounce(FileStorage& storage, StorageRequest& request, Buffer buffer) noexcept
    : storage_(storage),
      request_(request),
      buffer_(std::move(buffer)),
      total_(request.size_bytes()) {}

Bounce* Bounce::make(FileStorage& storage, StorageRequest& request) noexcept {
  const std::uint64_t block = storage.block_bytes();
  const std::uint64_t begin = round_down(request.offset, block);
  const std::uint64_t end = round_up(request.offset + request.size_bytes(), block);
  Result<Buffer> buffer = Buffer::allocate(std::max(block, std::min(end - begin, kBounceBytesMax)));
  if (!buffer) {
    return nullptr;
  }
  try {
    return std::make_unique<Bounce>(storage, request, std::move(*buffer)).release();
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

void Bounce::begin() noexcept {
  final_size_ = std::max(storage_.size(), request_.offset + total_);
  begin_piece();
}

void Bounce::begin_piece() noexcept {
  const std::uint64_t block = storage_.block_bytes();
  const std::uint64_t first = request_.offset + position_;
  const std::uint64_t last = request_.offset + total_;
  piece_begin_ = round_down(first, block);
  piece_end_ = std::min(round_up(last, block), piece_begin_ + buffer_.size());
  piece_bytes_ = std::min(last, piece_end_) - first;
  if (request_.operation == StorageOperation::read) {
    issue(Step::read, StorageOperation::read, piece_begin_, piece_end_ - piece_begin_, 0);
    return;
  }
  const bool head_is_partial = first != piece_begin_ || first + piece_bytes_ < piece_begin_ + block;
  if (head_is_partial) {
    issue(Step::read_head, StorageOperation::read, piece_begin_, block, 0);
    return;
  }
  after_head();
}

void Bounce::after_head() noexcept {
  const std::uint64_t block = storage_.block_bytes();
  const bool tail_is_partial = !is_aligned(request_.offset + position_ + piece_bytes_, block);
  if (tail_is_partial && piece_end_ - piece_begin_ > block) {
    const std::uint64_t tail = piece_end_ - block;
    issue(Step::read_tail, StorageOperation::read, tail, block, tail - piece_begin_);
    return;
  }
  write_piece();
}

void Bounce::write_piece() noexcept {
  const std::uint64_t from = request_.offset + position_ - piece_begin_;
  const Bytes target = buffer_.bytes().subspan(from, piece_bytes_);
  if (request_.operation == StorageOperation::write_zeroes) {
    zero_bytes(target);
  } else {
    gather(target, request_, position_);
  }
  issue(Step::write, StorageOperation::write, piece_begin_, piece_end_ - piece_begin_, 0);
}

void Bounce::end_piece() noexcept {
  position_ += piece_bytes_;
  if (position_ < total_) {
    begin_piece();
  } else if (request_.operation != StorageOperation::read && storage_.grows() &&
             piece_end_ > final_size_) {
    issue(Step::trim, StorageOperation::resize, final_size_, 0, 0);
  } else {
    finish({});
  }
}

void Bounce::inner_finished(const Result<void>& result) noexcept {
  if (!result) {
    finish(result);
    return;
  }
  switch (step_) {
    case Step::read:
      scatter(request_, position_,
              buffer_.bytes().subspan(request_.offset + position_ - piece_begin_, piece_bytes_));
      end_piece();
      break;
    case Step::read_head:
      after_head();
      break;
    case Step::read_tail:
      write_piece();
      break;
    case Step::write:
      end_piece();
      break;
    case Step::trim:
      finish({});
      break;
  }
}

void Bounce::finish(const Result<void>& result) noexcept {
  const std::unique_ptr<Bounce> self(this);
  const Result<void> copy = result;  // It may live in inner_.
  storage_.finish(request_, copy);
}

void Bounce::issue(Step step, StorageOperation operation, std::uint64_t offset,
                   std::uint64_t length, std::uint64_t buffer_offset) noexcept {
  step_ = step;
  inner_.operation = operation;
  inner_.tag = request_.tag;
  inner_.offset = offset;
  vector_ = {buffer_.data() + buffer_offset, static_cast<std::size_t>(length)};
  inner_.vectors = &vector_;
  inner_.vector_count = 1;
  storage_.start_inner(inner_, *this);
}

}  // namespace varve
