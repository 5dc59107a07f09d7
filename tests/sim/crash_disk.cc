#include "sim/crash_disk.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/checked.h"
#include "base/failure.h"
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
  return std::string(file == 0 ? "" : "data file: ") + operation_name(operation) + " " +
         io_tag_name(tag) + " " + std::to_string(offset) + "+" + std::to_string(length) + " @" +
         std::to_string(submitted) +
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

const SparseBytes& CrashDisk::nothing() noexcept {
  static const SparseBytes empty;
  return empty;
}

CrashStorage::CrashStorage(Engine& engine, CrashDisk& disk, std::size_t file)
    : DecoratorStorage(
          std::make_unique<LiveStorage>(engine, disk.contents_.at(file), disk.capabilities)),
      disk_(disk),
      file_(file) {}

void CrashStorage::submit(StorageRequest& request) noexcept {
  if (request.operation == StorageOperation::read) {
    forward(request, kReadNumber);
    return;
  }
  if (request.operation == StorageOperation::flush) {
    std::vector<std::size_t> covered;
    for (std::size_t i = disk_.durable_prefix_; i < disk_.events_.size(); ++i) {
      const CrashEvent& event = disk_.events_[i];
      if (event.file == file_ && event.completed && event.durable == CrashEvent::kNever &&
          !event.abandoned) {
        covered.push_back(i);
      }
    }
    if (std::exchange(disk_.fails_flush_, false)) {
      for (const std::size_t index : covered) {
        disk_.events_[index].abandoned = true;
      }
      engine().post(request, system_failure(EIO, request.tag, 0, "simulated failure of a flush"));
      return;
    }
    disk_.flushes_.push_back(std::move(covered));
    forward(request, disk_.flushes_.size() - 1);
    return;
  }
  if (!validate_request(request, disk_.capabilities, disk_.contents_.at(file_).size())) {
    forward(request, kReadNumber);  // The live side refuses it: nothing to remember.
    return;
  }
  CrashEvent event;
  event.file = file_;
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

void CrashDisk::forget_abandoned() {
  mark();
  for (std::size_t file = 0; file < kFiles; ++file) {
    contents_.at(file) = SparseBytes(starts_.at(file));
  }
  for (CrashEvent& event : events_) {
    if (event.abandoned) {
      event.lost = std::min(event.lost, now_);
      continue;
    }
    SparseBytes& content = contents_.at(event.file);
    switch (event.operation) {
      case StorageOperation::write:
        content.write(event.offset, event.data);
        break;
      case StorageOperation::resize:
        content.resize(event.offset);
        break;
      case StorageOperation::write_zeroes:
        content.resize(std::max(content.size(), event.offset + event.length));
        content.zero(event.offset, event.length);
        break;
      case StorageOperation::discard:
        content.zero(event.offset, event.length);
        break;
      default:
        break;
    }
  }
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
