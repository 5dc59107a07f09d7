// FaultyStorage: makes chosen requests fail. The rules stand in a FaultPlan the test holds, so that
// faults can be set and lifted while an image is open. A flush that failed stays failed for the
// life of the storage, as Storage demands.
//
// Threads: the engine's. Lifetime: the plan outlives the storage.
#pragma once

#include <cerrno>
#include <optional>
#include <vector>

#include "sim/decorator_storage.h"

namespace varve::sim {

enum class FaultEffect : std::uint8_t {
  error,  // Nothing happens; the request fails.
  torn,   // The first `torn_bytes` of a write happen; the request fails. Else as error.
  lost,   // Nothing happens; the request claims success.
};

struct FaultRule {
  std::optional<IoTag> tag;                   // Unset: any.
  std::optional<StorageOperation> operation;  // Unset: any.
  std::uint64_t nth = 0;                      // How many matching requests pass first.
  bool from_then_on = false;                  // Else only once.
  FaultEffect effect = FaultEffect::error;
  int os_errno = EIO;
  std::uint64_t torn_bytes = 0;
};

class FaultPlan {
 public:
  void add(const FaultRule& rule) { rules_.push_back({rule, 0}); }
  // Shorthand for "I/O number `index`, counted from now, of any kind, fails".
  void fail_index(std::uint64_t index, int os_errno, FaultEffect effect = FaultEffect::error,
                  std::uint64_t torn_bytes = 0);
  // Forgets every rule. A storage whose flush failed stays as it is.
  void lift() noexcept { rules_.clear(); }

  // Requests seen since the start or the last reset; how many of them were flushes, and how many
  // were made to fail.
  [[nodiscard]] std::uint64_t seen() const noexcept { return seen_; }
  [[nodiscard]] std::uint64_t flushes() const noexcept { return flushes_; }
  [[nodiscard]] std::uint64_t hits() const noexcept { return hits_; }
  // Whether a flush was among those.
  [[nodiscard]] bool hit_flush() const noexcept { return hit_flush_; }
  // Writes submitted after the image was told that a flush failed: none belong there.
  [[nodiscard]] std::uint64_t writes_after_failed_flush() const noexcept { return late_writes_; }
  void reset_counts() noexcept { seen_ = flushes_ = hits_ = 0; }
  // What the first hit was.
  [[nodiscard]] IoTag hit_tag() const noexcept { return hit_tag_; }
  [[nodiscard]] StorageOperation hit_operation() const noexcept { return hit_operation_; }
  // The image is opened again: it has been told of nothing.
  void opened_again() noexcept { told_flush_ = false; }

 private:
  friend class FaultyStorage;
  struct ArmedRule {
    FaultRule rule;
    std::uint64_t matched = 0;
  };
  // The rule that hits this request, if any; counts it.
  const FaultRule* judge(const StorageRequest& request) noexcept;

  std::vector<ArmedRule> rules_;
  std::uint64_t seen_ = 0;
  std::uint64_t flushes_ = 0;
  std::uint64_t hits_ = 0;
  bool hit_flush_ = false;
  IoTag hit_tag_ = IoTag::none;
  StorageOperation hit_operation_ = StorageOperation::read;
  bool told_flush_ = false;
  std::uint64_t late_writes_ = 0;
};

class FaultyStorage final : public DecoratorStorage {
 public:
  FaultyStorage(std::unique_ptr<Storage> inner, FaultPlan& plan) noexcept
      : DecoratorStorage(std::move(inner)), plan_(plan) {}
  void submit(StorageRequest& request) noexcept override;

 private:
  void forwarded(Forwarded& part) override;
  FaultPlan& plan_;
  bool flush_failed_ = false;
  StorageRequest told_;  // Completes right behind the failed flush.
};

}  // namespace varve::sim
