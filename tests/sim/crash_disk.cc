#include "sim/crash_disk.h"

#include <algorithm>

#include "base/checked.h"
#include "sim/trace_storage.h"

namespace varve::sim {

namespace {

// The live side of the disk: what a program running on it reads.
class LiveStorage final : public Storage {
 public:
  LiveStorage(Engine& engine, SparseBytes& content, const StorageCapabilities& capabilities)
      : engine_(engine), content_(content), capabilities_(capabilities) {}
  [[nodiscard]] const StorageCapabilities& capabilities() const noexcept override {
    return capabilities_;
  }
  [[nodiscard]] std::uint64_t size() const noexcept override { return content_.size(); }
  void submit(StorageRequest& request) noexcept override {
    engine_.post(request, apply_request(request, capabilities_, content_));
  }
  [[nodiscard]] Engine& engine() const noexcept override { return engine_; }
  [[nodiscard]] const char* name() const noexcept override { return "<crash>"; }

 private:
  Engine& engine_;
  SparseBytes& content_;
  const StorageCapabilities& capabilities_;
};

constexpr std::uint64_t kReadNumber = ~std::uint64_t{0};

}  // namespace

std::uint64_t CrashEvent::sectors() const noexcept {
  if (length == 0) {
    return 1;
  }
  return divide_up(offset + length, kCrashSectorBytes) - offset / kCrashSectorBytes;
}

std::string CrashEvent::text() const {
  return std::string(operation_name(operation)) + " " + io_tag_name(tag) + " " +
         std::to_string(offset) + "+" + std::to_string(length) + " @" + std::to_string(submitted) +
         (durable == kNever ? std::string(" never durable")
                            : " durable @" + std::to_string(durable));
}

void apply_event(const CrashEvent& event, std::uint64_t first, std::uint64_t last,
                 SectorImage& content) {
  if (first >= last) {
    return;
  }
  if (event.operation == StorageOperation::resize) {
    content.resize(event.offset);
    return;
  }
  const std::uint64_t base = round_down(event.offset, kCrashSectorBytes);
  const std::uint64_t from = std::max(event.offset, base + first * kCrashSectorBytes);
  const std::uint64_t to = std::min(event.offset + event.length, base + last * kCrashSectorBytes);
  if (from >= to) {
    return;
  }
  switch (event.operation) {
    case StorageOperation::write:
      content.write(from, ConstBytes(event.data)
                              .subspan(static_cast<std::size_t>(from - event.offset),
                                       static_cast<std::size_t>(to - from)));
      break;
    case StorageOperation::discard:
      content.zero(from, to - from);
      break;
    case StorageOperation::write_zeroes:
      content.zero(from, to - from);
      content.resize(std::max(content.size(), to));
      break;
    default:
      break;
  }
}

CrashStorage::CrashStorage(Engine& engine, CrashDisk& disk)
    : DecoratorStorage(std::make_unique<LiveStorage>(engine, disk.content_, disk.capabilities)),
      disk_(disk) {}

void CrashStorage::submit(StorageRequest& request) noexcept {
  if (request.operation == StorageOperation::read) {
    forward(request, kReadNumber);
    return;
  }
  if (request.operation == StorageOperation::flush) {
    std::vector<std::size_t> covered;
    for (std::size_t i = disk_.durable_prefix_; i < disk_.events_.size(); ++i) {
      const CrashEvent& event = disk_.events_[i];
      if (event.completed && event.durable == CrashEvent::kNever) {
        covered.push_back(i);
      }
    }
    disk_.flushes_.push_back(std::move(covered));
    forward(request, disk_.flushes_.size() - 1);
    return;
  }
  if (!validate_request(request, disk_.capabilities, disk_.content_.size())) {
    forward(request, kReadNumber);  // The live side refuses it: nothing to remember.
    return;
  }
  CrashEvent event;
  event.operation = request.operation;
  event.tag = request.tag;
  event.offset = request.offset;
  if (request.operation != StorageOperation::resize) {
    event.length = request.size_bytes();
  }
  if (request.operation == StorageOperation::write) {
    event.data = gather(request);
  }
  event.submitted = ++disk_.now_;
  disk_.events_.push_back(std::move(event));
  forward(request, disk_.events_.size() - 1);
}

void CrashStorage::forwarded(Forwarded& part) {
  if (part.outer->operation == StorageOperation::flush) {
    const Moment moment = disk_.mark();
    for (const std::size_t index : disk_.flushes_[static_cast<std::size_t>(part.number)]) {
      Moment& durable = disk_.events_[index].durable;
      durable = std::min(durable, moment);
    }
    while (disk_.durable_prefix_ < disk_.events_.size() &&
           disk_.events_[disk_.durable_prefix_].durable != CrashEvent::kNever) {
      ++disk_.durable_prefix_;
    }
  } else if (part.number != kReadNumber) {
    disk_.events_[static_cast<std::size_t>(part.number)].completed = true;
  }
  complete(*part.outer, part.result);
}

}  // namespace varve::sim
