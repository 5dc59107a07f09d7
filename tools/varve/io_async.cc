#include "io_async.h"

#include <cstdio>

#include "io_session.h"
#include "messages.h"

namespace varve::tool {

namespace {

// Runs inside the engine, where nothing may throw: no fmt::print.
void print_text(const std::string& text) {
  (void)std::fputs(text.c_str(), stdout);
}

// Tells how `transfer` ended. `problem`: 0 or an errno.
void finish(AsyncTransfer& transfer, int problem) {
  transfer.report.elapsed = IoClock::now() - transfer.start;
  transfer.finished = true;
  if (problem != 0) {
    print_text(fmt::format("{} failed: {}\n", transfer.failure, system_words(problem)));
    return;
  }
  const std::span<std::byte> data = transfer.buffer.bytes();
  if (transfer.pattern && !matches_pattern(data, *transfer.pattern)) {
    print_text(fmt::format("Pattern verification failed at offset {}, {} bytes\n",
                           transfer.request.offset, data.size()));
  }
  if (transfer.quiet) {
    return;
  }
  if (transfer.verbose) {
    print_text(io_dump_text(data, transfer.request.offset));
  }
  print_text(io_report_text(transfer.report, transfer.machine_readable));
}

void flush_completed(BlockRequest& request, const Result<void>& result) {
  auto& transfer = *static_cast<AsyncTransfer*>(request.owner);
  finish(transfer, result ? 0 : transfer.session->report_failure(result.error()));
}

void transfer_completed(BlockRequest& request, const Result<void>& result) {
  auto& transfer = *static_cast<AsyncTransfer*>(request.owner);
  if (!result) {
    finish(transfer, transfer.session->report_failure(result.error()));
    return;
  }
  if (!transfer.session->needs_flush(request, transfer.force_unit_access)) {
    finish(transfer, 0);
    return;
  }
  const std::uint64_t offset = request.offset;
  request = BlockRequest{};
  request.operation = BlockOperation::flush;
  request.offset = offset;
  request.complete = flush_completed;
  request.owner = &transfer;
  transfer.session->image().submit(request);
}

}  // namespace

void IoAsyncQueue::start(std::list<AsyncTransfer>&& transfer) {
  forget_finished();
  AsyncTransfer& started = transfer.front();
  transfers_.splice(transfers_.end(), transfer);
  started.start = IoClock::now();
  const int problem = started.session->prepare(started.request);
  if (problem != 0 || started.session->is_void(started.request)) {
    deferred_.push_back({&started, problem});
    return;
  }
  started.request.complete = transfer_completed;
  started.request.owner = &started;
  started.session->image().submit(started.request);
}

void IoAsyncQueue::finish_deferred() {
  for (const Deferred& deferred : deferred_) {
    finish(*deferred.transfer, deferred.problem);
  }
  deferred_.clear();
}

void IoAsyncQueue::drain() {
  finish_deferred();
  forget_finished();
  while (!transfers_.empty()) {
    (void)transfers_.front().session->context().engine()->wait();
    forget_finished();
  }
}

bool IoAsyncQueue::is_idle() {
  forget_finished();
  return transfers_.empty();
}

void IoAsyncQueue::forget_finished() {
  transfers_.remove_if([](const AsyncTransfer& transfer) { return transfer.finished; });
}

}  // namespace varve::tool
