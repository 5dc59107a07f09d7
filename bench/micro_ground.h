// An image's metadata over memory, without guests, for the micro-benchmarks.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <memory>

#include <varve/create.h>
#include <varve/engine.h>

#include "image/layer.h"
#include "meta/ask.h"
#include "meta/blocking_waiter.h"
#include "meta/metadata.h"

namespace varve::bench {

// The value, or the end of the program: a benchmark of something broken says nothing.
template <class T>
T take(Result<T> result) {
  if (!result) {
    std::fprintf(stderr, "benchmark: %s\n", describe(result.error()).c_str());
    std::exit(1);
  }
  if constexpr (!std::is_void_v<T>) {
    return std::move(*result);
  }
}

class MicroGround {
 public:
  explicit MicroGround(std::uint64_t disk_bytes)
      : engine_(take(Engine::create())), storage_(take(make_memory_storage(*engine_, 0))) {
    CreateOptions options;
    options.size_bytes = disk_bytes;
    take(create_image_in(*storage_, nullptr, options));
    Metadata::Config config;
    config.file = storage_.get();
    config.writable = true;
    config.l2_cache_bytes = 32 * kMiB;
    config.refcount_cache_bytes = 8 * kMiB;
    config.operations_max = 128;
    metadata_ = take(Metadata::make(config, take(load_tables(*storage_))));
  }

  [[nodiscard]] Metadata& metadata() noexcept { return *metadata_; }

  template <class Question>
  auto ask(Question&& question) {
    return take(ask_until(*metadata_, question));
  }

  // A flush round, and what it makes reclaimable is reclaimed.
  void settle() {
    BlockingWaiter flushed(*engine_);
    metadata_->commit.flush(flushed);
    take(flushed.wait());
    BlockingWaiter reclaimed(*engine_);
    metadata_->reclaimer.wait_idle(reclaimed);
    take(reclaimed.wait());
  }

 private:
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Storage> storage_;
  std::unique_ptr<Metadata> metadata_;
};

}  // namespace varve::bench
