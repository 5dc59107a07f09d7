// An operation: one guest request under way on a qcow2 image. Objects come from fixed pools and are
// used again. Threads: the engine's thread only.
#pragma once

#include <cstdint>
#include <memory>
#include <new>
#include <vector>

#include <varve/image.h>

#include "base/failure.h"
#include "meta/waiter.h"

namespace varve {

class Qcow2Image;

class Operation : protected Waiter {
 public:
  explicit Operation(Qcow2Image& image) noexcept : image_(&image) {}
  virtual ~Operation() = default;
  Operation(const Operation&) = delete;
  Operation& operator=(const Operation&) = delete;

  // Takes the request on. It is completed from the engine's loop, also when nothing had to be
  // waited for.
  void begin(BlockRequest& request) noexcept;

 protected:
  // Called once at the start, and again whenever what was waited for is there (with its result).
  virtual void advance(const Result<void>& result) noexcept = 0;
  // The request is done: the operation goes back to its pool and must not touch itself afterwards.
  void finish(const Result<void>& result) noexcept;
  // Gives this object back to its pool.
  virtual void recycle() noexcept = 0;

  [[nodiscard]] Qcow2Image& image() const noexcept { return *image_; }
  [[nodiscard]] BlockRequest& request() const noexcept { return *request_; }

 private:
  void resume(const Result<void>& result) noexcept override;

  Qcow2Image* image_;
  BlockRequest* request_ = nullptr;
  std::uint64_t era_ = 0;
  bool is_deferred_ = false;
};

// Operations of one kind, made when first needed and kept. The image bounds how many are in use.
template <class Kind>
class OperationPool {
 public:
  // Null when memory is short.
  [[nodiscard]] Kind* take(Qcow2Image& image) noexcept {
    if (free_.empty()) {
      try {
        all_.reserve(all_.size() + 1);
        free_.reserve(all_.size() + 1);
        all_.push_back(std::make_unique<Kind>(image));
        return all_.back().get();
      } catch (const std::bad_alloc&) {
        return nullptr;
      }
    }
    Kind* operation = free_.back();
    free_.pop_back();
    return operation;
  }
  void give_back(Kind& operation) noexcept { free_.push_back(&operation); }

  // Makes `count` of them at once, so that take() cannot fail for as many. Errors: no_memory.
  Result<void> reserve(Qcow2Image& image, std::size_t count) noexcept {
    try {
      all_.reserve(count);
      free_.reserve(count);
      while (all_.size() < count) {
        all_.push_back(std::make_unique<Kind>(image));
        free_.push_back(all_.back().get());
      }
    } catch (const std::bad_alloc&) {
      return failure(ErrorCode::no_memory, "cannot allocate operations");
    }
    return {};
  }

 private:
  std::vector<std::unique_ptr<Kind>> all_;
  std::vector<Kind*> free_;
};

}  // namespace varve
