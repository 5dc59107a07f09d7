// Intrusive lists: queues of objects that live elsewhere. Linking never allocates and cannot fail.
// Threads: none; the owner serialises.
#pragma once

#include <utility>

#include "base/assert.h"

namespace varve {

template <class T>
class List;

// Derive from this to stand in at most one List<T> at a time.
template <class T>
class ListNode {
 public:
  ListNode() = default;
  ListNode(const ListNode&) = delete;
  ListNode& operator=(const ListNode&) = delete;
  ~ListNode() = default;

  [[nodiscard]] bool is_linked() const noexcept { return next_ != nullptr; }

 private:
  friend class List<T>;
  ListNode* next_ = nullptr;
  ListNode* previous_ = nullptr;
};

template <class T>
class List {
 public:
  List() noexcept { reset(); }
  List(const List&) = delete;
  List& operator=(const List&) = delete;
  ~List() {
    VARVE_ASSERT(empty());
    head_.next_ = nullptr;
  }

  [[nodiscard]] bool empty() const noexcept { return head_.next_ == &head_; }
  [[nodiscard]] T* front() const noexcept {
    return empty() ? nullptr : static_cast<T*>(head_.next_);
  }
  [[nodiscard]] T* next(const T& item) const noexcept {
    const ListNode<T>* node = &static_cast<const ListNode<T>&>(item);
    return node->next_ == &head_ ? nullptr : static_cast<T*>(node->next_);
  }

  void push_back(T& item) noexcept {
    ListNode<T>* node = &static_cast<ListNode<T>&>(item);
    VARVE_ASSERT(!node->is_linked());
    node->previous_ = head_.previous_;
    node->next_ = &head_;
    head_.previous_->next_ = node;
    head_.previous_ = node;
  }
  static void remove(T& item) noexcept {
    ListNode<T>* node = &static_cast<ListNode<T>&>(item);
    VARVE_ASSERT(node->is_linked());
    node->previous_->next_ = node->next_;
    node->next_->previous_ = node->previous_;
    node->next_ = nullptr;
    node->previous_ = nullptr;
  }
  T* pop_front() noexcept {
    T* item = front();
    if (item != nullptr) {
      remove(*item);
    }
    return item;
  }
  // Moves every item of `other` to the end of this list.
  void splice_back(List& other) noexcept {
    if (other.empty()) {
      return;
    }
    ListNode<T>* first = other.head_.next_;
    ListNode<T>* last = other.head_.previous_;
    first->previous_ = head_.previous_;
    head_.previous_->next_ = first;
    last->next_ = &head_;
    head_.previous_ = last;
    other.reset();
  }

 private:
  void reset() noexcept {
    head_.next_ = &head_;
    head_.previous_ = &head_;
  }
  mutable ListNode<T> head_;
};

}  // namespace varve
