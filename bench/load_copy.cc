#include <memory>

#include "base/failure.h"
#include "load_loop.h"

namespace varve::bench {

namespace {

// Copies pieces of one storage, `depth` at a time: what a copy on write has to do, and no more.
class CopyLoop {
 public:
  static constexpr std::uint64_t kPiece = 64u << 10;

  CopyLoop(Storage& storage, std::uint64_t count) noexcept
      : storage_(storage), half_(storage.size() / 2), left_(count) {}
  CopyLoop(const CopyLoop&) = delete;
  CopyLoop& operator=(const CopyLoop&) = delete;

  Result<void> start(std::uint64_t depth) {
    const auto slots = static_cast<std::size_t>(std::min(depth, left_));
    memory_ = VARVE_TRY(Buffer::allocate_zeroed(slots * kPiece));
    slots_ = std::vector<Slot>(slots);
    for (std::size_t i = 0; i < slots; ++i) {
      slots_[i].loop = this;
      slots_[i].vector = {memory_.data() + i * kPiece, kPiece};
      begin_read(slots_[i]);
    }
    return {};
  }
  [[nodiscard]] bool is_done() const noexcept { return in_flight_ == 0; }
  [[nodiscard]] std::uint64_t completed() const noexcept { return completed_; }
  [[nodiscard]] const Result<void>& result() const noexcept { return result_; }

 private:
  struct Slot {
    CopyLoop* loop = nullptr;
    IoVector vector;
    StorageRequest request;
  };

  void begin_read(Slot& slot) noexcept {
    slot.request.operation = StorageOperation::read;
    slot.request.offset = next_;
    slot.request.vectors = &slot.vector;
    slot.request.vector_count = 1;
    slot.request.owner = &slot;
    slot.request.complete = completed;
    next_ = next_ + 2 * kPiece <= half_ ? next_ + kPiece : 0;
    --left_;
    ++in_flight_;
    storage_.submit(slot.request);
  }

  static void completed(StorageRequest& request, const Result<void>& result) {
    Slot& slot = *static_cast<Slot*>(request.owner);
    CopyLoop& loop = *slot.loop;
    if (result && request.operation == StorageOperation::read) {
      request.operation = StorageOperation::write;
      request.offset += loop.half_;
      loop.storage_.submit(request);
      return;
    }
    --loop.in_flight_;
    ++loop.completed_;
    if (!result) {
      loop.result_ = result;
      loop.left_ = 0;
    }
    if (loop.left_ != 0) {
      loop.begin_read(slot);
    }
  }

  Storage& storage_;
  std::uint64_t half_;
  std::uint64_t left_;
  std::uint64_t next_ = 0;
  std::uint64_t in_flight_ = 0;
  std::uint64_t completed_ = 0;
  Buffer memory_;
  std::vector<Slot> slots_;
  Result<void> result_;
};

}  // namespace

Result<LoadReport> run_copy(Engine& engine, const LoadOptions& options) {
  const std::unique_ptr<Storage> storage = VARVE_TRY(open_storage(engine, options, true));
  if (storage->size() < 2 * CopyLoop::kPiece) {
    return failure(ErrorCode::invalid_argument, "the file is too small to copy within");
  }
  CopyLoop loop(*storage, options.count);
  const Stopwatch watch;
  VARVE_TRY(loop.start(options.depth));
  while (!loop.is_done()) {
    engine.wait();
  }
  LoadReport report;
  report.seconds = watch.seconds();
  report.requests = loop.completed();
  VARVE_TRY(loop.result());
  return report;
}

}  // namespace varve::bench
