// A copy under way: each slot carries one chunk from the source to the target, several slots are in
// flight, and the calling thread plans the next chunk meanwhile.
// Threads: the calling thread's engine; compression may use threads of its own (packer.h).
// Completions only count down and keep the first error; every decision is made in the loop of
// Conversion::run, so that it reads top to bottom.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include <varve/convert.h>

#include "base/buffer.h"
#include "base/units.h"
#include "image/qcow2_image.h"
#include "maintenance/packer.h"

namespace varve {

// What a worker compresses at a time, in whole clusters.
inline constexpr std::size_t kPackJobBytes = 64 * kKiB;

// What happens to a stretch of the source.
enum class Treatment : std::uint8_t {
  skip,  // The target has it already.
  zero,  // The target is told that it reads as zeros.
  copy,
};

struct Stretch {
  Treatment treatment = Treatment::skip;
  std::uint64_t length = 0;
};

struct ConversionSlot;

// One request of a slot.
struct ConversionPiece {
  ConversionSlot* slot = nullptr;
  bool busy = false;
  IoVector vector;
  BlockRequest request;
};

// One chunk on its way. A step of idle means that the slot is free.
struct ConversionSlot {
  static constexpr std::size_t kPieces = 16;  // Writes one chunk has in flight at most.
  enum class Step : std::uint8_t { idle, reading, salvaging, packing, writing };
  Step step = Step::idle;
  Treatment treatment = Treatment::copy;
  std::uint64_t sequence = 0;
  std::uint64_t offset = 0;  // In the source.
  std::uint64_t length = 0;
  std::uint64_t planned = 0;         // Bytes whose writes have been submitted, or need none.
  std::uint64_t salvaged = 0;        // Bytes read, or given up, piece by piece ...
  std::uint64_t salvage_length = 0;  // ... and the length of the next piece.
  unsigned in_flight = 0;
  Result<void> result;
  CopySide failed_side = CopySide::none;
  std::uint64_t failed_offset = 0;
  Buffer buffer;
  std::array<ConversionPiece, kPieces> pieces;
  // Compressing on threads: the streams, each at its cluster's place, and their lengths.
  Buffer packed;
  std::vector<std::uint32_t> stream_bytes;
  std::vector<Packer::Job> jobs;
};

class Conversion {
 public:
  Conversion(Image& source, Image& target, const ConvertOptions& options, ConvertReport& report)
      : source_(source), target_(target), options_(options), report_(report) {}

  Result<void> run();

 private:
  // convert.cc
  [[nodiscard]] Result<void> check_options() const;
  [[nodiscard]] Result<void> prepare();
  [[nodiscard]] Result<Stretch> look_at(std::uint64_t offset) const;
  [[nodiscard]] Result<Stretch> look_at_or_salvage(std::uint64_t offset) const;
  [[nodiscard]] bool is_salvageable(const Error& error) const;
  [[nodiscard]] Stretch fit_to_clusters(Stretch stretch) const;
  [[nodiscard]] std::uint64_t chunk_end(std::uint64_t end) const;
  void fill_slots();
  void start_chunk(ConversionSlot& slot, std::uint64_t length);
  // conversion_slots.cc
  bool advance(ConversionSlot& slot);
  bool salvage(ConversionSlot& slot);
  void start_packing(ConversionSlot& slot);
  bool is_completed_by_more(ConversionSlot& slot);
  void submit(Image& image, ConversionSlot& slot, BlockOperation operation, std::uint64_t offset,
              Bytes bytes, std::uint64_t length, IoVector packed = {});
  static void on_complete(BlockRequest& request, const Result<void>& result);
  static void on_packed(StorageRequest& request, const Result<void>& result);
  void plan_writes(ConversionSlot& slot);
  void write_piece(ConversionSlot& slot, bool zero, std::uint64_t length);
  [[nodiscard]] bool is_within_limit(std::uint64_t length, std::uint64_t offset);
  [[nodiscard]] std::uint64_t piece_length(const ConversionSlot& slot, bool& zero) const;
  [[nodiscard]] bool is_ahead_of_rate() const;
  void fail(const Error& error, CopySide side, std::uint64_t offset);
  void add_done(std::uint64_t bytes);

  Image& source_;
  Image& target_;
  const ConvertOptions& options_;
  ConvertReport& report_;
  Qcow2Image* packed_target_ = nullptr;  // The target where streams are made here ...
  std::unique_ptr<Packer> packer_;       // ... on threads.
  std::vector<ConversionSlot> slots_;
  Stretch stretch_;                // What is left of the one being copied.
  std::uint64_t next_offset_ = 0;  // First source byte no slot has taken.
  std::uint64_t next_sequence_ = 0;
  std::uint64_t writing_sequence_ = 0;  // The chunk whose turn it is to submit writes.
  std::uint64_t done_bytes_ = 0;
  std::uint64_t copied_bytes_ = 0;  // Against the rate.
  std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
  Result<void> result_;
};

}  // namespace varve
