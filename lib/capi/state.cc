#include "capi/state.h"

#include <vector>

#include "capi/call.h"
#include "capi/structs.h"

using namespace varve;
using namespace varve::capi;

struct varve_state_reader {
  explicit varve_state_reader(varve_image& owner) noexcept : engine(owner.engine), counted(owner) {}
  varve_engine* engine;
  Counted<varve_image> counted;
  std::unique_ptr<StateReader> reader;
};

namespace {

std::span<const std::byte> bytes_of(const void* data, size_t length) noexcept {
  return {static_cast<const std::byte*>(data), length};
}

// Pieces under way together; the first error of any.
struct Pieces {
  std::vector<StateRequest> requests;
  size_t pending = 0;
  Result<void> result;
};

void piece_written(StateRequest& request, const Result<void>& result) {
  Pieces& pieces = *static_cast<Pieces*>(request.owner);
  --pieces.pending;
  if (pieces.result && !result) {
    pieces.result = result;
  }
}

}  // namespace

varve_code varve_state_writer_create(varve_image* image, varve_state_writer** writer,
                                     varve_error* error) {
  return call(engine_of(image), Call::blocking, error, [&]() -> Result<void> {
    VARVE_TRY(require(writer != nullptr, "varve_state_writer_create: writer is NULL"));
    auto handle = std::make_unique<varve_state_writer>(*image);
    handle->writer = VARVE_TRY(StateWriter::create(*image->image));
    *writer = handle.release();
    return {};
  });
}

varve_code varve_state_writer_write(varve_state_writer* writer, const varve_state_piece* given,
                                    size_t count, varve_error* error) {
  return call(engine_of(writer), Call::blocking, error, [&]() -> Result<void> {
    VARVE_TRY(require(given != nullptr || count == 0, "varve_state_writer_write: pieces is NULL"));
    Pieces pieces;
    pieces.requests.resize(count);
    for (size_t i = 0; i < count; ++i) {
      VARVE_TRY(require(given[i].data != nullptr || given[i].length == 0,
                        "varve_state_piece.data is NULL"));
      StateRequest& request = pieces.requests[i];
      request.offset = given[i].offset;
      request.source = bytes_of(given[i].data, given[i].length);
      request.complete = piece_written;
      request.owner = &pieces;
    }
    for (StateRequest& request : pieces.requests) {
      ++pieces.pending;
      writer->writer->submit(request);
    }
    while (pieces.pending != 0) {
      writer->engine->engine->wait();
    }
    return pieces.result;
  });
}

varve_code varve_state_writer_append(varve_state_writer* writer, const void* data, size_t length,
                                     varve_error* error) {
  return call(engine_of(writer), Call::blocking, error, [&]() -> Result<void> {
    VARVE_TRY(require(data != nullptr || length == 0, "varve_state_writer_append: data is NULL"));
    return writer->writer->write(bytes_of(data, length));
  });
}

uint64_t varve_state_writer_get_size(const varve_state_writer* writer) {
  return is_usable(engine_of(writer)) ? writer->writer->size() : 0;
}

varve_code varve_state_writer_finish(varve_state_writer* writer, varve_error* error) {
  return call(engine_of(writer), Call::blocking, error, [&] { return writer->writer->finish(); });
}

varve_code varve_state_writer_close(varve_state_writer* writer, varve_error* error) {
  if (writer == nullptr) {
    return VARVE_OK;
  }
  return call(engine_of(writer), Call::blocking, error, [&]() -> Result<void> {
    destroy(writer);
    return {};
  });
}

varve_code varve_state_reader_open(varve_image* image, size_t index, varve_state_reader** reader,
                                   varve_error* error) {
  return call(engine_of(image), Call::blocking, error, [&]() -> Result<void> {
    VARVE_TRY(require(reader != nullptr, "varve_state_reader_open: reader is NULL"));
    auto handle = std::make_unique<varve_state_reader>(*image);
    handle->reader = VARVE_TRY(StateReader::open(*image->image, index));
    *reader = handle.release();
    return {};
  });
}

uint64_t varve_state_reader_get_size(const varve_state_reader* reader) {
  return is_usable(engine_of(reader)) ? reader->reader->size() : 0;
}

int varve_state_reader_is_verified(const varve_state_reader* reader) {
  return is_usable(engine_of(reader)) && reader->reader->is_verified() ? 1 : 0;
}

varve_code varve_state_reader_read(varve_state_reader* reader, uint64_t offset, void* target,
                                   size_t length, varve_error* error) {
  return call(engine_of(reader), Call::blocking, error, [&]() -> Result<void> {
    VARVE_TRY(require(target != nullptr || length == 0, "varve_state_reader_read: target is NULL"));
    return reader->reader->read_at(offset, {static_cast<std::byte*>(target), length});
  });
}

varve_code varve_state_reader_close(varve_state_reader* reader, varve_error* error) {
  if (reader == nullptr) {
    return VARVE_OK;
  }
  return call(engine_of(reader), Call::blocking, error, [&]() -> Result<void> {
    destroy(reader);
    return {};
  });
}

varve_code varve_state_drop(varve_image* image, size_t index, varve_error* error) {
  return call(engine_of(image), Call::blocking, error,
              [&] { return drop_snapshot_state(*image->image, index); });
}
