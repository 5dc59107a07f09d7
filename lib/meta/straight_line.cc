#include "meta/straight_line.h"

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
