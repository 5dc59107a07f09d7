#include <varve/diff.h>

#include "capi/call.h"
#include "capi/snapshot.h"
#include "capi/structs.h"

using namespace varve;
using namespace varve::capi;

static_assert(VARVE_NO_INDEX == DiffSide::kNow);

namespace {

class CallbackSink final : public StreamSink {
 public:
  CallbackSink(varve_stream_write callback, void* owner) noexcept
      : write_(callback), owner_(owner) {}
  Result<void> write(std::span<const std::byte> bytes) override {
    return result_of(write_(owner_, bytes.data(), bytes.size()),
                     "the embedder does not take the stream");
  }

 private:
  varve_stream_write write_;
  void* owner_;
};

class CallbackSource final : public StreamSource {
 public:
  CallbackSource(varve_stream_read callback, void* owner) noexcept
      : read_(callback), owner_(owner) {}
  Result<std::size_t> read(std::span<std::byte> target) override {
    size_t length = 0;
    VARVE_TRY(result_of(read_(owner_, target.data(), target.size(), &length),
                        "the embedder does not give the stream"));
    VARVE_TRY(require(length <= target.size(), "varve_stream_read: more than there is room for"));
    return length;
  }

 private:
  varve_stream_read read_;
  void* owner_;
};

varve_stream_info info_of(const StreamInfo& from) noexcept {
  varve_stream_info info = {};
  info.size = sizeof(info);
  info.disk_bytes = from.disk_size;
  info.base_bytes = from.base_size;
  info.data_bytes = from.data_bytes;
  info.zero_bytes = from.zero_bytes;
  info.uuid = c_uuid(from.uuid);
  info.base = c_uuid(from.base);
  info.is_diff = from.is_diff ? 1 : 0;
  return info;
}

// Runs `body`, whose StreamInfo goes to `info` where that is given.
template <class Body>
varve_code on_stream(varve_image* image, bool has_callback, varve_stream_info* info,
                     varve_error* error, Body body) noexcept {
  return call(engine_of(image), Call::blocking, error, [&]() -> Result<void> {
    VARVE_TRY(require(has_callback, "varve_stream: the callback is NULL"));
    VARVE_TRY(check_optional_target(info, "varve_stream_info"));
    const StreamInfo result = VARVE_TRY(body());
    write_struct(info, info_of(result));
    return {};
  });
}

}  // namespace

varve_code varve_diff_visit(varve_image* image, size_t from, size_t to,
                            varve_code (*visit)(void* owner, uint64_t start, uint64_t length),
                            void* owner, varve_error* error) {
  return call(engine_of(image), Call::blocking, error, [&]() -> Result<void> {
    VARVE_TRY(require(visit != nullptr, "varve_diff_visit: visit is NULL"));
    return for_each_difference(*image->image, {from}, {to}, [&](const DiffRange& range) {
      return result_of(visit(owner, range.start, range.length), "the visitor ends the walk");
    });
  });
}

varve_code varve_stream_export_disk(varve_image* image, size_t side, varve_stream_write write,
                                    void* owner, varve_stream_info* info, varve_error* error) {
  return on_stream(image, write != nullptr, info, error, [&] {
    CallbackSink sink(write, owner);
    return export_disk(*image->image, {side}, sink);
  });
}

varve_code varve_stream_export_diff(varve_image* image, size_t from, size_t to,
                                    varve_stream_write write, void* owner, varve_stream_info* info,
                                    varve_error* error) {
  return on_stream(image, write != nullptr, info, error, [&] {
    CallbackSink sink(write, owner);
    return export_diff(*image->image, {from}, {to}, sink);
  });
}

varve_code varve_stream_import(varve_image* image, varve_stream_read read,
                               varve_code (*accept)(void* owner, const varve_stream_info* info),
                               void* owner, varve_stream_info* info, varve_error* error) {
  return on_stream(image, read != nullptr, info, error, [&] {
    CallbackSource source(read, owner);
    const auto ask = [&](const StreamInfo& said) -> Result<void> {
      const varve_stream_info told = info_of(said);
      return accept == nullptr ? Result<void>()
                               : result_of(accept(owner, &told), "the stream is not accepted");
    };
    return import_stream(*image->image, source, ask);
  });
}
