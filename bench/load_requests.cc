#include <chrono>
#include <memory>

#include "base/failure.h"
#include "load_loop.h"

namespace varve::bench {

namespace {

std::int64_t now_nanoseconds() noexcept {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

Result<void> flush_storage(Engine& engine, Storage& storage) noexcept {
  struct Flush : StorageRequest {
    bool is_done = false;
    Result<void> outcome;
  } flush;
  flush.operation = StorageOperation::flush;
  flush.complete = [](StorageRequest& request, const Result<void>& result) {
    auto& self = static_cast<Flush&>(request);
    self.outcome = result;
    self.is_done = true;
  };
  storage.submit(flush);
  while (!flush.is_done) {
    engine.wait();
  }
  return flush.outcome;
}

template <class Device, class Request>
Result<LoadReport> measure(Engine& engine, Device& device, const LoadOptions& options) {
  if (options.bytes == 0 || options.bytes > device.size()) {
    return failure(ErrorCode::invalid_argument, "a request does not fit the disk");
  }
  Loop<Device, Request> loop(device, options, Places(options, device.size()));
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

}  // namespace

Stopwatch::Stopwatch() noexcept : started_nanoseconds_(now_nanoseconds()) {}

double Stopwatch::seconds() const noexcept {
  return static_cast<double>(now_nanoseconds() - started_nanoseconds_) / 1e9;
}

Places::Places(const LoadOptions& options, std::uint64_t disk_bytes) noexcept
    : places_(disk_bytes / options.bytes),
      bytes_(options.bytes),
      step_(options.step),
      disk_bytes_(disk_bytes),
      random_(options.seed * 2 + 1),
      random_order_(options.random_order) {}

std::uint64_t Places::next() noexcept {
  if (random_order_) {
    random_ ^= random_ << 13;
    random_ ^= random_ >> 7;
    random_ ^= random_ << 17;
    return random_ % places_ * bytes_;
  }
  const std::uint64_t offset = offset_ + bytes_ <= disk_bytes_ ? offset_ : 0;
  offset_ = (offset + step_) % disk_bytes_;
  return offset;
}

Result<std::unique_ptr<Image>> open_image(Engine& engine, const LoadOptions& options,
                                          bool writable) noexcept {
  OpenOptions open;
  open.writable = writable;
  open.file.direct = options.direct;
  return Image::open(engine, options.path, open);
}

Result<std::unique_ptr<Storage>> open_storage(Engine& engine, const LoadOptions& options,
                                              bool writable) {
  FileOptions file;
  file.writable = writable;
  file.direct = options.direct;
  return open_file(engine, options.path, file);
}

Result<LoadReport> run_requests(Engine& engine, const LoadOptions& options) {
  if (options.is_image) {
    const std::unique_ptr<Image> image = VARVE_TRY(open_image(engine, options, options.write));
    LoadReport report = VARVE_TRY((measure<Image, BlockRequest>(engine, *image, options)));
    if (options.write) {
      const Stopwatch watch;
      VARVE_TRY(image->flush());
      report.flush_seconds = watch.seconds();
    }
    VARVE_TRY(image->close());
    return report;
  }
  const std::unique_ptr<Storage> storage = VARVE_TRY(open_storage(engine, options, options.write));
  LoadReport report = VARVE_TRY((measure<Storage, StorageRequest>(engine, *storage, options)));
  if (options.write) {
    const Stopwatch watch;
    VARVE_TRY(flush_storage(engine, *storage));
    report.flush_seconds = watch.seconds();
  }
  return report;
}

Result<LoadReport> run_fill(Engine& engine, const LoadOptions& options) {
  constexpr std::uint64_t kPiece = 1u << 20;
  LoadOptions fill = options;
  fill.write = true;
  fill.random_order = false;
  fill.bytes = kPiece;
  fill.step = kPiece;
  fill.depth = 4;
  if (options.is_image) {
    const std::unique_ptr<Image> image = VARVE_TRY(open_image(engine, options, false));
    fill.count = image->size() / kPiece;
  } else {
    const std::unique_ptr<Storage> storage = VARVE_TRY(open_storage(engine, options, false));
    fill.count = storage->size() / kPiece;
  }
  return run_requests(engine, fill);
}

}  // namespace varve::bench
