// DecoratorStorage: what every storage that wraps another one shares. A request is forwarded as a
// copy, so that the caller's own stays untouched and the wrapper sees the completion first.
//
// Threads: the engine's. Lifetime: owns the wrapped storage; nothing may be in flight at its end.
#pragma once

#include <memory>
#include <vector>

#include <varve/engine.h>
#include <varve/storage.h>

namespace varve::sim {

class DecoratorStorage : public Storage {
 public:
  [[nodiscard]] const StorageCapabilities& capabilities() const noexcept override {
    return inner_->capabilities();
  }
  [[nodiscard]] std::uint64_t size() const noexcept override { return inner_->size(); }
  [[nodiscard]] Engine& engine() const noexcept override { return inner_->engine(); }
  [[nodiscard]] const char* name() const noexcept override { return inner_->name(); }
  [[nodiscard]] bool is_same_file(const Storage& other) const noexcept override {
    return this == &other || inner_->is_same_file(other);
  }
  [[nodiscard]] Result<void> lock(bool for_writing, bool share_everything) noexcept override {
    return inner_->lock(for_writing, share_everything);
  }
  void unlock() noexcept override { inner_->unlock(); }
  [[nodiscard]] Result<void> refresh() noexcept override { return inner_->refresh(); }

 protected:
  explicit DecoratorStorage(std::unique_ptr<Storage> inner) noexcept : inner_(std::move(inner)) {}

  // One forwarded request. `number` and `result` are the decorator's own.
  struct Forwarded {
    StorageRequest request;
    StorageRequest* outer = nullptr;
    DecoratorStorage* decorator = nullptr;
    std::vector<IoVector> vectors;
    std::uint64_t number = 0;
    Result<void> result;
  };

  // Sends a copy of `outer` on; forwarded() hears of its completion.
  void forward(StorageRequest& outer, std::uint64_t number = 0) {
    Forwarded& copy = take(outer, number);
    inner_->submit(copy.request);
  }
  // The same for the bytes [from, from + length) of a read or write.
  void forward_part(StorageRequest& outer, std::uint64_t from, std::uint64_t length,
                    std::uint64_t number = 0);

  // A forwarded request has completed; `part` goes back to the pool when this returns. The default
  // completes the caller's request: the last thing an override may do with it.
  virtual void forwarded(Forwarded& part) { complete(*part.outer, part.result); }

  static void complete(StorageRequest& outer, const Result<void>& result) {
    outer.complete(outer, result);
  }

 private:
  Forwarded& take(StorageRequest& outer, std::uint64_t number);
  static void completed(StorageRequest& request, const Result<void>& result);

  std::unique_ptr<Storage> inner_;
  std::vector<std::unique_ptr<Forwarded>> all_;
  std::vector<Forwarded*> free_;
};

}  // namespace varve::sim
