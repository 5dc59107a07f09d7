#include "io/vectors.h"

#include "base/assert.h"

namespace varve {
namespace {

// Calls visit(piece, done) for each piece of [position, position + length) in order; `done` counts
// from 0.
template <class Visit>
void for_each_piece(const StorageRequest& request, std::uint64_t position, std::uint64_t length,
                    Visit visit) noexcept {
  std::uint64_t done = 0;
  for (std::uint32_t i = 0; i < request.vector_count && done < length; ++i) {
    const IoVector& vector = request.vectors[i];
    if (position >= vector.size) {
      position -= vector.size;
      continue;
    }
    const std::uint64_t piece = std::min<std::uint64_t>(vector.size - position, length - done);
    visit(Bytes(vector.data + position, piece), done);
    done += piece;
    position = 0;
  }
  VARVE_ASSERT(done == length);
}

}  // namespace

void gather(Bytes target, const StorageRequest& request, std::uint64_t position) noexcept {
  for_each_piece(request, position, target.size(), [&](Bytes piece, std::uint64_t done) {
    copy_bytes(target.subspan(done, piece.size()), piece);
  });
}

void scatter(const StorageRequest& request, std::uint64_t position, ConstBytes source) noexcept {
  for_each_piece(request, position, source.size(), [&](Bytes piece, std::uint64_t done) {
    copy_bytes(piece, source.subspan(done, piece.size()));
  });
}

void zero_from(const StorageRequest& request, std::uint64_t position) noexcept {
  for_each_piece(request, position, request.size_bytes() - position,
                 [](Bytes piece, std::uint64_t) { zero_bytes(piece); });
}

}  // namespace varve
