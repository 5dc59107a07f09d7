#include "capi/image.h"

#include <fcntl.h>
#include <unistd.h>
#include <varve/create.h>
#include <varve/image.h>

#include "capi/call.h"
#include "capi/structs.h"
#include "image/layer.h"

using namespace varve;
using namespace varve::capi;

static_assert(VARVE_PREALLOCATION_FULL == static_cast<int>(Preallocation::full));
static_assert(VARVE_COMPRESSION_ZSTD == static_cast<int>(Compression::zstd));

namespace {

constexpr uint32_t kCreateFlags = VARVE_CREATE_LAZY_REFCOUNTS | VARVE_CREATE_EXTENDED_L2 |
                                  VARVE_CREATE_DATA_FILE_RAW | VARVE_CREATE_DIRECT;
constexpr uint32_t kOpenFlags =
    VARVE_OPEN_WRITABLE | VARVE_OPEN_NO_LOCK | VARVE_OPEN_FORCE_SHARE | VARVE_OPEN_DIRECT |
    VARVE_OPEN_NO_FSYNC | VARVE_OPEN_UNMAP | VARVE_OPEN_NO_BACKING | VARVE_OPEN_NO_DATA_FILE |
    VARVE_OPEN_ALLOW_CORRUPT | VARVE_OPEN_BACKING_RAW | VARVE_OPEN_BACKING_QCOW2 |
    VARVE_OPEN_MEASURE_LATENCY | VARVE_OPEN_UNTRUSTED;

Result<Format> format_of(uint32_t format, const char* what) noexcept {
  switch (format) {
    case VARVE_FORMAT_QCOW2:
      return Format::qcow2;
    case VARVE_FORMAT_RAW:
      return Format::raw;
    default:
      return failure(ErrorCode::unsupported, what);
  }
}

Result<CreateOptions> create_options(const varve_create_options* given) {
  const auto options = VARVE_TRY(read_struct(given, "varve_create_options"));
  VARVE_TRY(check_flags(options.flags, kCreateFlags, "varve_create_options.flags"));
  CreateOptions wanted;
  wanted.format = VARVE_TRY(format_of(options.format, "varve_create_options.format"));
  wanted.size_bytes = options.disk_bytes;
  wanted.version = value_or(options.version, wanted.version);
  wanted.cluster_bytes = value_or(options.cluster_bytes, wanted.cluster_bytes);
  wanted.refcount_bits = value_or(options.refcount_bits, wanted.refcount_bits);
  wanted.compression = VARVE_TRY(
      enum_of(options.compression, Compression::zstd, "varve_create_options.compression"));
  wanted.preallocation = VARVE_TRY(
      enum_of(options.preallocation, Preallocation::full, "varve_create_options.preallocation"));
  wanted.lazy_refcounts = (options.flags & VARVE_CREATE_LAZY_REFCOUNTS) != 0;
  wanted.extended_l2 = (options.flags & VARVE_CREATE_EXTENDED_L2) != 0;
  wanted.data_file_raw = (options.flags & VARVE_CREATE_DATA_FILE_RAW) != 0;
  wanted.direct = (options.flags & VARVE_CREATE_DIRECT) != 0;
  wanted.backing_name = text_or_empty(options.backing_name);
  wanted.backing_format = text_or_empty(options.backing_format);
  wanted.data_file_name = text_or_empty(options.data_file_name);
  return wanted;
}

// The caller's way to open what an image names.
class CallbackOpener final : public FileOpener {
 public:
  CallbackOpener(varve_engine& engine, const varve_open_options& options) noexcept
      : engine_(&engine), open_file_(options.open_file), owner_(options.open_file_owner) {}
  Result<std::unique_ptr<Storage>> open(Engine& engine, const std::string& name,
                                        const FileOptions& options) override {
    if (open_file_ == nullptr) {
      return varve::open_file(engine, name, options);
    }
    uint32_t flags = flag_if(options.writable, VARVE_FILE_WRITABLE);
    flags |= flag_if(options.direct, VARVE_FILE_DIRECT);
    flags |= flag_if(!options.fsync, VARVE_FILE_NO_FSYNC);
    varve_storage* opened = nullptr;
    VARVE_TRY(result_of(open_file_(owner_, engine_, name.c_str(), flags, &opened),
                        "the embedder does not open a file the image names"));
    VARVE_TRY(require(opened != nullptr && opened->engine == engine_,
                      "varve_open_options.open_file answered without a storage of the engine"));
    const std::unique_ptr<varve_storage> handle(opened);
    --engine_->handles;
    return std::move(handle->storage);
  }

