#include <algorithm>
#include <new>
#include <vector>

#include <varve/image.h>
#include <varve/statistics.h>

#include "base/buffer.h"
#include "base/checked.h"
#include "base/failure.h"
#include "base/try.h"
#include "image/image_core.h"
#include "image/layer.h"
#include "meta/batch.h"

namespace varve {
namespace {

// Who blocks on a paused image would block for ever.
Result<void> check_open(const ImageCore& core) noexcept {
  if (core.intake.is_released) {
    return failure(ErrorCode::busy, "the image is released");
  }
  return core.intake.is_paused ? failure(ErrorCode::busy, "the image is paused") : Result<void>();
}

// Runs one request to its end.
class BlockingRequest {
 public:
  explicit BlockingRequest(BlockOperation operation, std::uint64_t offset,
                           std::uint64_t length) noexcept {
    request_.operation = operation;
    request_.offset = offset;
    request_.length = length;
    request_.owner = this;
    request_.complete = [](BlockRequest& request, const Result<void>& result) {
      auto& self = *static_cast<BlockingRequest*>(request.owner);
      self.result_ = result;
      self.is_done_ = true;
    };
  }
  void set_memory(std::byte* data, std::size_t size) noexcept {
    vector_ = {data, size};
    request_.vectors = &vector_;
    request_.vector_count = 1;
  }
  void set_may_unmap(bool may_unmap) noexcept { request_.may_unmap = may_unmap; }
  Result<void> run(ImageCore& core) noexcept {
    VARVE_TRY(check_open(core));
    Engine& engine = core.storage().engine();
    core.submit(request_);
    while (!is_done_) {
      engine.wait();
    }
    return result_;
  }

