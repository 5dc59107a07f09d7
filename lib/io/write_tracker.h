// Keeps read-modify-write of device blocks alone on its range (rule O11). All changes in flight on
// a direct file stand in a list; an exclusive one (which reads blocks, changes part of them and
// writes them back) waits for every other change it would meet, and they for it. Changes that are
// not exclusive never wait for each other: the caller orders those.
//
// Threads: the engine's.
#pragma once

#include <cstdint>

#include <varve/storage.h>

namespace varve {

class WriteTracker {
 public:
  // Where a change may touch the file, in bytes; kNoEnd covers all that follows.
  struct Range {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
    bool exclusive = false;
  };
  static constexpr std::uint64_t kNoEnd = ~std::uint64_t{0};

  class Owner {
   public:
    // The range as of now: it may change with the file's size while the request waits.
    [[nodiscard]] virtual Range range_of(const StorageRequest& request) const noexcept = 0;
    virtual void admitted(StorageRequest& request) noexcept = 0;

   protected:
    ~Owner() = default;
  };

  explicit WriteTracker(Owner& owner) noexcept : owner_(owner) {}

  // Calls owner.admitted(request) now or when nothing is in its way.
  void enter(StorageRequest& request) noexcept;
  // The request has ended; admits whom it kept waiting.
  void leave(StorageRequest& request) noexcept;

 private:
  class Queue {
   public:
    [[nodiscard]] StorageRequest* front() const noexcept { return head_; }
    [[nodiscard]] static StorageRequest* next(const StorageRequest& request) noexcept {
      return request.internal.neighbours[1];
    }
    void push(StorageRequest& request) noexcept;
    void remove(StorageRequest& request) noexcept;

   private:
    StorageRequest* head_ = nullptr;
    StorageRequest* tail_ = nullptr;
  };

  void note_range(StorageRequest& request) noexcept;
  [[nodiscard]] bool is_in_the_way(StorageRequest& other,
                                   const StorageRequest& request) const noexcept;
  [[nodiscard]] bool may_begin(const StorageRequest& request) const noexcept;

  Owner& owner_;
  Queue active_;
  Queue waiting_;
  std::uint32_t exclusive_count_ = 0;  // Of both queues.
};

}  // namespace varve