 private:
  varve_engine* engine_;
  varve_open_file open_file_;
  void* owner_;
};

struct Opening {
  varve_open_options given = {};
  OpenOptions options;
  std::string directory;
};

Result<Opening> opening(const varve_open_options* given) {
  Opening opening;
  opening.given = VARVE_TRY(read_struct(given, "varve_open_options"));
  opening.options = VARVE_TRY(open_options(opening.given));
  opening.directory = text_or_empty(opening.given.directory);
  return opening;
}

// Opens an image by `open`, which gets the options with the opener in them.
template <class Open>
Result<void> open_image(varve_engine& engine, const varve_open_options* given, varve_image** image,
                        Open open) {
  VARVE_TRY(require(image != nullptr, "varve_image_open: image is NULL"));
  Opening wanted = VARVE_TRY(opening(given));
  CallbackOpener opener(engine, wanted.given);
  wanted.options.opener = &opener;
  auto handle = std::make_unique<varve_image>();
  handle->engine = &engine;
  handle->image = VARVE_TRY(open(wanted));
  ++engine.handles;
  *image = handle.release();
  return {};
}

template <class Body>
varve_code on_image(varve_image* image, varve_error* error, Body body) noexcept {
  return call(engine_of(image), Call::blocking, error, [&] { return body(*image->image); });
}

}  // namespace

Result<OpenOptions> varve::capi::open_options(const varve_open_options& from) {
  VARVE_TRY(check_flags(from.flags, kOpenFlags, "varve_open_options.flags"));
  const auto has = [&](uint32_t flag) { return (from.flags & flag) != 0; };
  OpenOptions wanted;
  wanted.format = VARVE_TRY(format_of(from.format, "varve_open_options.format"));
  wanted.writable = has(VARVE_OPEN_WRITABLE);
  wanted.lock = !has(VARVE_OPEN_NO_LOCK);
  wanted.force_share = has(VARVE_OPEN_FORCE_SHARE);
  wanted.file.direct = has(VARVE_OPEN_DIRECT);
  wanted.file.fsync = !has(VARVE_OPEN_NO_FSYNC);
  wanted.discard = has(VARVE_OPEN_UNMAP) ? DiscardMode::unmap : DiscardMode::ignore;
  wanted.measure_latency = has(VARVE_OPEN_MEASURE_LATENCY);
  wanted.open_backing = !has(VARVE_OPEN_NO_BACKING);
  wanted.open_data_file = !has(VARVE_OPEN_NO_DATA_FILE);
  wanted.allow_corrupt = has(VARVE_OPEN_ALLOW_CORRUPT);
  wanted.untrusted = has(VARVE_OPEN_UNTRUSTED);
  if (has(VARVE_OPEN_BACKING_RAW)) {
    wanted.backing_format = Format::raw;
  } else if (has(VARVE_OPEN_BACKING_QCOW2)) {
    wanted.backing_format = Format::qcow2;
  }
  if (from.backing_override != nullptr) {
    wanted.backing_override = from.backing_override;
  }
  wanted.l2_cache_bytes = value_or<std::size_t>(from.l2_cache_bytes, wanted.l2_cache_bytes);
  wanted.refcount_cache_bytes =
      value_or<std::size_t>(from.refcount_cache_bytes, wanted.refcount_cache_bytes);
  wanted.operations_max = value_or(from.operations_max, wanted.operations_max);
  wanted.chain_depth_max = value_or(from.chain_depth_max, wanted.chain_depth_max);
  return wanted;
}

varve_code varve_image_create(varve_engine* engine, const char* path,
                              const varve_create_options* options, varve_error* error) {
  return call(engine, Call::blocking, error, [&]() -> Result<void> {
    VARVE_TRY(require(path != nullptr, "varve_image_create: path is NULL"));
    return create_image(*engine->engine, path, VARVE_TRY(create_options(options)));
  });
}

varve_code varve_image_create_in(varve_storage* storage, varve_storage* data_storage,
                                 const varve_create_options* options, varve_error* error) {
  return call(engine_of(storage), Call::blocking, error, [&]() -> Result<void> {
    Storage* data = data_storage != nullptr ? data_storage->storage.get() : nullptr;
    return create_image_in(*storage->storage, data, VARVE_TRY(create_options(options)));
  });
}

