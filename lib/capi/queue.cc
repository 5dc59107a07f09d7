// A queue: slots made once, a list of the free ones, a list of what has completed.
#include <vector>

#include "capi/call.h"
#include "capi/structs.h"

using namespace varve;
using namespace varve::capi;

static_assert(sizeof(varve_request) == 64 && sizeof(varve_completion) == 48);

namespace {

constexpr uint32_t kDepthMax = 65536;

struct Slot {
  varve_queue* queue = nullptr;
  Slot* next = nullptr;
  uint64_t user_data = 0;
  BlockRequest request;
  IoVector vector;
  Result<void> result;
};

Result<BlockOperation> operation_of(uint32_t operation) noexcept {
  switch (operation) {
    case VARVE_READ:
      return BlockOperation::read;
    case VARVE_WRITE:
      return BlockOperation::write;
    case VARVE_WRITE_ZEROES:
      return BlockOperation::write_zeroes;
    case VARVE_WRITE_COMPRESSED:
      return BlockOperation::write_compressed;
    case VARVE_DISCARD:
      return BlockOperation::discard;
    case VARVE_FLUSH:
      return BlockOperation::flush;
    default:
      return failure(ErrorCode::unsupported, "varve_request.operation");
  }
}

bool has_data(BlockOperation operation) noexcept {
  return operation == BlockOperation::read || operation == BlockOperation::write ||
         operation == BlockOperation::write_compressed;
}

}  // namespace

struct varve_queue {
  explicit varve_queue(varve_image& owner) noexcept
      : image(&owner), engine(owner.engine), counted(owner) {}

  varve_image* image;
  varve_engine* engine;
  Counted<varve_image> counted;
  std::vector<Slot> slots;
  Slot* free = nullptr;
  Slot* done_first = nullptr;
  Slot* done_last = nullptr;
  size_t in_flight = 0;
};

namespace {

void completed(BlockRequest& request, const Result<void>& result) {
  Slot& slot = *static_cast<Slot*>(request.owner);
  varve_queue& queue = *slot.queue;
  slot.result = result;
  slot.next = nullptr;
  (queue.done_last != nullptr ? queue.done_last->next : queue.done_first) = &slot;
  queue.done_last = &slot;
  --queue.in_flight;
}

Result<void> fill(Slot& slot, const varve_request& from) noexcept {
  const BlockOperation operation = VARVE_TRY(operation_of(from.operation));
  VARVE_TRY(check_flags(from.flags, VARVE_REQUEST_MAY_UNMAP, "varve_request.flags"));
  VARVE_TRY(check_flags(from.reserved[0] | from.reserved[1] | from.reserved[2], 0,
                        "varve_request.reserved"));
  slot.user_data = from.user_data;
  slot.request.operation = operation;
  slot.request.may_unmap = (from.flags & VARVE_REQUEST_MAY_UNMAP) != 0;
  slot.request.offset = from.offset;
  slot.request.length = from.length;
  slot.request.vectors = nullptr;
  slot.request.vector_count = 0;
  if (has_data(operation) && from.vectors != nullptr) {
    slot.request.vectors = static_cast<const IoVector*>(static_cast<const void*>(from.vectors));
    slot.request.vector_count = from.vector_count;
  } else if (has_data(operation)) {
    VARVE_TRY(require(from.data != nullptr || from.length == 0, "varve_request.data is NULL"));
    slot.vector = {static_cast<std::byte*>(from.data), from.length};
    slot.request.vectors = &slot.vector;
    slot.request.vector_count = 1;
  }
  return {};
}

void fill(varve_completion& completion, const Slot& slot) noexcept {
  completion = {};
  completion.user_data = slot.user_data;
  completion.offset = VARVE_NO_OFFSET;
  completion.what = "";
  completion.rule = "";
  if (!slot.result) {
    const Error& error = slot.result.error();
    completion.code = code_of(error.code);
    completion.os_errno = error.os_errno;
    completion.tag = static_cast<uint32_t>(error.tag);
    completion.offset = error.offset;
    completion.what = error.what;
    completion.rule = error.corruption == Corruption::none ? "" : corruption_name(error.corruption);
  }
}

}  // namespace

varve_code varve_queue_create(varve_image* image, uint32_t depth, varve_queue** queue,
                              varve_error* error) {
  return call(engine_of(image), Call::quick, error, [&]() -> Result<void> {
    VARVE_TRY(require(queue != nullptr, "varve_queue_create: queue is NULL"));
    VARVE_TRY(require(depth >= 1 && depth <= kDepthMax, "varve_queue_create: depth"));
    auto made = std::make_unique<varve_queue>(*image);
    made->slots.resize(depth);
    for (Slot& slot : made->slots) {
      slot.queue = made.get();
      slot.request.owner = &slot;
      slot.request.complete = completed;
      slot.next = made->free;
      made->free = &slot;
    }
    *queue = made.release();
    return {};
  });
}

size_t varve_queue_submit(varve_queue* queue, const varve_request* requests, size_t count,
                          varve_error* error) {
  size_t taken = 0;
  call(engine_of(queue), Call::quick, error, [&]() -> Result<void> {
    VARVE_TRY(require(requests != nullptr || count == 0, "varve_queue_submit: requests is NULL"));
    while (taken < count && queue->free != nullptr) {
      Slot& slot = *queue->free;
      VARVE_TRY(fill(slot, requests[taken]));
      queue->free = slot.next;
      ++queue->in_flight;
      ++taken;
      queue->image->image->submit(slot.request);
    }
    return {};
  });
  return taken;
}

size_t varve_queue_reap(varve_queue* queue, varve_completion* completions, size_t capacity) {
  if (!is_usable(engine_of(queue)) || completions == nullptr) {
    return 0;
  }
  size_t count = 0;
  while (count < capacity && queue->done_first != nullptr) {
    Slot& slot = *queue->done_first;
    fill(completions[count++], slot);
    queue->done_first = slot.next;
    queue->done_last = queue->done_first == nullptr ? nullptr : queue->done_last;
    slot.next = queue->free;
    queue->free = &slot;
  }
  return count;
}

size_t varve_queue_in_flight(const varve_queue* queue) {
  return is_usable(engine_of(queue)) ? queue->in_flight : 0;
}

varve_code varve_queue_close(varve_queue* queue, varve_error* error) {
  if (queue == nullptr) {
    return VARVE_OK;
  }
  return call(engine_of(queue), Call::blocking, error, [&]() -> Result<void> {
    while (queue->in_flight != 0) {
      queue->engine->engine->wait();
    }
    destroy(queue);
    return {};
  });
}
