// write_zeroes and discard: whole (sub)clusters by changing the map, the ends of a write_zeroes by
// writing zeros.
//
// Step transitions:
//   preparing -> choosing
//   choosing -> writing (a part only data can zero) | waiting_hold | finish
//   waiting_hold -> zeroing_data_file (raw data files) -> linking -> choosing;  writing -> choosing
// Threads: the engine's thread only.
#pragma once

#include "image/operation.h"
#include "image/range_writer.h"
#include "meta/holds.h"
#include "meta/map.h"

namespace varve {

class ZeroOperation final : public Operation {
 public:
  using Operation::Operation;

 private:
  enum class Step : std::uint8_t {
    preparing,
    choosing,
    writing,
    zeroing_data_file,
    waiting_hold,
    linking
  };

  void advance(const Result<void>& result) noexcept override;
  void recycle() noexcept override;
  void run() noexcept;
  // Each returns false when a wait has begun or the request is finished.
  [[nodiscard]] bool choose() noexcept;
  [[nodiscard]] bool start_writing(std::uint64_t end) noexcept;
  [[nodiscard]] bool take_hold() noexcept;
  [[nodiscard]] bool keeps_raw_data() const noexcept;
  [[nodiscard]] bool zero_data_file() noexcept;
  [[nodiscard]] bool link() noexcept;
  [[nodiscard]] Answer<Nothing> change(GuestOffset cluster) noexcept;
  [[nodiscard]] L2Entry zeroed(const MapCluster& cluster) const noexcept;
  [[nodiscard]] L2Entry with_zero_subclusters(L2Entry entry, std::uint64_t begin,
                                              std::uint64_t end) const noexcept;
  [[nodiscard]] bool is_discard() const noexcept {
    return request().operation == BlockOperation::discard;
  }
  // Whether dropping a cluster's mapping would show the backing file, and no zero flag can hide it.
  [[nodiscard]] bool must_write_data(std::uint64_t offset) const noexcept;
  void end(const Result<void>& result) noexcept;

  Step step_ = Step::preparing;
  std::uint64_t position_ = 0;
  std::uint64_t end_ = 0;
  std::uint64_t chunk_end_ = 0;
  bool is_part_of_compressed_ = false;  // The part at the position must be written as data.
  Hold hold_;
  RangeWriter writer_;
  StorageRequest request_;
};

}  // namespace varve