 private:
  BlockRequest request_;
  IoVector vector_;
  Result<void> result_;
  bool is_done_ = false;
};

Result<Format> format_named(const std::string& name) noexcept {
  if (name == "qcow2") {
    return Format::qcow2;
  }
  if (name == "raw") {
    return Format::raw;
  }
  if (name.empty()) {
    return failure(ErrorCode::invalid_argument,
                   "the backing file's format is not named: it is never guessed");
  }
  return failure(ErrorCode::unsupported, "the backing file's format is not one that can be opened");
}

// The options a backing layer is opened with: never written, named by the layer above.
Result<OpenOptions> backing_options(const OpenOptions& top, const Layer& above, bool is_first) {
  OpenOptions options;
  options.lock = top.lock;
  options.force_share = top.force_share;
  options.file = top.file;
  options.open_data_file = top.open_data_file;
  options.opener = top.opener;
  options.budget = top.budget;
  options.l2_cache_bytes = top.l2_cache_bytes;
  options.refcount_cache_bytes = top.refcount_cache_bytes;
  options.operations_max = top.operations_max;
  if (is_first && top.backing_format) {
    options.format = *top.backing_format;
  } else {
    options.format = VARVE_TRY(format_named(above.backing_format));
  }
  return options;
}

struct OpenedLayer {
  Layer layer;
  std::string directory;
};

// Opens the layers below the first one by one; no recursion, loops and depth found before the next
// file is read.
Result<std::vector<OpenedLayer>> open_chain(std::unique_ptr<Storage> storage,
                                            const std::string& directory,
                                            const OpenOptions& options) {
  std::vector<OpenedLayer> chain;
  Engine& engine = storage->engine();
  chain.push_back({VARVE_TRY(open_layer(std::move(storage), directory, options)), directory});
  if (options.backing_override) {
    chain.back().layer.backing_name = *options.backing_override;
  }
  while (options.open_backing && !chain.back().layer.backing_name.empty()) {
    const bool is_first = chain.size() == 1;
    if (chain.size() > options.chain_depth_max) {
      Error error =
          corrupt_at(Corruption::backing_too_deep, IoTag::backing, Error::kNoOffset,
                     "the backing chain is too deep", chain.size(), options.chain_depth_max);
      return error;
    }
    const OpenOptions layer_options =
        VARVE_TRY(backing_options(options, chain.back().layer, is_first));
    const std::string name =
        VARVE_TRY(resolve_name(chain.back().directory, chain.back().layer.backing_name));
    FileOptions file_options = options.file;
    file_options.writable = false;
    auto below = VARVE_TRY(FileAccess{options.opener}.open(engine, name, file_options));
    for (const OpenedLayer& opened : chain) {
      if (opened.layer.core->storage().is_same_file(*below)) {
        return corrupt_at(Corruption::backing_loop, IoTag::backing, Error::kNoOffset,
                          "the backing chain comes back to a file it already holds");
      }
    }
    const std::string below_directory = directory_of(name);
    chain.push_back(
        {VARVE_TRY(open_layer(std::move(below), below_directory, layer_options)), below_directory});
  }
  return chain;
}

}  // namespace

Image::Image(std::unique_ptr<ImageCore> core) noexcept : core_(std::move(core)) {}
Image::~Image() = default;

Result<std::unique_ptr<Image>> Image::open(Engine& engine, const std::string& path,
                                           const OpenOptions& options) {
  try {
    FileOptions file_options = options.file;
    file_options.writable = options.writable;
    auto storage = VARVE_TRY(FileAccess{options.opener}.open(engine, path, file_options));
    return open(std::move(storage), directory_of(path), options);
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot open the image");
  }
}

Result<std::unique_ptr<Image>> Image::open(std::unique_ptr<Storage> storage,
                                           const std::string& directory,
                                           const OpenOptions& options) {
  try {
    std::vector<OpenedLayer> chain = VARVE_TRY(open_chain(std::move(storage), directory, options));
    std::unique_ptr<Image> image;
    while (!chain.empty()) {
      std::unique_ptr<ImageCore> core = std::move(chain.back().layer.core);
      chain.pop_back();
      core->backing = std::move(image);
      image = std::make_unique<Image>(std::move(core));
    }
    return image;
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot open the image");
  }
}

namespace {

// Lets what has waited go on.
void let_in(ImageCore& core) noexcept {
  while (core.intake.is_open()) {
    BlockRequest* request = core.intake.take();
    if (request == nullptr) {
      return;
    }
    core.submit(*request);
  }
}

}  // namespace

Result<void> Image::close() noexcept {
  if (core_->intake.is_released) {
    while (BlockRequest* request = core_->intake.take()) {
      request->complete(*request, failure(ErrorCode::busy, "the image was closed while released"));
    }
  } else {
    resume();
  }
  return core_->close();
}

void Image::pause() noexcept {
  core_->intake.is_paused = true;
}
void Image::resume() noexcept {
  core_->intake.is_paused = false;
  let_in(*core_);
}
bool Image::is_paused() const noexcept {
  return core_->intake.is_paused;
}
bool Image::is_released() const noexcept {
  return core_->intake.is_released;
}
void Image::drain() noexcept {
  while (core_->has_requests()) {
    engine().wait();
  }
}

Result<void> Image::release() noexcept {
  if (is_released()) {
    return failure(ErrorCode::busy, "the image is released already");
  }
  VARVE_TRY(core_->check_release());
  core_->intake.is_released = true;
  drain();
  // Completions may have begun something meanwhile.
  Result<void> released = core_->check_release();
  if (released) {
    released = core_->release();
  }
  if (!released) {
    core_->intake.is_released = false;
    let_in(*core_);
    return released;
  }
  // Layers below are only read: there is nothing that can fail.
  for (Image* layer = backing(); layer != nullptr; layer = layer->backing()) {
    (void)layer->core_->release();
  }
  engine().log(LogLevel::info, "released", name());
  return {};
}

Result<void> Image::reacquire() noexcept {
  if (!is_released()) {
    return failure(ErrorCode::invalid_argument, "the image is not released");
  }
  for (Image* layer = this; layer != nullptr; layer = layer->backing()) {
    const Result<void> taken = layer->core_->reacquire();
    if (!taken) {
      for (Image* above = this; above != layer; above = above->backing()) {
        (void)above->core_->release();
      }
      return taken;
    }
  }
  core_->intake.is_released = false;
  engine().log(LogLevel::info, "reacquired", name());
  let_in(*core_);
  return {};
}

std::uint64_t Image::size() const noexcept {
  return core_->size();
}
ImageFacts Image::facts() const {
  return core_->facts();
}
Engine& Image::engine() const noexcept {
  return core_->storage().engine();
}
const char* Image::name() const noexcept {
  return core_->storage().name();
}
Image* Image::backing() const noexcept {
  return core_->below();
}
void Image::submit(BlockRequest& request) noexcept {
  if (!core_->intake.is_open()) [[unlikely]] {
    core_->intake.hold(request);
    return;
  }
  core_->submit(request);
}
ImageStatistics Image::statistics() const noexcept {
  ImageStatistics statistics;
  statistics.io = core_->counters();
  statistics.reads = core_->latency.reads;
  statistics.writes = core_->latency.writes;
  statistics.flushes = core_->latency.flushes;
  statistics.others = core_->latency.others;
  core_->add_statistics(statistics);
  return statistics;
}
const Image::Counters& Image::counters() const noexcept {
  return core_->counters();
}

Result<void> Image::read(std::uint64_t offset, std::span<std::byte> target) noexcept {
  BlockingRequest request(BlockOperation::read, offset, target.size());
  request.set_memory(target.data(), target.size());
  return request.run(*core_);
}

Result<void> Image::write(std::uint64_t offset, std::span<const std::byte> source) noexcept {
  BlockingRequest request(BlockOperation::write, offset, source.size());
  // The vector type serves both directions; a write only reads the memory.
  request.set_memory(const_cast<std::byte*>(source.data()), source.size());
  return request.run(*core_);
}

Result<void> Image::write_compressed(std::uint64_t offset,
                                     std::span<const std::byte> source) noexcept {
  BlockingRequest request(BlockOperation::write_compressed, offset, source.size());
  request.set_memory(const_cast<std::byte*>(source.data()), source.size());
  return request.run(*core_);
}

Result<void> Image::write_zeroes(std::uint64_t offset, std::uint64_t length,
                                 bool may_unmap) noexcept {
  BlockingRequest request(BlockOperation::write_zeroes, offset, length);
  request.set_may_unmap(may_unmap);
  return request.run(*core_);
}

Result<void> Image::discard(std::uint64_t offset, std::uint64_t length) noexcept {
  return BlockingRequest(BlockOperation::discard, offset, length).run(*core_);
}

Result<void> Image::flush() noexcept {
  return BlockingRequest(BlockOperation::flush, 0, 0).run(*core_);
}

Result<void> Image::grow(std::uint64_t new_size, Preallocation preallocation) noexcept {
  VARVE_TRY(check_open(*core_));
  return core_->grow(new_size, preallocation);
}

Result<BlockStatus> Image::status(std::uint64_t offset, std::uint64_t length,
                                  bool whole_chain) noexcept {
  VARVE_TRY(check_open(*core_));
  if (offset >= size()) {
    return failure_at(ErrorCode::out_of_range, IoTag::guest_data, offset,
                      "the offset lies beyond the disk");
  }
  length = std::min(length, size() - offset);
  unsigned depth = 0;
  for (Image* layer = this;; layer = layer->backing(), ++depth) {
    BlockStatus status = VARVE_TRY(layer->core_->layer_status(offset, length));
    status.depth = depth;
    Image* below = layer->backing();
    if (status.allocated || !whole_chain) {
      status.zero = status.zero || (!status.allocated && below == nullptr);
      return status;
    }
    if (below == nullptr || offset >= below->size()) {
      // Nothing decides: zeros, up to where this layer's answer holds.
      status.zero = true;
      return status;
    }
    length = std::min(status.length, below->size() - offset);
  }
}

Result<ProbeReport> probe(Storage& storage) noexcept {
  struct Magic {
    std::uint64_t offset;
    std::string_view bytes;
    const char* format;
  };
  static constexpr Magic kMagics[] = {
      {0, std::string_view("QFI\xfb", 4), "qcow2"},
      {0, "KDMV", "vmdk"},
      {0, "COWD", "vmdk"},
      {0, "# Disk DescriptorFile", "vmdk"},
      {0, "conectix", "vpc"},
      {0, "vhdxfile", "vhdx"},
      {0, "QED", "qed"},
      {64, std::string_view("\x7f\x10\xda\xbe", 4), "vdi"},
      {0, "LUKS\xba\xbe", "luks"},
      {0, "WithoutFreeSpace", "parallels"},
      {0, "WithouFreSpacExt", "parallels"},
  };
  try {
    Image::Counters uncounted;
    Batch batch(uncounted);
    Buffer start = VARVE_TRY(Buffer::allocate(kSectorBytes));
    VARVE_TRY(batch.run(batch.read(storage, IoTag::header, HostOffset(0), start.bytes())));
    ProbeReport report;
    report.format = "raw";
    for (const Magic& magic : kMagics) {
      const ConstBytes found = start.bytes().subspan(magic.offset, magic.bytes.size());
      if (equal_bytes(found, std::as_bytes(std::span(magic.bytes)))) {
        report.format = magic.format;
        report.magic_found = true;
        break;
      }
    }
    if (report.format == "qcow2" && load_be<std::uint32_t>(start.bytes(), 4) == 1) {
      report.format = "qcow";
    }
    return report;
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot look at the file");
  }
}

}  // namespace varve
