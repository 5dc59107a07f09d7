#include <utility>

#include <varve/state.h>

#include "base/failure.h"
#include "base/try.h"
#include "image/qcow2_image.h"
#include "meta/straight_line.h"
#include "snapshot/state_store.h"

namespace varve {
namespace {

// A request that is waited for.
struct Blocking {
  StateRequest request;
  Result<void> result;
  bool is_done = false;
};

}  // namespace

Result<std::unique_ptr<StateWriter>> StateWriter::create(Image& image) noexcept {
  auto* core = dynamic_cast<Qcow2Image*>(&image.core());
  if (core == nullptr || core->metadata().header.has_data_file()) {
    return failure(ErrorCode::unsupported,
                   "machine state stands in qcow2 images without external data file");
  }
  Metadata& metadata = core->metadata();
  if (!metadata.is_writable) {
    return failure(ErrorCode::read_only, "the image is open read-only");
  }
  VARVE_TRY(make_ready_to_change(metadata));
  auto store = VARVE_TRY(StateStore::make(*core));
  try {
    return std::make_unique<StateWriter>(std::move(store));
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot allocate a state writer");
  }
}

StateWriter::StateWriter(std::unique_ptr<StateStore> store) noexcept : store_(std::move(store)) {}
StateWriter::~StateWriter() = default;

void StateWriter::submit(StateRequest& request) noexcept {
  store_->submit(request);
}

Result<void> StateWriter::write_at(std::uint64_t offset,
                                   std::span<const std::byte> source) noexcept {
  Blocking blocking;
  blocking.request.offset = offset;
  blocking.request.source = source;
  blocking.request.owner = &blocking;
  blocking.request.complete = [](StateRequest& request, const Result<void>& result) {
    Blocking& waiting = *static_cast<Blocking*>(request.owner);
    waiting.result = result;
    waiting.is_done = true;
  };
  store_->submit(blocking.request);
  while (!blocking.is_done) {
    store_->engine().wait();
  }
  return blocking.result;
}

Result<void> StateWriter::extend(std::uint64_t size) noexcept {
  return store_->extend(size);
}

std::uint64_t StateWriter::size() const noexcept {
  return store_->size();
}

Result<void> StateWriter::finish() noexcept {
  return store_->finish();
}

bool StateWriter::is_finished() const noexcept {
  return store_->is_finished();
}

}  // namespace varve
