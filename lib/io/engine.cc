#include <algorithm>
#include <chrono>
#include <new>
#include <string>
#include <utility>

#include <varve/engine.h>

#include "base/assert.h"
#include "base/failure.h"
#include "base/try.h"
#include "io/engine_implementation.h"
#include "io/file_request.h"

namespace varve {

using Clock = std::chrono::steady_clock;

namespace {

// How long a wait may last while a simulated storage might have something to do and the kernel
// certainly has.
constexpr int kSourceWaitMilliseconds = 1;

// A message without memory for all of it is cut down to its bare words.
void log_to(const EngineOptions& options, LogLevel level, const char* what, const char* subject,
            const Error* cause) noexcept {
  if (options.log == nullptr) {
    return;
  }
  try {
    std::string text = subject != nullptr ? subject + std::string(": ") + what : what;
    if (cause != nullptr) {
      text += ": ";
      text += describe(*cause);
    }
    options.log(options.log_owner, level, text.c_str());
  } catch (const std::bad_alloc&) {
    options.log(options.log_owner, level, what);
  }
}

}  // namespace

Engine::Implementation::Implementation(Event&& wake, Event&& outside,
                                       const EngineOptions& options) noexcept
    : wake_(std::move(wake)),
      outside_(std::move(outside)),
      options_(options),
      mailbox_(wake_, outside_) {}

Result<void> Engine::Implementation::choose_backend() noexcept {
  if (options_.backend != AioBackend::threads) {
    Result<std::unique_ptr<UringLoop>> ring = UringLoop::create(options_.queue_depth, wake_);
    if (ring) {
      uring_ = std::move(*ring);
      return {};
    }
    if (options_.backend == AioBackend::io_uring) {
      return ring.error();
    }
    log_to(options_, LogLevel::warning, "threads carry the I/O", nullptr, &ring.error());
  }
  pool_.emplace(mailbox_);
  return {};
}

Result<void> Engine::Implementation::attach(SystemFile& file) noexcept {
  if (uring_ != nullptr) {
    file.registered_slot = uring_->register_file(file.descriptor);
    return {};
  }
  if (options_.threads == 0) {
    return failure(ErrorCode::unsupported, "io_uring is refused and no threads are allowed");
  }
  return pool_->start_threads(options_.threads);
}

void Engine::Implementation::detach(SystemFile& file) noexcept {
  if (uring_ != nullptr) {
    uring_->unregister_file(file.registered_slot);
  }
}

void Engine::Implementation::start(StorageRequest& request) noexcept {
  ++system_call_count_;
  if (uring_ != nullptr) {
    uring_->start(request);
  } else {
    ++pool_calls_;
    pool_->start(request);
  }
}

int Engine::Implementation::event_descriptor() noexcept {
  if (!exposed_) {
    exposed_ = true;
    if (uring_ != nullptr) {
      uring_->expose(outside_);
    }
    // Signals at once, for what has happened before.
    mailbox_.expose();
  }
  return outside_.descriptor();
}

void Engine::Implementation::submit_pending() noexcept {
  if (uring_ != nullptr) {
    uring_->submit();
  } else {
    pool_->submit();
  }
}

void Engine::Implementation::post(StorageRequest& request, const Result<void>& result) noexcept {
  request.internal.result = result;
  ready_.push(request);
  if (exposed_ && !signalled_) {
    signalled_ = true;
    outside_.signal();
  }
}

void Engine::Implementation::collect() noexcept {
  if (uring_ != nullptr) {
    uring_->collect();
  }
  RequestQueue<StorageRequest> calls;
  mailbox_.take(ready_, calls);
  while (StorageRequest* request = calls.pop()) {
    --pool_calls_;
    const FileRequest file_request(*request);
    file_request.file().call_finished(*request, file_request.system_result());
  }
}

void Engine::Implementation::advance_sources() noexcept {
  for (Source* source = sources_; source != nullptr; source = next_source_) {
    // Kept where remove_source can correct it.
    next_source_ = source->next_source_;
    source->advance();
  }
}

void Engine::Implementation::add_source(Source& source) noexcept {
  source.next_source_ = sources_;
  sources_ = &source;
}

void Engine::Implementation::remove_source(Source& source) noexcept {
  if (next_source_ == &source) {
    next_source_ = source.next_source_;
  }
  for (Source** link = &sources_; *link != nullptr; link = &(*link)->next_source_) {
    if (*link == &source) {
      *link = source.next_source_;
      source.next_source_ = nullptr;
      return;
    }
  }
}

std::size_t Engine::Implementation::run_ready() noexcept {
  // Only what is there now: callbacks that keep posting must not keep the caller's loop from
  // turning. The rest stays in the queue, where a wait inside a callback would find it.
  std::size_t left = ready_.size();
  std::size_t ran = 0;
  while (left-- > 0) {
    StorageRequest* request = ready_.pop();
    if (request == nullptr) {
      break;
    }
    // A copy: the callback may destroy the request.
    const Result<void> result = request->internal.result;
    ++ran;
    request->complete(*request, result);
  }
  return ran;
}

std::size_t Engine::Implementation::run_once() noexcept {
  if (exposed_) {
    outside_.reset();
    signalled_ = true;  // Callbacks' posts need no signal of their own: see below.
  }
  collect();
  advance_sources();
  const std::size_t ran = run_ready();
  if (exposed_) {
    signalled_ = !ready_.empty();
    if (signalled_) {
      outside_.signal();
    }
  }
  return ran;
}

std::size_t Engine::Implementation::poll() noexcept {
  submit_pending();
  const std::size_t ran = run_once();
  submit_pending();
  return ran;
}

void Engine::Implementation::block(int timeout_milliseconds) noexcept {
  if (!mailbox_.begin_sleep()) {
    return;
  }
  if (uring_ != nullptr) {
    uring_->wait(timeout_milliseconds);
  } else {
    pool_->submit();
    wake_.wait(timeout_milliseconds);
  }
  mailbox_.awake();
}

std::size_t Engine::Implementation::wait(int timeout_milliseconds) noexcept {
  const bool forever = timeout_milliseconds < 0;
  const Clock::time_point deadline =
      forever ? Clock::time_point::max()
              : Clock::now() + std::chrono::milliseconds(timeout_milliseconds);
  for (;;) {
    const std::size_t ran = run_once();
    int limit = -1;
    if (ran == 0 && !forever) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
      limit = static_cast<int>(std::max<std::int64_t>(left.count(), 0));
    }
    if (ran == 0 && sources_ != nullptr) {
      // A source that did nothing may wait for the caller's next move: never block on its account.
      limit = has_calls_in_flight() && limit != 0 ? kSourceWaitMilliseconds : 0;
    }
    if (ran != 0 || limit == 0) {
      submit_pending();
      return ran;
    }
    block(limit);
  }
}

