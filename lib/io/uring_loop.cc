#include "io/uring_loop.h"

#include <algorithm>
#include <array>
#include <bitset>
#include <cerrno>
#include <new>

#include <liburing.h>
#include <poll.h>

#include "base/assert.h"
#include "base/failure.h"
#include "io/file_request.h"
#include "io/system_call.h"

namespace varve {
namespace {

constexpr unsigned kFileSlots = 256;
// IORING_OP_FTRUNCATE of Linux 6.9, younger than the liburing we build with.
constexpr std::uint8_t kFtruncateOpcode = 55;
// In place of a request's address: the watch on the wake event fired.
constexpr std::uint64_t kWakeMark = 1;
constexpr unsigned kDepthMax = 16384;

// Tried in order: fewer interruptions of our thread first.
constexpr std::array<unsigned, 4> kSetupFlags = {
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
    IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
    0,
};

}  // namespace

struct UringLoop::Ring {
  io_uring uring = {};
  unsigned depth = 0;
  bool initialised = false;
  bool knows_truncate = false;
  std::bitset<kFileSlots> slots;  // Taken ones.
  unsigned slot_count = 0;

  ~Ring() {
    if (initialised) {
      io_uring_queue_exit(&uring);
    }
  }

  // 0 or -errno.
  int set_up(unsigned entries) noexcept {
    int result = -ENOSYS;
    for (const unsigned flags : kSetupFlags) {
      io_uring_params parameters = {};
      parameters.flags = flags;
      result = io_uring_queue_init_params(entries, &uring, &parameters);
      if (result != -EINVAL) {
        break;
      }
    }
    initialised = result == 0;
    return result;
  }

  // A sandbox may let a ring be made and then refuse its use; 0 or -errno.
  int try_out(const Event& event) noexcept {
    io_uring_sqe* entry = io_uring_get_sqe(&uring);
    io_uring_prep_nop(entry);
    io_uring_cqe* completion = nullptr;
    int result = io_uring_submit_and_wait(&uring, 1);
    if (result >= 0) {
      result = io_uring_peek_cqe(&uring, &completion);
    }
    if (result < 0) {
      return result;
    }
    io_uring_cqe_seen(&uring, completion);
    result = io_uring_register_eventfd(&uring, event.descriptor());
    return result < 0 ? result : io_uring_unregister_eventfd(&uring);
  }

