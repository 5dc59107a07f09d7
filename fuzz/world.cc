#include "world.h"

#include <algorithm>
#include <cerrno>

#include "anatomy.h"
#include "base/failure.h"
#include "base/units.h"
#include "bitmaps.h"
#include "damage.h"
#include "player.h"
#include "sim/random.h"

// Of the sanitizers, where the program has them.
extern "C" {
[[gnu::weak]] int __sanitizer_install_malloc_and_free_hooks(  // NOLINT
    void (*allocated)(const volatile void*, std::size_t), void (*freed)(const volatile void*));
[[gnu::weak]] std::size_t __sanitizer_get_allocated_size(const volatile void*);  // NOLINT
}

namespace varve::fuzz {
namespace {

std::uint64_t held_now = 0;
std::uint64_t held_at_begin = 0;
std::uint64_t held_most = 0;

void allocated(const volatile void*, std::size_t size) {
  held_now += size;
  held_most = std::max(held_most, held_now);
}
void freed(const volatile void* memory) {
  const std::size_t size = memory == nullptr ? 0 : __sanitizer_get_allocated_size(memory);
  held_now -= std::min<std::uint64_t>(held_now, size);  // What was there before was not counted.
}

// The device is full: a damaged entry makes no file that takes minutes to be checked.
constexpr std::uint64_t kFileEnd = std::uint64_t{1} << 30;

}  // namespace

void MemoryPeak::begin() noexcept {
  static const bool kIsCounting = [] {
    return &__sanitizer_install_malloc_and_free_hooks != nullptr &&
           __sanitizer_install_malloc_and_free_hooks(allocated, freed) != 0;
  }();
  static_cast<void>(kIsCounting);
  held_at_begin = held_most = held_now;
}

std::uint64_t MemoryPeak::bytes() noexcept {
  return held_most - held_at_begin;
}

std::uint64_t peak_without_file(World& world, std::uint64_t size_at_begin) noexcept {
  const std::uint64_t size = world.disk().content.size();
  const std::uint64_t grown = size > size_at_begin ? size - size_at_begin : 0;
  return MemoryPeak::bytes() > grown ? MemoryPeak::bytes() - grown : 0;
}

// A disk of the world, as the library sees it.
class WatchedStorage final : public Storage {
 public:
  WatchedStorage(World& world, sim::SimDisk& disk, bool writable) noexcept
      : world_(world), disk_(disk), writable_(writable) {}

  [[nodiscard]] const StorageCapabilities& capabilities() const noexcept override {
    return disk_.capabilities;
  }
  [[nodiscard]] std::uint64_t size() const noexcept override { return disk_.content.size(); }
  [[nodiscard]] Engine& engine() const noexcept override { return World::engine(); }
  [[nodiscard]] const char* name() const noexcept override { return "<fuzzed>"; }

  void submit(StorageRequest& request) noexcept override {
    must(++world_.requests_ < kRequestsMax, "requests without end");
    const bool is_change =
        request.operation != StorageOperation::read && request.operation != StorageOperation::flush;
    must(writable_ || !is_change, "a change of what is open for reading");
    Result<void> result;
    if (is_change && &disk_ == &world_.disk_ &&
        (request.offset > kFileEnd || request.size_bytes() > kFileEnd - request.offset)) {
      result = failure_at(ErrorCode::no_space, request.tag, request.offset, "the device is full");
    } else {
      if (is_change && &disk_ == &world_.disk_) {
        examine(request);
      }
      result = sim::apply_request(request, disk_.capabilities, disk_.content);
    }
    engine().post(request, result);
  }

 private:
  // Guest data never lands on a table the file itself leads to.
  void examine(const StorageRequest& request) const {
    if (request.tag != IoTag::guest_data && request.tag != IoTag::compressed_data) {
      return;
    }
    if (request.operation == StorageOperation::write ||
        request.operation == StorageOperation::write_zeroes) {
      must(!Anatomy(disk_.content).is_table(request.offset, request.size_bytes()),
           "guest data lands on the header or a table at " + std::to_string(request.offset));
    }
  }

