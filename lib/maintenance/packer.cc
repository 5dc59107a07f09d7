#include "maintenance/packer.h"

#include <new>
#include <system_error>
#include <utility>

#include <signal.h>

#include "base/assert.h"
#include "base/failure.h"
#include "base/try.h"

namespace varve {

Result<std::unique_ptr<Packer>> Packer::start(Engine& engine, Compression compression,
                                              std::size_t cluster_bytes, unsigned threads) {
  auto packer = std::make_unique<Packer>(engine, cluster_bytes);
  for (unsigned i = 0; i < threads; ++i) {
    packer->codecs_.push_back(VARVE_TRY(make_codec(compression)));
  }
  packer->threads_.reserve(threads);
  // The embedder's signal handlers must not run on these threads.
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  Result<void> started;
  try {
    for (const std::unique_ptr<Codec>& codec : packer->codecs_) {
      packer->threads_.emplace_back([&worker = *packer, &codec] { worker.work(*codec); });
    }
  } catch (const std::system_error& error) {
    started = system_failure(error.code().value(), IoTag::none, Error::kNoOffset,
                             "cannot start a thread");
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  // Fewer threads than asked for still do the work.
  if (packer->threads_.empty()) {
    VARVE_TRY(started);
  }
  return packer;
}

Packer::~Packer() {
  {
    const std::lock_guard lock(mutex_);
    VARVE_ASSERT(first_ == nullptr);
    is_stopping_ = true;
  }
  available_.notify_all();
  for (std::thread& thread : threads_) {
    thread.join();
  }
}

void Packer::submit(Job& job) noexcept {
  job.next = nullptr;
  {
    const std::lock_guard lock(mutex_);
    (first_ == nullptr ? first_ : last_->next) = &job;
    last_ = &job;
  }
  available_.notify_one();
}

void Packer::work(Codec& codec) noexcept {
  std::unique_lock lock(mutex_);
  for (;;) {
    available_.wait(lock, [this] { return is_stopping_ || first_ != nullptr; });
    Job* const job = first_;
    if (job == nullptr) {
      return;
    }
    first_ = job->next;
    lock.unlock();
    engine_.post_from_any_thread(job->done, pack(codec, *job));
    lock.lock();
  }
}

Result<void> Packer::pack(Codec& codec, const Job& job) const noexcept {
  for (std::size_t at = 0; at < job.clusters.size(); at += cluster_bytes_) {
    // A stream as long as its cluster saves nothing and is not worth the decompression.
    const std::size_t bytes = VARVE_TRY(codec.compress(job.clusters.subspan(at, cluster_bytes_),
                                                       job.packed.subspan(at, cluster_bytes_ - 1)));
    job.stream_bytes[at / cluster_bytes_] = static_cast<std::uint32_t>(bytes);
  }
  return {};
}

}  // namespace varve