  [[nodiscard]] bool must_enter_to_see() const noexcept {
    return (IO_URING_READ_ONCE(*uring.sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) !=
           0;
  }
};

UringLoop::UringLoop(std::unique_ptr<Ring> ring, const Event& wake) noexcept
    : ring_(std::move(ring)), wake_(wake) {}

Result<std::unique_ptr<UringLoop>> UringLoop::create(unsigned depth, const Event& wake) noexcept {
  try {
    auto ring = std::make_unique<Ring>();
    ring->depth = std::clamp(depth, 1U, kDepthMax);
    // One entry more than requests: the watch on the wake event.
    int result = ring->set_up(ring->depth + 1);
    if (result == 0) {
      result = ring->try_out(wake);
    }
    if (result < 0) {
      Error error = failure(result == -ENOMEM ? ErrorCode::no_memory : ErrorCode::unsupported,
                            "the system refuses io_uring");
      error.os_errno = -result;
      return error;
    }
    if (io_uring_register_files_sparse(&ring->uring, kFileSlots) == 0) {
      ring->slot_count = kFileSlots;
    }
    if (io_uring_probe* probe = io_uring_get_probe_ring(&ring->uring); probe != nullptr) {
      ring->knows_truncate = io_uring_opcode_supported(probe, kFtruncateOpcode) != 0;
      io_uring_free_probe(probe);
    }
    return std::make_unique<UringLoop>(std::move(ring), wake);
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot allocate a ring");
  }
}

UringLoop::~UringLoop() {
  VARVE_ASSERT(is_idle());
}

bool UringLoop::is_idle() const noexcept {
  return in_flight_ == 0 && waiting_.empty() && blocking_calls_.empty();
}

int UringLoop::register_file(int descriptor) noexcept {
  for (unsigned slot = 0; slot < ring_->slot_count; ++slot) {
    if (!ring_->slots[slot]) {
      if (io_uring_register_files_update(&ring_->uring, slot, &descriptor, 1) != 1) {
        return -1;
      }
      ring_->slots[slot] = true;
      return static_cast<int>(slot);
    }
  }
  return -1;
}

void UringLoop::unregister_file(int slot) noexcept {
  if (slot < 0) {
    return;
  }
  const int none = -1;
  io_uring_register_files_update(&ring_->uring, static_cast<unsigned>(slot), &none, 1);
  ring_->slots[static_cast<unsigned>(slot)] = false;
}

void UringLoop::expose(const Event& event) noexcept {
  // Tried out when the ring was made.
  io_uring_register_eventfd(&ring_->uring, event.descriptor());
}

void UringLoop::start(StorageRequest& request) noexcept {
  if (in_flight_ >= ring_->depth) {
    waiting_.push(request);
    return;
  }
  fill(request);
}

void UringLoop::fill(StorageRequest& request) noexcept {
  const SystemFile& file = FileRequest(request).file();
  const SystemCall call = file.next_call(request);
  if (call.kind == SystemCall::Kind::discard_device ||
      (call.kind == SystemCall::Kind::truncate && !ring_->knows_truncate)) {
    blocking_calls_.push(request);
    return;
  }
  io_uring_sqe* entry = io_uring_get_sqe(&ring_->uring);
  // The ring has room for every request in flight, and the kernel takes entries in order.
  VARVE_ASSERT(entry != nullptr);
  const bool registered = file.registered_slot >= 0;
  const int target = registered ? file.registered_slot : file.descriptor;
  switch (call.kind) {
    case SystemCall::Kind::read:
      if (call.vector_count == 0) {
        io_uring_prep_read(entry, target, call.single.data, static_cast<unsigned>(call.single.size),
                           call.offset);
      } else {
        io_uring_prep_readv(entry, target, system_vectors(call.vectors), call.vector_count,
                            call.offset);
      }
      break;
    case SystemCall::Kind::write:
      if (call.vector_count == 0) {
        io_uring_prep_write(entry, target, call.single.data,
                            static_cast<unsigned>(call.single.size), call.offset);
      } else {
        io_uring_prep_writev(entry, target, system_vectors(call.vectors), call.vector_count,
                             call.offset);
      }
      break;
    case SystemCall::Kind::sync_data:
      io_uring_prep_fsync(entry, target, IORING_FSYNC_DATASYNC);
      break;
    case SystemCall::Kind::allocate:
      io_uring_prep_fallocate(entry, target, call.mode, static_cast<off_t>(call.offset),
                              static_cast<off_t>(call.length));
      break;
    case SystemCall::Kind::truncate:
      io_uring_prep_rw(kFtruncateOpcode, entry, target, nullptr, 0, call.offset);
      break;
    case SystemCall::Kind::discard_device:
      break;
  }
  if (registered) {
    entry->flags |= IOSQE_FIXED_FILE;
  }
  io_uring_sqe_set_data(entry, &request);
  ++in_flight_;
  ++call_count_;
}

void UringLoop::refill() noexcept {
  while (in_flight_ < ring_->depth && !waiting_.empty()) {
    fill(*waiting_.pop());
  }
}

// Rare calls without an io_uring form: they hold up this thread, but never inside submit.
void UringLoop::run_blocking_calls() noexcept {
  RequestQueue<StorageRequest> calls;
  calls.append(blocking_calls_);
  while (StorageRequest* request = calls.pop()) {
    SystemFile& file = FileRequest(*request).file();
    ++call_count_;
    file.call_finished(*request, run_system_call(file.descriptor, file.next_call(*request)));
  }
}

void UringLoop::check_entered(int result) noexcept {
  // What the kernel did not take stays queued: EAGAIN and EBUSY end once results are collected.
  VARVE_ASSERT(result >= 0 || result == -EINTR || result == -EAGAIN || result == -EBUSY ||
               result == -ETIME || result == -ENOMEM);
}

void UringLoop::submit() noexcept {
  if (!blocking_calls_.empty()) {
    run_blocking_calls();
  }
  refill();
  if (io_uring_sq_ready(&ring_->uring) != 0) {
    check_entered(ring_->must_enter_to_see() ? io_uring_submit_and_get_events(&ring_->uring)
                                             : io_uring_submit(&ring_->uring));
  }
}

void UringLoop::collect() noexcept {
  if (!blocking_calls_.empty()) {
    run_blocking_calls();
  }
  if (ring_->must_enter_to_see()) {
    check_entered(io_uring_get_events(&ring_->uring));
  }
  std::array<io_uring_cqe*, 64> batch;
  for (;;) {
    const unsigned count = io_uring_peek_batch_cqe(&ring_->uring, batch.data(), batch.size());
    for (unsigned i = 0; i < count; ++i) {
      if (batch[i]->user_data == kWakeMark) {
        wake_watched_ = false;
      } else if (batch[i]->user_data != LIBURING_UDATA_TIMEOUT) {
        auto& request = *static_cast<StorageRequest*>(io_uring_cqe_get_data(batch[i]));
        --in_flight_;
        FileRequest(request).file().call_finished(request, batch[i]->res);
      }
    }
    io_uring_cq_advance(&ring_->uring, count);
    if (count < batch.size()) {
      break;
    }
  }
  refill();
}

void UringLoop::watch_wake() noexcept {
  if (wake_watched_) {
    return;
  }
  io_uring_sqe* entry = io_uring_get_sqe(&ring_->uring);
  if (entry == nullptr) {
    return;
  }
  io_uring_prep_poll_add(entry, wake_.descriptor(), POLLIN);
  io_uring_sqe_set_data64(entry, kWakeMark);
  wake_watched_ = true;
}

void UringLoop::wait(int timeout_milliseconds) noexcept {
  if (!blocking_calls_.empty()) {
    submit();
    return;
  }
  refill();
  watch_wake();
  if (io_uring_cq_ready(&ring_->uring) != 0) {
    timeout_milliseconds = 0;
  }
  if (timeout_milliseconds < 0) {
    check_entered(io_uring_submit_and_wait(&ring_->uring, 1));
    return;
  }
  io_uring_cqe* completion = nullptr;
  __kernel_timespec timeout = {};
  timeout.tv_sec = timeout_milliseconds / 1000;
  timeout.tv_nsec = (timeout_milliseconds % 1000) * 1'000'000LL;
  check_entered(io_uring_submit_and_wait_timeout(&ring_->uring, &completion, 1, &timeout, nullptr));
}

}  // namespace varve
