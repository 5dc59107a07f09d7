#include "meta/straight_line.h"

#include "base/try.h"
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
