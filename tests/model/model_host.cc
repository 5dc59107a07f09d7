#include "model/model_host.h"

#include "base/failure.h"
#include "io/loop_device.h"
#include "model/lab.h"
#include "model/order_storage.h"
#include "model/qemu_img.h"
#include "sim/delay_storage.h"
#include "sim/random.h"

namespace varve::model {

namespace {

class SimulatedHost final : public ModelHost {
 public:
  SimulatedHost(const GeometryCase& geometry, StorageKind kind, std::uint64_t seed)
      : lab_(geometry), kind_(kind), random_(seed) {}

  Engine& engine() noexcept override { return lab_.engine(); }
  Result<void> create() override {
    sim::SimStorage storage(lab_.engine(), disk_);
    return lab_.create(storage);
  }
  Result<std::unique_ptr<Image>> open(DiscardMode discard) override {
    std::unique_ptr<Storage> storage = std::make_unique<sim::SimStorage>(lab_.engine(), disk_);
    if (kind_ != StorageKind::memory) {
      storage = std::make_unique<sim::DelayStorage>(std::move(storage), random_.next());
    }
    if (kind_ == StorageKind::order) {
      storage = std::make_unique<OrderStorage>(std::move(storage), disk_.content, order_);
    }
    return lab_.open(std::move(storage), lab_.open_options(true, discard));
  }
  sim::SparseBytes content() override { return disk_.content.clone(); }
  std::string violation() const override { return order_.violation; }

 private:
  Lab lab_;
  sim::SimDisk disk_;
  OrderRecord order_;
  StorageKind kind_;
  sim::Random random_;
};

class FileHost final : public ModelHost {
 public:
  FileHost(const GeometryCase& geometry, std::unique_ptr<Engine> engine, bool direct)
      : geometry_(geometry), engine_(std::move(engine)), direct_(direct) {
    geometry_.create.direct = direct;
  }
  // False where there is no device to be had.
  [[nodiscard]] bool move_to_device() {
    constexpr std::uint64_t kDeviceBytes = 16u << 20;
    const bool attached = device_.attach(folder_.file("disk"), kDeviceBytes, 512);
    path_ = device_.path();
    return attached;
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
    return create_image(*engine_, path_, geometry_.create);
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
    return Image::open(*engine_, path_, options);
  }
  sim::SparseBytes content() override {
    auto loaded = load_file(path_);
    return loaded ? std::move(*loaded) : sim::SparseBytes();
  }

 private:
  GeometryCase geometry_;
  TemporaryFolder folder_;
  test::LoopDevice device_;
  std::string path_ = folder_.file("image.qcow2");
  std::unique_ptr<Engine> engine_;
  bool direct_;
};

}  // namespace

Result<std::unique_ptr<ModelHost>> make_host(StorageKind kind, const GeometryCase& geometry,
                                             std::uint64_t seed) {
  if (is_simulated(kind)) {
    return std::unique_ptr<ModelHost>(std::make_unique<SimulatedHost>(geometry, kind, seed));
  }
  EngineOptions options;
  options.backend = AioBackend::automatic;
  if (kind == StorageKind::threads_file) {
    options.backend = AioBackend::threads;
  } else if (kind == StorageKind::uring_file) {
    options.backend = AioBackend::io_uring;
  }
  auto engine = Engine::create(options);
  if (!engine) {
    return engine.error();
  }
  const bool direct = kind == StorageKind::direct_file || kind == StorageKind::device;
  auto host = std::make_unique<FileHost>(geometry, std::move(*engine), direct);
  if (kind == StorageKind::device && !host->move_to_device()) {
    return failure(ErrorCode::unsupported, "no loop device can be made here");
  }
  return std::unique_ptr<ModelHost>(std::move(host));
}

std::vector<std::byte> backing_content(const GeometryCase& geometry) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(geometry.backing_bytes));
  fill_stamp(bytes, Lab::kBackingStamp, 0);
  return bytes;
}

}  // namespace varve::model
