// A compressed write: cluster by cluster, each compressed, written behind the last one, then linked
// (O2). A cluster that does not shrink is written plainly.
//
// Step transitions:
//   preparing -> next_cluster -> waiting_hold -> waiting_buffer -> compressing -> claiming ->
//   writing
//   -> linking -> next_cluster
//   compressing -> writing_plain -> next_cluster
//   waiting_hold -> claiming where the caller has made the stream
// Threads: the engine's thread only.
#pragma once

#include "image/operation.h"
#include "image/range_writer.h"
#include "meta/holds.h"

namespace varve {

class CompressedWriteOperation final : public Operation {
 public:
  using Operation::Operation;

 private:
  enum class Step : std::uint8_t {
    preparing,
    next_cluster,
    waiting_buffer,
    compressing,
    writing_plain,
    waiting_hold,
    claiming,
    writing,
    linking,
  };
  // A stream that came with the request needs no buffer here.
  [[nodiscard]] bool is_packed() const noexcept { return request().internal.packed.size != 0; }
  void advance(const Result<void>& result) noexcept override;
  void recycle() noexcept override;
  void run() noexcept;
  [[nodiscard]] bool prepare() noexcept;
  [[nodiscard]] bool take_hold() noexcept;
  void hold_taken() noexcept;
  [[nodiscard]] bool take_buffer() noexcept;
  [[nodiscard]] bool compress() noexcept;
  void start_plain() noexcept;
  [[nodiscard]] bool claim() noexcept;
  [[nodiscard]] bool link() noexcept;
  void cluster_done() noexcept;
  void give_back() noexcept;
  void end(const Result<void>& result) noexcept;

  Step step_ = Step::preparing;
  std::uint64_t position_ = 0;
  std::uint64_t length_ = 0;  // Guest bytes of the cluster under way.
  VectorCursor data_;
  Buffer* scratch_ = nullptr;  // The cluster's bytes, and behind them the compressed ones.
  std::size_t compressed_bytes_ = 0;
  CompressedExtent extent_;
  bool is_claimed_ = false;
  Hold hold_;
  RangeWriter writer_;
  IoVector vector_;
  StorageRequest request_;
};

}  // namespace varve
