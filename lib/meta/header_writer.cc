#include "meta/header_writer.h"

#include "base/try.h"
#include "meta/batch.h"

namespace varve {

Result<void> HeaderWriter::reserve(ConstBytes header) noexcept {
  sector_ = VARVE_TRY(Buffer::allocate(kSectorBytes));
  copy_bytes(sector_.bytes(), header.first(kSectorBytes));
  return {};
}

void HeaderWriter::submit(Update& update) noexcept {
  queue_.push_back(update);
  if (!is_running_) {
    start_next();
  }
}

void HeaderWriter::start_next() noexcept {
  Update* update = queue_.front();
  if (update == nullptr) {
    return;
  }
  is_running_ = true;
  // One write inside one sector: after a power cut the sector holds all of the patch or none (O5).
  update->patch.apply(sector_.bytes());
  vector_ = {sector_.data(), kSectorBytes};
  request_ = StorageRequest();
  request_.operation = StorageOperation::write;
  request_.tag = IoTag::header;
  request_.vectors = &vector_;
  request_.vector_count = 1;
  request_.owner = this;
  request_.complete = &HeaderWriter::completed;
  count_request(*counters_, request_);
  file_->submit(request_);
}

void HeaderWriter::completed(StorageRequest& request, const Result<void>& result) noexcept {
  HeaderWriter& writer = *static_cast<HeaderWriter*>(request.owner);
  if (!result || request.operation == StorageOperation::flush) {
    writer.finish(result);
    return;
  }
  request = StorageRequest();
  request.operation = StorageOperation::flush;
  request.tag = IoTag::header;
  request.owner = &writer;
  request.complete = &HeaderWriter::completed;
  count_request(*writer.counters_, request);
  writer.file_->submit(request);
}

void HeaderWriter::finish(const Result<void>& result) noexcept {
  Update* update = queue_.pop_front();
  is_running_ = false;
  update->waiter->resume(result);
  if (!is_running_) {
    start_next();
  }
}

}  // namespace varve
