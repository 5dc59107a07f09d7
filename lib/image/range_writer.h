// Writes a range of a disk: in place where the active disk owns the clusters, else to new clusters
// with the bytes around copied, linked into the map only when their data is written (O2).
//
// Step transitions:
//   looking -> waiting_shared | writing_in_place | waiting_exclusive | done
//   waiting_shared -> looking_again;  waiting_exclusive -> planning
//   planning -> claiming -> filling_head -> filling_tail -> writing -> linking -> looking
// Threads: the engine's thread only.
#pragma once

#include <array>
#include <cstdint>

#include "image/range_reader.h"
#include "image/scratch.h"
#include "image/vectors.h"
#include "meta/holds.h"
#include "meta/metadata.h"

namespace varve {

struct WriteTarget {
  ReadSource source;  // What the disk reads as, for the bytes around a write.
  Holds* holds = nullptr;
  ScratchPool* fill = nullptr;  // Buffers of two clusters.
  std::uint64_t disk_size = 0;
};

class RangeWriter final : private Waiter {
 public:
  // Writes [offset, offset + length) from the cursor's memory, or zeros with write_zeros. `done` is
  // resumed with the outcome, never inside this call; false: it failed at once, and result() tells
  // why. On failure every sector is old or new. REQUIRES: not running; not empty; the caller has
  // entered an era and done the first-write duties.
  [[nodiscard]] bool start(const WriteTarget& target, GuestOffset offset, std::uint64_t length,
                           VectorCursor data, Waiter& done) noexcept;
  [[nodiscard]] bool start_zeros(const WriteTarget& target, GuestOffset offset,
                                 std::uint64_t length, Waiter& done) noexcept;
  [[nodiscard]] const Result<void>& result() const noexcept { return result_; }

 private:
  enum class Step : std::uint8_t {
    looking,
    waiting_shared,
    writing_in_place,
    waiting_exclusive,
    planning,
    claiming,
    filling_head,
    filling_tail,
    writing,
    linking,
    done,
  };
  // go_on: take the next step now; wait: resume() will come.
  enum class Progress : std::uint8_t { go_on, wait };

  static constexpr std::uint32_t kDataVectors = 16;

  void resume(const Result<void>& result) noexcept override;
  [[nodiscard]] bool begin() noexcept;
  [[nodiscard]] bool run() noexcept;
  [[nodiscard]] Progress step() noexcept;
  [[nodiscard]] Progress look() noexcept;
  [[nodiscard]] Progress begin_in_place() noexcept;
  [[nodiscard]] Progress plan() noexcept;
  [[nodiscard]] Result<std::uint64_t> count_fresh(std::uint64_t clusters_max) noexcept;
  [[nodiscard]] Progress claim() noexcept;
  void measure_fill() noexcept;
  [[nodiscard]] Progress fill(bool is_head) noexcept;
  [[nodiscard]] Progress write(HostOffset host, std::uint64_t head, std::uint64_t tail) noexcept;
  [[nodiscard]] Progress link() noexcept;
  void link_cluster(GuestOffset cluster) noexcept;
  void chunk_done() noexcept;
  Progress ask(const Need& need) noexcept;
  Progress fail(const Error& error) noexcept;
  void drop_resources() noexcept;
  std::uint32_t describe_data(IoVector* vectors, std::uint64_t& length) const noexcept;

  WriteTarget target_;
  GuestOffset position_;
  GuestOffset end_;
  VectorCursor data_;
  bool is_zeros_ = false;
  Waiter* done_ = nullptr;
  Result<void> result_;
  Step step_ = Step::done;

  // The chunk under way.
  Hold hold_;
  std::uint64_t length_ = 0;  // Bytes of the request in this chunk.
  bool is_reuse_ = false;     // The cluster's own host cluster is written; otherwise new ones.
  L2Entry reused_;            // Its entry when planned.
  bool is_first_whole_ =
      false;  // Copy the first (last) cluster wholly: its old host is shared or compressed.
  bool is_last_whole_ = false;
  bool is_known_zero_ = false;
  ClusterRun claimed_;      // Ours until linked.
  HostOffset host_;         // Of the first cluster.
  std::uint64_t head_ = 0;  // Bytes before and after the data that are written with it.
  std::uint64_t tail_ = 0;
  bool is_filling_ = false;  // The reader runs.
  Buffer* scratch_ = nullptr;
  RangeReader reader_;
  IoVector fill_vector_;
  std::array<IoVector, kDataVectors + 2> vectors_;
  StorageRequest request_;
};

}  // namespace varve
