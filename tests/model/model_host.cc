#include "model/model_host.h"

#include "model/lab.h"
#include "model/qemu_img.h"
#include "sim/delay_storage.h"
#include "sim/random.h"

namespace varve::model {

namespace {

class SimulatedHost final : public ModelHost {
 public:
  SimulatedHost(const GeometryCase& geometry, bool delay, std::uint64_t seed)
      : lab_(geometry), delay_(delay), random_(seed) {}

  Engine& engine() noexcept override { return lab_.engine(); }
  Result<void> create() override {
    sim::SimStorage storage(lab_.engine(), disk_);
    return lab_.create(storage);
  }
  Result<std::unique_ptr<Image>> open(DiscardMode discard) override {
    std::unique_ptr<Storage> storage = std::make_unique<sim::SimStorage>(lab_.engine(), disk_);
    if (delay_) {
      storage = std::make_unique<sim::DelayStorage>(std::move(storage), random_.next());
    }
    return lab_.open(std::move(storage), lab_.open_options(true, discard));
  }
  sim::SparseBytes content() override { return disk_.content.clone(); }

 private:
  Lab lab_;
  sim::SimDisk disk_;
  bool delay_;
  sim::Random random_;
};

class FileHost final : public ModelHost {
 public:
  FileHost(const GeometryCase& geometry, std::unique_ptr<Engine> engine, bool direct)
      : geometry_(geometry), engine_(std::move(engine)), direct_(direct) {
    geometry_.create.direct = direct;
  }

  Engine& engine() noexcept override { return *engine_; }
  Result<void> create() override {
    if (geometry_.backing_bytes > 0) {
      sim::SparseBytes backing;
      backing.write(0, backing_content(geometry_));
      if (!backing.save(folder_.file(kBackingName))) {
        return Error{.what = "the backing file cannot be written"};
      }
    }
    return create_image(*engine_, path(), geometry_.create);
  }
  Result<std::unique_ptr<Image>> open(DiscardMode discard) override {
    OpenOptions options;
    options.writable = true;
    options.discard = discard;
    options.file.direct = direct_;
    if (geometry_.tiny_caches) {
      options.l2_cache_bytes = 1;
      options.refcount_cache_bytes = 1;
    }
    return Image::open(*engine_, path(), options);
  }
  sim::SparseBytes content() override {
    auto loaded = load_file(path());
    return loaded ? std::move(*loaded) : sim::SparseBytes();
  }

 private:
  [[nodiscard]] std::string path() const { return folder_.file("image.qcow2"); }

  GeometryCase geometry_;
  TemporaryFolder folder_;
  std::unique_ptr<Engine> engine_;
  bool direct_;
};

}  // namespace

Result<std::unique_ptr<ModelHost>> make_host(StorageKind kind, const GeometryCase& geometry,
                                             std::uint64_t seed) {
  if (kind == StorageKind::memory || kind == StorageKind::delay) {
    return std::unique_ptr<ModelHost>(
        std::make_unique<SimulatedHost>(geometry, kind == StorageKind::delay, seed));
  }
  EngineOptions options;
  options.backend = kind == StorageKind::threads_file ? AioBackend::threads : AioBackend::io_uring;
  if (kind == StorageKind::direct_file) {
    options.backend = AioBackend::automatic;
  }
  auto engine = Engine::create(options);
  if (!engine) {
    return engine.error();
  }
  return std::unique_ptr<ModelHost>(
      std::make_unique<FileHost>(geometry, std::move(*engine), kind == StorageKind::direct_file));
}

std::vector<std::byte> backing_content(const GeometryCase& geometry) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(geometry.backing_bytes));
  fill_stamp(bytes, Lab::kBackingStamp, 0);
  return bytes;
}

}  // namespace varve::model