varve_code varve_image_open(varve_engine* engine, const char* path,
                            const varve_open_options* options, varve_image** image,
                            varve_error* error) {
  return call(engine, Call::blocking, error, [&]() -> Result<void> {
    VARVE_TRY(require(path != nullptr, "varve_image_open: path is NULL"));
    return open_image(*engine, options, image,
                      [&](const Opening& wanted) -> Result<std::unique_ptr<Image>> {
                        // The image's own file is not one that an image names: its path is opened.
                        FileOptions file = wanted.options.file;
                        file.writable = wanted.options.writable;
                        return Image::open(VARVE_TRY(open_file(*engine->engine, path, file)),
                                           directory_of(path), wanted.options);
                      });
  });
}

varve_code varve_image_open_storage(varve_storage* storage, const varve_open_options* options,
                                    varve_image** image, varve_error* error) {
  return call(engine_of(storage), Call::blocking, error, [&]() -> Result<void> {
    varve_engine& engine = *storage->engine;
    VARVE_TRY(require(image != nullptr, "varve_image_open: image is NULL"));
    const std::unique_ptr<varve_storage> handle(storage);
    --engine.handles;
    return open_image(engine, options, image, [&](const Opening& wanted) {
      return Image::open(std::move(handle->storage), wanted.directory, wanted.options);
    });
  });
}

varve_code varve_image_open_fd(varve_engine* engine, int fd, const varve_open_options* options,
                               varve_image** image, varve_error* error) {
  const varve_code code = call(engine, Call::blocking, error, [&]() -> Result<void> {
    return open_image(*engine, options, image,
                      [&](const Opening& wanted) -> Result<std::unique_ptr<Image>> {
                        const int copy = ::fcntl(fd, F_DUPFD_CLOEXEC, 0);
                        if (copy < 0) {
                          return system_failure(errno, IoTag::none, Error::kNoOffset,
                                                "cannot use the descriptor");
                        }
                        FileOptions file = wanted.options.file;
                        file.writable = wanted.options.writable;
                        auto storage = adopt_file(*engine->engine, copy, file);
                        if (!storage) {
                          ::close(copy);
                          return storage.error();
                        }
                        return Image::open(std::move(*storage), wanted.directory, wanted.options);
                      });
  });
  if (code == VARVE_OK) {
    ::close(fd);  // The image has a copy: both are the same open file.
  }
  return code;
}

varve_code varve_image_close(varve_image* image, varve_error* error) {
  if (image == nullptr) {
    return VARVE_OK;
  }
  return call(engine_of(image), Call::blocking, error, [&]() -> Result<void> {
    if (image->handles != 0) {
      return failure(ErrorCode::busy, "handles made from the image are open");
    }
    const Result<void> closed = image->image->close();
    if (image->parent != nullptr) {
      --image->parent->handles;
    } else {
      --image->engine->handles;
    }
    destroy(image);
    return closed;
  });
}

varve_code varve_image_get_facts(varve_image* image, varve_image_facts* facts, varve_error* error) {
  return call(engine_of(image), Call::quick, error, [&]() -> Result<void> {
    VARVE_TRY(check_target(facts, "varve_image_facts"));
    image->facts = image->image->facts();
    const ImageFacts& from = image->facts;
    varve_image_facts filled = {};
    filled.disk_bytes = from.virtual_size;
    filled.file_bytes = from.file_size;
    filled.format = from.format == Format::qcow2 ? VARVE_FORMAT_QCOW2 : VARVE_FORMAT_RAW;
    filled.version = from.version;
    filled.cluster_bytes = from.cluster_bytes;
    filled.refcount_bits = from.refcount_bits;
    filled.compression = static_cast<uint32_t>(from.compression);
    filled.snapshot_count = from.snapshot_count;
    filled.flags = flag_if(from.lazy_refcounts, VARVE_FACT_LAZY_REFCOUNTS) |
                   flag_if(from.extended_l2, VARVE_FACT_EXTENDED_L2) |
                   flag_if(from.data_file_raw, VARVE_FACT_DATA_FILE_RAW) |
                   flag_if(from.dirty, VARVE_FACT_DIRTY) |
                   flag_if(from.corrupt, VARVE_FACT_CORRUPT);
    filled.backing_name = from.backing_name.c_str();
    filled.backing_format = from.backing_format.c_str();
    filled.data_file_name = from.data_file_name.c_str();
    write_struct(facts, filled);
    return {};
  });
}