  World& world_;
  sim::SimDisk& disk_;
  bool writable_;
};

World::World(const Recipe& recipe) : recipe_(recipe) {
  if (has_below()) {
    std::vector<std::byte> bytes(40 * kKiB + 512);
    fill(bytes, 3);
    below_.content.write(0, bytes);
  }
}

Engine& World::engine() {
  static const std::unique_ptr<Engine> kEngine = [] {
    EngineOptions options;
    options.backend = AioBackend::threads;
    options.threads = 0;
    auto engine = Engine::create(options);
    must(engine.has_value(), "no engine");
    return std::move(*engine);
  }();
  return *kEngine;
}

bool World::make() {
  if (!is_good(validate(recipe_.create))) {
    return false;
  }
  {
    WatchedStorage file(*this, disk_, true);
    WatchedStorage data(*this, data_, true);
    must_succeed("creating",
                 create_image_in(file, has_data_file() ? &data : nullptr, recipe_.create));
  }
  if (recipe_.has_bitmaps) {
    add_bitmaps(disk_.content, recipe_.bitmap_flags);
  }
  return true;
}

void World::damage() {
  for (const Record& record : recipe_.damage) {
    inflict(disk_.content, record);
  }
}

OpenOptions World::options(bool writable) {
  OpenOptions options;
  options.writable = writable;
  options.opener = this;
  options.discard = recipe_.punches ? DiscardMode::unmap : DiscardMode::ignore;
  const std::size_t tables = recipe_.has_tiny_caches ? 2 : 8;
  options.l2_cache_bytes = tables * recipe_.create.cluster_bytes;
  options.refcount_cache_bytes = tables * recipe_.create.cluster_bytes;
  options.operations_max = recipe_.operations_max;
  return options;
}

Result<std::unique_ptr<Image>> World::open(const OpenOptions& options) {
  requests_ = 0;
  return Image::open(std::make_unique<WatchedStorage>(*this, disk_, options.writable), "/world",
                     options);
}

Result<std::unique_ptr<Storage>> World::open(Engine&, const std::string& name,
                                             const FileOptions& options) {
  if (name == std::string("/world/") + kBelowName && has_below() && !options.writable) {
    return std::unique_ptr<Storage>(std::make_unique<WatchedStorage>(*this, below_, false));
  }
  if (name == std::string("/world/") + kDataName && has_data_file()) {
    return std::unique_ptr<Storage>(
        std::make_unique<WatchedStorage>(*this, data_, options.writable));
  }
  return failure(ErrorCode::not_found, "no such file in the world");
}

bool World::is_known_state(ConstBytes state) const noexcept {
  return std::ranges::any_of(states_, [&](const auto& known) { return equal_bytes(known, state); });
}

void World::read_below(std::uint64_t offset, Bytes target) const {
  below_.content.read(offset, target);
}

void expect_named(const Error& error) {
  const std::string text = describe(error);
  must(*error.what != '\0' && !text.empty(), "an error without a word");
  must((error.code == ErrorCode::corrupt) == (error.corruption != Corruption::none),
       "corrupt without the rule, or a rule without corrupt: " + text);
  must(error.code != ErrorCode::over_budget || text.find("budget") != std::string::npos,
       "a budget without its name: " + text);
}

void must_succeed(const char* what, const Result<void>& result) {
  must(result.has_value(),
       what + std::string(": ") + (result ? std::string() : describe(result.error())));
}

void fill(Bytes target, unsigned seed) {
  sim::Random random(seed);
  std::uint64_t word = seed;
  for (std::size_t i = 0; i < target.size(); ++i) {
    if (seed % 2 != 0 && i % 8 == 0) {
      word = random.next();
    }
    target[i] = static_cast<std::byte>(word >> (seed % 2 != 0 ? 8 * (i % 8) : 0));
  }
}

}  // namespace varve::fuzz
