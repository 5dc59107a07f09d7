#include "meta/shutdown.h"

#include "base/try.h"
#include "meta/batch.h"
#include "meta/blocking_waiter.h"
#include "meta/metadata.h"

namespace varve {

Result<void> shut_down(Metadata& metadata) noexcept {
  BlockingWaiter waiter(metadata.file->engine());
  do {
    metadata.commit.flush(waiter);
    VARVE_TRY(waiter.wait());
    metadata.reclaimer.wait_idle(waiter);
    VARVE_TRY(waiter.wait());
  } while (metadata.store.has_drops() && !metadata.store.are_drops_held());
  metadata.commit.flush(waiter);
  VARVE_TRY(waiter.wait());
  // Growth in large steps has left free space behind the last cluster in use.
  const std::uint64_t used = metadata.store.used_end() << metadata.geometry.cluster_bits;
  if (!metadata.file->capabilities().fixed_size && used < metadata.file->size() &&
      metadata.store.is_free_to_end()) {
    Batch batch(metadata.counters);
    return batch.run(batch.resize(*metadata.file, used));
  }
  return {};
}

}  // namespace varve