uint64_t varve_image_get_size(const varve_image* image) {
  return is_usable(engine_of(image)) ? image->image->size() : 0;
}

varve_code varve_image_read(varve_image* image, uint64_t offset, void* target, size_t length,
                            varve_error* error) {
  return on_image(image, error, [&](Image& disk) -> Result<void> {
    VARVE_TRY(require(target != nullptr || length == 0, "varve_image_read: target is NULL"));
    return disk.read(offset, {static_cast<std::byte*>(target), length});
  });
}

varve_code varve_image_write(varve_image* image, uint64_t offset, const void* source, size_t length,
                             varve_error* error) {
  return on_image(image, error, [&](Image& disk) -> Result<void> {
    VARVE_TRY(require(source != nullptr || length == 0, "varve_image_write: source is NULL"));
    return disk.write(offset, {static_cast<const std::byte*>(source), length});
  });
}

varve_code varve_image_write_zeroes(varve_image* image, uint64_t offset, uint64_t length,
                                    int may_unmap, varve_error* error) {
  return on_image(image, error,
                  [&](Image& disk) { return disk.write_zeroes(offset, length, may_unmap != 0); });
}

varve_code varve_image_write_compressed(varve_image* image, uint64_t offset, const void* source,
                                        size_t length, varve_error* error) {
  return on_image(image, error, [&](Image& disk) -> Result<void> {
    VARVE_TRY(require(source != nullptr, "varve_image_write_compressed: source is NULL"));
    return disk.write_compressed(offset, {static_cast<const std::byte*>(source), length});
  });
}

varve_code varve_image_discard(varve_image* image, uint64_t offset, uint64_t length,
                               varve_error* error) {
  return on_image(image, error, [&](Image& disk) { return disk.discard(offset, length); });
}

varve_code varve_image_flush(varve_image* image, varve_error* error) {
  return on_image(image, error, [](Image& disk) { return disk.flush(); });
}

varve_code varve_image_grow(varve_image* image, uint64_t disk_bytes, uint32_t preallocation,
                            varve_error* error) {
  return on_image(image, error, [&](Image& disk) -> Result<void> {
    return disk.grow(disk_bytes, VARVE_TRY(enum_of(preallocation, Preallocation::full,
                                                   "varve_image_grow: preallocation")));
  });
}

varve_code varve_image_pause(varve_image* image, varve_error* error) {
  return call(engine_of(image), Call::quick, error, [&]() -> Result<void> {
    image->image->pause();
    return {};
  });
}

varve_code varve_image_resume(varve_image* image, varve_error* error) {
  return call(engine_of(image), Call::quick, error, [&]() -> Result<void> {
    image->image->resume();
    return {};
  });
}

varve_code varve_image_drain(varve_image* image, varve_error* error) {
  return on_image(image, error, [](Image& disk) -> Result<void> {
    disk.drain();
    return {};
  });
}

varve_code varve_image_release(varve_image* image, varve_error* error) {
  return on_image(image, error, [](Image& disk) { return disk.release(); });
}

varve_code varve_image_reacquire(varve_image* image, varve_error* error) {
  return on_image(image, error, [](Image& disk) { return disk.reacquire(); });
}

varve_code varve_image_get_status(varve_image* image, uint64_t offset, uint64_t length,
                                  int whole_chain, varve_block_status* status, varve_error* error) {
  return on_image(image, error, [&](Image& disk) -> Result<void> {
    VARVE_TRY(check_target(status, "varve_block_status"));
    const BlockStatus found = VARVE_TRY(disk.status(offset, length, whole_chain != 0));
    varve_block_status filled = {};
    filled.length = found.length;
    filled.host_offset = found.has_host_offset ? found.host_offset : 0;
    filled.depth = found.depth;
    filled.flags = flag_if(found.data, VARVE_STATUS_DATA) | flag_if(found.zero, VARVE_STATUS_ZERO) |
                   flag_if(found.compressed, VARVE_STATUS_COMPRESSED) |
                   flag_if(found.allocated, VARVE_STATUS_ALLOCATED) |
                   flag_if(found.has_host_offset, VARVE_STATUS_HOST_OFFSET);
    write_struct(status, filled);
    return {};
  });
}