// --- The public face ---

Engine::Engine(std::unique_ptr<Implementation> implementation) noexcept
    : implementation_(std::move(implementation)) {}

Engine::~Engine() {
  VARVE_ASSERT(implementation_->is_idle());
}

Result<std::unique_ptr<Engine>> Engine::create(const EngineOptions& options) noexcept {
  Event wake = VARVE_TRY(Event::create());
  Event outside = VARVE_TRY(Event::create());
  try {
    auto implementation =
        std::make_unique<Implementation>(std::move(wake), std::move(outside), options);
    VARVE_TRY(implementation->choose_backend());
    return std::make_unique<Engine>(std::move(implementation));
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot allocate an engine");
  }
}

AioBackend Engine::backend() const noexcept {
  return implementation_->backend();
}

int Engine::event_fd() const noexcept {
  return implementation_->event_descriptor();
}

void Engine::submit_pending() noexcept {
  implementation_->submit_pending();
}

std::size_t Engine::poll() noexcept {
  return implementation_->poll();
}

std::size_t Engine::wait(int timeout_milliseconds) noexcept {
  return implementation_->wait(timeout_milliseconds);
}

void Engine::post(StorageRequest& request, const Result<void>& result) noexcept {
  implementation_->post(request, result);
}

void Engine::post_from_any_thread(StorageRequest& request, const Result<void>& result) noexcept {
  request.internal.result = result;
  implementation_->mailbox().put(request, Mailbox::Kind::completion);
}

void Engine::log(LogLevel level, const char* what, const char* subject,
                 const Error* cause) const noexcept {
  log_to(implementation_->options(), level, what, subject, cause);
}

void Engine::add_source(Source& source) noexcept {
  implementation_->add_source(source);
}

void Engine::remove_source(Source& source) noexcept {
  implementation_->remove_source(source);
}

}  // namespace varve
