// The clusters of a machine state that is being written: claimed from the block store, mapped by L2
// tables of their own, summed. StateWriter is its public face; creation takes its tables over.
//
// Writes are gathered in units of a few buffers; a unit that is full, or must make room, gets its
// clusters and goes to the file. Nothing refers to these clusters before the snapshot is published,
// so a crash only leaks them (O1, O2: data, tables and counts are durable before the publishing
// header write, by the rounds of the creation). Threads: the engine's thread only.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <vector>

#include <varve/state.h>

#include "base/buffer.h"
#include "base/hash.h"
#include "image/qcow2_image.h"
#include "meta/batch.h"
#include "meta/metadata.h"

namespace varve {

// Where the pieces of a state stand, counted from the first byte of the VM-state area.
struct StateLayout {
  static constexpr std::uint64_t kSumBytes = sizeof(Hash128);

  // The sums follow the blob on the next boundary of a unit.
  [[nodiscard]] static std::uint64_t unit_bytes(const Geometry& geometry) noexcept {
    return std::max(kStateChunkBytes, geometry.cluster_bytes());
  }
  [[nodiscard]] static std::uint64_t sums_begin(const Geometry& geometry,
                                                std::uint64_t size) noexcept {
    return round_up(size, unit_bytes(geometry));
  }
  [[nodiscard]] static std::uint64_t sums_bytes(std::uint64_t size) noexcept {
    return divide_up(size, kStateChunkBytes) * kSumBytes;
  }
  // Sixteen zero bytes for a chunk of zeros, so that sums of nothing take no space either. `chunk`
  // is whole; the last one is filled up with zeros.
  [[nodiscard]] static Hash128 sum_of(ConstBytes chunk) noexcept {
    return is_all_zero(chunk) ? Hash128() : hash128(chunk);
  }
  [[nodiscard]] static Hash128 digest_of(const std::vector<Hash128>& sums,
                                         std::uint64_t size) noexcept {
    return hash128(std::as_bytes(std::span(sums)), size);
  }
};

class StateStore {
 public:
  // Errors: no_memory.
  static Result<std::unique_ptr<StateStore>> make(Qcow2Image& image) noexcept;
  explicit StateStore(Qcow2Image& image);
  ~StateStore();
  StateStore(const StateStore&) = delete;
  StateStore& operator=(const StateStore&) = delete;

  void submit(StateRequest& request) noexcept;
  Result<void> extend(std::uint64_t size) noexcept;
  Result<void> finish() noexcept;
  [[nodiscard]] Engine& engine() const noexcept { return metadata_->file->engine(); }
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  [[nodiscard]] bool is_finished() const noexcept { return is_finished_; }

  // For the creation that publishes it. REQUIRES: finished.
  [[nodiscard]] bool belongs_to(const Metadata& metadata) const noexcept {
    return metadata_ == &metadata;
  }
  [[nodiscard]] const std::vector<std::uint64_t>& l1() const noexcept { return l1_; }
  [[nodiscard]] const Hash128& digest() const noexcept { return digest_; }
  [[nodiscard]] bool is_attached() const noexcept { return is_attached_; }
  // The snapshot is published: it owns the clusters.
  void attached() noexcept;

 private:
  class Unit;
  using Hosts = std::vector<std::uint64_t>;  // Cluster numbers in the file; 0: none.

  [[nodiscard]] Result<void> validate(std::uint64_t end) const noexcept;
  void pump() noexcept;
  [[nodiscard]] bool advance(StateRequest& request);
  [[nodiscard]] Unit* find(std::uint64_t index) noexcept;
  [[nodiscard]] Unit* obtain(std::uint64_t index);
  void complete(StateRequest& request) noexcept;
  void run_completions() noexcept;
  void fail(const Error& error) noexcept;
  [[nodiscard]] bool is_busy() const noexcept;
  void wait_idle() noexcept;
  Result<void> write_units() noexcept;
  Result<void> fill_holes();
  Result<void> write_sums();
  Result<void> write_tables();
  Result<void> write_table(std::uint64_t index, Batch& batch, std::vector<Buffer>& buffers);
  [[nodiscard]] std::uint64_t& host_at(std::uint64_t cluster) {
    return tables_[cluster / metadata_->geometry.l2_entries()]
                  [cluster % metadata_->geometry.l2_entries()];
  }
  void make_room(std::uint64_t begin, std::uint64_t end);
  void give_back() noexcept;
  [[nodiscard]] bool release_all(Hosts& hosts) noexcept;

  Qcow2Image* image_;
  Metadata* metadata_;
  std::uint64_t unit_bytes_;
  std::uint64_t unit_clusters_;
  std::size_t units_max_;
  // Holes must be written down: below the image lies a backing file that may reach this far.
  bool has_backing_;
  std::vector<std::unique_ptr<Unit>> units_;
  std::vector<Hosts> tables_;  // One for each L2 table of the area; empty: nothing claimed in it.
  std::vector<Hash128> sums_;
  std::vector<std::uint64_t> l1_;
  Hash128 digest_{};
  std::uint64_t size_ = 0;
  std::uint64_t clock_ = 0;
  std::optional<Error> error_;
  bool is_summing_ = false;  // The sums themselves are being written.
  bool is_finished_ = false;
  bool is_attached_ = false;
  bool is_pumping_ = false;
  StateRequest* queue_first_ = nullptr;
  StateRequest* queue_last_ = nullptr;
  StateRequest* done_first_ = nullptr;
  StateRequest* done_last_ = nullptr;
  StorageRequest completions_;
  bool are_completions_posted_ = false;
};

}  // namespace varve
