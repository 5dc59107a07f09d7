#include "sim/trace_storage.h"

#include <algorithm>

#include "sim/allocation_faults.h"

namespace varve::sim {

const char* operation_name(StorageOperation operation) noexcept {
  switch (operation) {
    case StorageOperation::read:
      return "read";
    case StorageOperation::write:
      return "write";
    case StorageOperation::flush:
      return "flush";
    case StorageOperation::write_zeroes:
      return "write_zeroes";
    case StorageOperation::discard:
      return "discard";
    case StorageOperation::allocate:
      return "allocate";
    case StorageOperation::resize:
      return "resize";
  }
  return "unknown";
}

std::size_t Trace::count(StorageOperation operation, std::optional<IoTag> tag) const noexcept {
  return static_cast<std::size_t>(
      std::count_if(entries_.begin(), entries_.end(), [&](const TraceEntry& entry) {
        return entry.operation == operation && (!tag || entry.tag == *tag);
      }));
}

const TraceEntry* Trace::find(StorageOperation operation, IoTag tag,
                              std::size_t from) const noexcept {
  for (std::size_t i = from; i < entries_.size(); ++i) {
    if (entries_[i].operation == operation && entries_[i].tag == tag) {
      return &entries_[i];
    }
  }
  return nullptr;
}

bool Trace::is_durable_before(const TraceEntry& entry, std::uint64_t moment) const noexcept {
  return std::any_of(entries_.begin(), entries_.end(), [&](const TraceEntry& flush) {
    return flush.operation == StorageOperation::flush && flush.succeeded &&
           entry.completed < flush.submitted && flush.completed < moment;
  });
}

std::string Trace::text() const {
  std::string text;
  for (const TraceEntry& entry : entries_) {
    text += "#" + std::to_string(entry.submitted) + " " + operation_name(entry.operation) + " " +
            io_tag_name(entry.tag) + " " + std::to_string(entry.offset) + "+" +
            std::to_string(entry.length);
    if (entry.completed == TraceEntry::kNever) {
      text += " in flight\n";
    } else {
      text += (entry.succeeded ? " done #" : " failed #") + std::to_string(entry.completed) + "\n";
    }
  }
  return text;
}

void TraceStorage::submit(StorageRequest& request) noexcept {
  TraceEntry entry;
  entry.operation = request.operation;
  entry.tag = request.tag;
  entry.offset = request.offset;
  entry.length = request.size_bytes();
  entry.submitted = trace_.sequence_++;
  {
    const AllocationPause pause;
    trace_.entries_.push_back(entry);
  }
  forward(request, trace_.entries_.size() - 1);
}

void TraceStorage::forwarded(Forwarded& part) {
  if (part.number < trace_.entries_.size()) {
    TraceEntry& entry = trace_.entries_[static_cast<std::size_t>(part.number)];
    entry.completed = trace_.sequence_++;
    entry.succeeded = part.result.has_value();
  }
  complete(*part.outer, part.result);
}

}  // namespace varve::sim
