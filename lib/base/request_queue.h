// A first-in first-out queue of requests, linked through their `internal.next`: queueing never
// allocates. Threads: none; the owner serialises.
#pragma once

#include <cstddef>

namespace varve {

template <class Request>
class RequestQueue {
 public:
  [[nodiscard]] bool empty() const noexcept { return head_ == nullptr; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

  void push(Request& request) noexcept {
    request.internal.next = nullptr;
    if (tail_ == nullptr) {
      head_ = &request;
    } else {
      tail_->internal.next = &request;
    }
    tail_ = &request;
    ++size_;
  }

  Request* pop() noexcept {
    Request* request = head_;
    if (request != nullptr) {
      head_ = request->internal.next;
      if (head_ == nullptr) {
        tail_ = nullptr;
      }
      request->internal.next = nullptr;
      --size_;
    }
    return request;
  }

  // Moves every request of `other` to the end of this queue.
  void append(RequestQueue& other) noexcept {
    if (other.empty()) {
      return;
    }
    if (tail_ == nullptr) {
      head_ = other.head_;
    } else {
      tail_->internal.next = other.head_;
    }
    tail_ = other.tail_;
    size_ += other.size_;
    other.head_ = nullptr;
    other.tail_ = nullptr;
    other.size_ = 0;
  }

 private:
  Request* head_ = nullptr;
  Request* tail_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace varve
