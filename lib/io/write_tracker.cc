#include "io/write_tracker.h"

#include "base/mutation.h"
#include "io/file_request.h"

namespace varve {
namespace {

constexpr std::size_t kPrevious = 0;
constexpr std::size_t kNext = 1;

FileRequest view(const StorageRequest& request) noexcept {
  return FileRequest(const_cast<StorageRequest&>(request));
}

}  // namespace

void WriteTracker::Queue::push(StorageRequest& request) noexcept {
  request.internal.neighbours[kPrevious] = tail_;
  request.internal.neighbours[kNext] = nullptr;
  (tail_ == nullptr ? head_ : tail_->internal.neighbours[kNext]) = &request;
  tail_ = &request;
}

void WriteTracker::Queue::remove(StorageRequest& request) noexcept {
  StorageRequest* previous = request.internal.neighbours[kPrevious];
  StorageRequest* next = request.internal.neighbours[kNext];
  (previous == nullptr ? head_ : previous->internal.neighbours[kNext]) = next;
  (next == nullptr ? tail_ : next->internal.neighbours[kPrevious]) = previous;
}

void WriteTracker::note_range(StorageRequest& request) noexcept {
  const Range range = owner_.range_of(request);
  FileRequest file_request(request);
  file_request.set_range(range.begin, range.end);
  if (range.exclusive && !file_request.is(FileRequest::exclusive)) {
    file_request.set(FileRequest::exclusive);
    ++exclusive_count_;
  }
}

bool WriteTracker::is_in_the_way(StorageRequest& other,
                                 const StorageRequest& request) const noexcept {
  const FileRequest a = view(other);
  const FileRequest b = view(request);
  return !is_broken(Rule::o11) && (a.is(FileRequest::exclusive) || b.is(FileRequest::exclusive)) &&
         a.range_begin() < b.range_end() && b.range_begin() < a.range_end();
}

// Looks at all that is under way, and at who came first among the waiting.
bool WriteTracker::may_begin(const StorageRequest& request) const noexcept {
  for (StorageRequest* other = active_.front(); other != nullptr; other = Queue::next(*other)) {
    if (is_in_the_way(*other, request)) {
      return false;
    }
  }
  for (StorageRequest* other = waiting_.front(); other != nullptr && other != &request;
       other = Queue::next(*other)) {
    if (is_in_the_way(*other, request)) {
      return false;
    }
  }
  return true;
}

void WriteTracker::enter(StorageRequest& request) noexcept {
  FileRequest(request).set(FileRequest::tracked);
  note_range(request);
  if (exclusive_count_ != 0 && !may_begin(request)) {
    waiting_.push(request);
    return;
  }
  active_.push(request);
  owner_.admitted(request);
}

void WriteTracker::leave(StorageRequest& request) noexcept {
  FileRequest file_request(request);
  active_.remove(request);
  file_request.clear(FileRequest::tracked);
  if (file_request.is(FileRequest::exclusive)) {
    file_request.clear(FileRequest::exclusive);
    --exclusive_count_;
  }
  for (StorageRequest* other = waiting_.front(); other != nullptr;) {
    StorageRequest* next = Queue::next(*other);
    note_range(*other);
    if (may_begin(*other)) {
      waiting_.remove(*other);
      active_.push(*other);
      owner_.admitted(*other);
    }
    other = next;
  }
}

}  // namespace varve
