// TraceStorage: records every request, so that tests assert on what was asked in which order
// ("the refcount block was durable before the L2 entry").
//
// Threads: the engine's. Lifetime: the trace outlives the storage.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "sim/decorator_storage.h"

namespace varve::sim {

struct TraceEntry {
  static constexpr std::uint64_t kNever = ~std::uint64_t{0};

  StorageOperation operation = StorageOperation::read;
  IoTag tag = IoTag::none;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  // Places in one sequence of submissions and completions.
  std::uint64_t submitted = 0;
  std::uint64_t completed = kNever;
  bool succeeded = false;
};

class Trace {
 public:
  [[nodiscard]] const std::vector<TraceEntry>& entries() const noexcept { return entries_; }
  void clear() noexcept { entries_.clear(); }

  [[nodiscard]] std::size_t count(StorageOperation operation,
                                  std::optional<IoTag> tag = std::nullopt) const noexcept;
  // The first entry of this kind at or after `from` (an index).
  [[nodiscard]] const TraceEntry* find(StorageOperation operation, IoTag tag,
                                       std::size_t from = 0) const noexcept;
  // Whether a flush that was submitted after `entry` completed has completed before `moment`.
  [[nodiscard]] bool is_durable_before(const TraceEntry& entry,
                                       std::uint64_t moment) const noexcept;
  // One line per entry, for failure messages.
  [[nodiscard]] std::string text() const;

 private:
  friend class TraceStorage;
  std::vector<TraceEntry> entries_;
  std::uint64_t sequence_ = 0;
};

// "write", "flush": for messages.
[[nodiscard]] const char* operation_name(StorageOperation operation) noexcept;

class TraceStorage final : public DecoratorStorage {
 public:
  TraceStorage(std::unique_ptr<Storage> inner, Trace& trace) noexcept
      : DecoratorStorage(std::move(inner)), trace_(trace) {}
  void submit(StorageRequest& request) noexcept override;

 private:
  void forwarded(Forwarded& part) override;
  Trace& trace_;
};

}  // namespace varve::sim
