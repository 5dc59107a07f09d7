// A batch of I/O that is awaited as one: rounds, walks and offline work issue these.
#pragma once

#include <vector>

#include <varve/image.h>
#include <varve/storage.h>

#include "base/bytes.h"
#include "base/units.h"
#include "meta/waiter.h"

namespace varve {

class Batch {
 public:
  explicit Batch(Image::Counters& counters) noexcept : counters_(&counters) {}
  Batch(const Batch&) = delete;
  Batch& operator=(const Batch&) = delete;
  ~Batch();

  // So many can be collected afterwards without memory. Errors: no_memory.
  Result<void> reserve(std::size_t count) noexcept;
  // Collect; nothing is issued before start(). The memory stays the caller's and must outlive the
  // batch's run. Errors: no_memory.
  Result<void> read(Storage& storage, IoTag tag, HostOffset offset, Bytes target) noexcept;
  Result<void> write(Storage& storage, IoTag tag, HostOffset offset, ConstBytes source) noexcept;
  Result<void> flush(Storage& storage) noexcept;
  Result<void> write_zeroes(Storage& storage, IoTag tag, HostOffset offset,
                            std::uint64_t length) noexcept;
  Result<void> discard(Storage& storage, IoTag tag, HostOffset offset,
                       std::uint64_t length) noexcept;
  Result<void> allocate(Storage& storage, HostOffset offset, std::uint64_t length) noexcept;
  Result<void> resize(Storage& storage, std::uint64_t new_size) noexcept;

  // Forgets what was collected and not started. REQUIRES: not running.
  void clear() noexcept;

  [[nodiscard]] bool empty() const noexcept { return items_.empty(); }
  [[nodiscard]] std::size_t size() const noexcept { return items_.size(); }
  [[nodiscard]] bool is_running() const noexcept { return pending_ != 0; }

  // Issues everything; the waiter is resumed with the first error, or success, when all have
  // completed; the batch is then empty again. REQUIRES: not empty, not running.
  void start(Waiter& waiter) noexcept;

  // Issues everything and runs the engine until all have completed. An empty batch succeeds.
  // REQUIRES: not inside a completion.
  Result<void> run() noexcept;
  // The same, where what was just added could be: batch.run(batch.flush(storage)).
  Result<void> run(const Result<void>& added) noexcept;

 private:
  struct Item {
    StorageRequest request;
    IoVector vector;
    Storage* storage = nullptr;
  };
  Result<Item*> add(Storage& storage, StorageOperation operation, IoTag tag,
                    HostOffset offset) noexcept;
  static void completed(StorageRequest& request, const Result<void>& result) noexcept;

  Image::Counters* counters_;
  std::vector<Item> items_;
  std::size_t pending_ = 0;
  Result<void> result_;
  Waiter* waiter_ = nullptr;
};

// Writes zeros as data, so that space is really taken. Blocking, straight-line code only.
Result<void> write_zero_data(Storage& storage, Image::Counters& counters, HostOffset offset,
                             std::uint64_t length) noexcept;

// Counts a request where the image's counters want it; every submission of meta and image goes
// through here.
void count_request(Image::Counters& counters, const StorageRequest& request) noexcept;

}  // namespace varve
