// Compressing clusters on threads of its own, so that a copy keeps every core busy.
// Threads: start, submit and the completions of jobs on the engine's thread; each worker has a
// codec of its own and touches nothing but its job.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include <varve/engine.h>
#include <varve/image.h>
#include <varve/result.h>

#include "base/bytes.h"
#include "codec/codec.h"

namespace varve {

class Packer {
 public:
  // Some neighbouring clusters. The memory is the caller's until `done` has completed, from the
  // engine's loop: with no_memory where the codec has none.
  struct Job {
    ConstBytes clusters;                    // Whole clusters.
    Bytes packed;                           // As large: each stream goes to its cluster's place.
    std::uint32_t* stream_bytes = nullptr;  // One for each cluster; 0: it does not shrink.
    StorageRequest done;                    // `owner` and `complete` are the caller's.
    Job* next = nullptr;
  };

  // Errors: no_memory, io (no thread can be started).
  [[nodiscard]] static Result<std::unique_ptr<Packer>> start(Engine& engine,
                                                             Compression compression,
                                                             std::size_t cluster_bytes,
                                                             unsigned threads);
  Packer(Engine& engine, std::size_t cluster_bytes) noexcept
      : engine_(engine), cluster_bytes_(cluster_bytes) {}
  Packer(const Packer&) = delete;
  Packer& operator=(const Packer&) = delete;
  // REQUIRES: no job under way.
  ~Packer();

  void submit(Job& job) noexcept;

 private:
  void work(Codec& codec) noexcept;
  [[nodiscard]] Result<void> pack(Codec& codec, const Job& job) const noexcept;

  Engine& engine_;
  std::size_t cluster_bytes_;
  std::mutex mutex_;
  std::condition_variable available_;
  Job* first_ = nullptr;
  Job* last_ = nullptr;
  bool is_stopping_ = false;
  std::vector<std::unique_ptr<Codec>> codecs_;
  std::vector<std::thread> threads_;
};

}  // namespace varve
