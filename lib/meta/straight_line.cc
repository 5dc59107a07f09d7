#include "meta/straight_line.h"

#include "base/try.h"
#include "meta/ask.h"
#include "meta/blocking_waiter.h"

namespace varve {

Result<void> make_ready_to_change(Metadata& metadata) noexcept {
  if (metadata.first_write.is_done()) {
    return {};
  }
  BlockingWaiter waiter(metadata.file->engine());
  metadata.first_write.prepare(waiter);
  return waiter.wait();
}

void wait_until_idle(Metadata& metadata) noexcept {
  while (!metadata.is_idle()) {
    metadata.file->engine().wait();
  }
}

Result<void> flush_and_wait(Metadata& metadata) noexcept {
  BlockingWaiter waiter(metadata.file->engine());
  metadata.commit.flush(waiter);
  return waiter.wait();
}

Result<void> write_in_place(Metadata& metadata, Batch& batch) noexcept {
  const Result<void> written = batch.run();
  if (!written) {
    metadata.commit.poison();
  }
  return written;
}

Result<void> barrier(Metadata& metadata) noexcept {
  Batch batch(metadata.counters);
  VARVE_TRY(batch.flush(*metadata.file));
  return write_in_place(metadata, batch);
}

Result<ClusterRun> claim_run(Metadata& metadata, std::uint64_t clusters) noexcept {
  ClusterStore& store = metadata.store;
  if (clusters == 1) {
    const Claim claim = VARVE_TRY(ask_until(metadata, [&] { return store.claim(1); }));
    return claim.run;
  }
  ClusterRun run{VARVE_TRY(ask_until(metadata, [&] { return store.reserve_run(clusters); })), 0};
  Result<void> claimed;
  while (claimed && run.count < clusters) {
    const ClusterRun rest{run.first + run.count, clusters - run.count};
    const auto count = ask_until(metadata, [&] { return store.claim_reserved(rest); });
    claimed = count ? Result<void>() : count.error();
    run.count += count ? *count : 0;
  }
  store.end_reservation();
  return claimed ? Result<ClusterRun>(run) : claimed.error();
}

Result<void> write_header(Metadata& metadata, const HeaderPatch& patch) noexcept {
  BlockingWaiter waiter(metadata.file->engine());
  HeaderWriter::Update update;
  update.patch = patch;
  update.waiter = &waiter;
  metadata.header_writer.submit(update);
  const Result<void> written = waiter.wait();
  if (!written) {
    metadata.commit.poison();
  }
  return written;
}

}  // namespace varve
