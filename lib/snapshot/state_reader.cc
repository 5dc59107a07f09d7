#include <algorithm>
#include <new>
#include <utility>
#include <vector>

#include <varve/state.h>

#include "base/failure.h"
#include "base/meter.h"
#include "base/try.h"
#include "snapshot/control_operation.h"
#include "snapshot/entries.h"
#include "snapshot/facts_table.h"
#include "snapshot/snapshot_image.h"
#include "snapshot/state_store.h"

namespace varve {
namespace {

// Read at once where the caller wants whole chunks.
constexpr std::uint64_t kChunksAtOnce = 16;
constexpr std::uint64_t kNoChunk = ~std::uint64_t{0};

}  // namespace

class StateReader::Implementation {
 public:
  Implementation(Qcow2Image& image, const SnapshotEntry& entry)
      : geometry_(image.metadata().geometry),
        meter_(image.metadata().meter),
        size_(entry.vm_state_bytes),
        facts_(facts_of(entry)),
        snapshot_(image, entry) {}

  // Loads the sums and holds them against their digest.
  Result<void> load(const SnapshotEntry& entry) {
    VARVE_TRY(snapshot_.load(entry));
    if (!is_verified()) {
      return {};
    }
    if (size_ > kStateBytesMax) {
      return corrupt_at(Corruption::snapshot_vm_state_too_large, IoTag::snapshot_table,
                        Error::kNoOffset, "a state with sums is larger than any is written", size_,
                        kStateBytesMax);
    }
    chunk_ = VARVE_TRY(Buffer::allocate(kStateChunkBytes));
    VARVE_TRY(memory_.take(meter_, StateLayout::sums_bytes(size_)));
    sums_.resize(StateLayout::sums_bytes(size_) / StateLayout::kSumBytes);
    VARVE_TRY(snapshot_.read_state(StateLayout::sums_begin(geometry_, size_),
                                   std::as_writable_bytes(std::span(sums_))));
    if (StateLayout::digest_of(sums_, size_) != facts_->state_digest) {
      return corrupt_at(Corruption::state_digest_mismatch, IoTag::state,
                        StateLayout::sums_begin(geometry_, size_),
                        "the sums of the machine state do not fit their digest");
    }
    return {};
  }

  [[nodiscard]] bool is_verified() const noexcept {
    return facts_.has_value() && facts_->has(SnapshotFacts::kHasStateDigest);
  }

  Result<void> read_at(std::uint64_t offset, Bytes target) {
    if (!range_fits(offset, target.size(), size_)) {
      Error error = failure_at(ErrorCode::out_of_range, IoTag::state, offset,
                               "the range ends beyond the machine state; its size");
      error.value = offset + target.size();
      error.limit = size_;
      return error;
    }
    if (!is_verified()) {
      return snapshot_.read_state(offset, target);
    }
    while (!target.empty()) {
      const std::uint64_t in_chunk = offset % kStateChunkBytes;
      const bool is_whole = in_chunk == 0 && target.size() >= kStateChunkBytes;
      const std::uint64_t length =
          is_whole ? std::min<std::uint64_t>(target.size() / kStateChunkBytes, kChunksAtOnce) *
                         kStateChunkBytes
                   : std::min<std::uint64_t>(kStateChunkBytes - in_chunk, target.size());
      if (is_whole) {
        VARVE_TRY(read_chunks(offset, target.first(length)));
      } else {
        VARVE_TRY(load_chunk(offset / kStateChunkBytes));
        copy_bytes(target.first(length), chunk_.bytes().subspan(in_chunk, length));
      }
      offset += length;
      target = target.subspan(length);
    }
    return {};
  }

  std::uint64_t position = 0;
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }

 private:
  Result<void> read_chunks(std::uint64_t offset, Bytes target) {
    VARVE_TRY(snapshot_.read_state(offset, target));
    for (std::uint64_t at = 0; at < target.size(); at += kStateChunkBytes) {
      VARVE_TRY(verify((offset + at) / kStateChunkBytes, target.subspan(at, kStateChunkBytes)));
    }
    return {};
  }

  Result<void> load_chunk(std::uint64_t chunk) {
    if (chunk == loaded_) {
      return {};
    }
    loaded_ = kNoChunk;
    const std::uint64_t begin = chunk * kStateChunkBytes;
    const std::uint64_t length = std::min(kStateChunkBytes, size_ - begin);
    VARVE_TRY(snapshot_.read_state(begin, chunk_.bytes().first(length)));
    zero_bytes(chunk_.bytes().subspan(length));
    VARVE_TRY(verify(chunk, chunk_.bytes()));
    loaded_ = chunk;
    return {};
  }

  Result<void> verify(std::uint64_t chunk, ConstBytes bytes) const {
    if (StateLayout::sum_of(bytes) != sums_[chunk]) {
      return corrupt_at(Corruption::state_sum_mismatch, IoTag::state, chunk * kStateChunkBytes,
                        "64 KiB of the machine state differ from their sum");
    }
    return {};
  }

  Geometry geometry_;
  Meter* meter_;
  std::uint64_t size_;
  std::optional<SnapshotFacts> facts_;
  SnapshotImage snapshot_;
  std::vector<Hash128> sums_;
  MeteredMemory memory_;  // Of them.
  Buffer chunk_;
  std::uint64_t loaded_ = kNoChunk;
};

StateReader::StateReader(std::unique_ptr<Implementation> implementation) noexcept
    : implementation_(std::move(implementation)) {}
StateReader::~StateReader() = default;

Result<std::unique_ptr<StateReader>> StateReader::open(Image& image, std::size_t index) noexcept {
  Qcow2Image* core = VARVE_TRY(qcow2_of(image));
  const SnapshotEntry* found = VARVE_TRY(readable_entry_at(*core, index));
  try {
    const SnapshotEntry entry = *found;
    auto implementation = std::make_unique<Implementation>(*core, entry);
    VARVE_TRY(implementation->load(entry));
    return std::make_unique<StateReader>(std::move(implementation));
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot allocate a state reader");
  }
}

std::uint64_t StateReader::size() const noexcept {
  return implementation_->size();
}

bool StateReader::is_verified() const noexcept {
  return implementation_->is_verified();
}

Result<void> StateReader::read_at(std::uint64_t offset, std::span<std::byte> target) noexcept {
  return implementation_->read_at(offset, target);
}

Result<std::size_t> StateReader::read(std::span<std::byte> target) noexcept {
  std::uint64_t& position = implementation_->position;
  const auto length =
      static_cast<std::size_t>(std::min<std::uint64_t>(target.size(), size() - position));
  VARVE_TRY(read_at(position, target.first(length)));
  position += length;
  return length;
}

}  // namespace varve
