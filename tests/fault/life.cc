#include "fault/life.h"

#include <algorithm>
#include <cstddef>

#include <varve/budget.h>
#include <varve/check.h>
#include <varve/snapshot.h>

#include "base/bytes.h"
#include "base/failure.h"
#include "base/try.h"
#include "format/header.h"

namespace varve::model {
namespace {

// Disks are compared up to here.
constexpr std::uint64_t kComparedBytes = 512 * kKiB;

// What the lowest layer holds.
constexpr std::uint8_t kBottom = 0xb0;

// What keeps the failures of everything that is no request, and the test's own allocations away
// from the count.
class CallStorage final : public sim::DecoratorStorage {
 public:
  CallStorage(std::unique_ptr<Storage> inner, LifeCalls& calls)
      : DecoratorStorage(std::move(inner)), calls_(calls) {}

  void submit(StorageRequest& request) noexcept override {
    const sim::AllocationPause pause;
    forward(request);
  }
  [[nodiscard]] Result<void> lock(bool for_writing, bool share_everything) noexcept override {
    VARVE_TRY(pass());
    return DecoratorStorage::lock(for_writing, share_everything);
  }
  [[nodiscard]] Result<void> refresh() noexcept override {
    VARVE_TRY(pass());
    return DecoratorStorage::refresh();
  }

 private:
  Result<void> pass() noexcept {
    if (calls_.failing == calls_.seen++) {
      ++calls_.hits;
      return system_failure(EIO, IoTag::header, 0, "a call failed");
    }
    return {};
  }
  LifeCalls& calls_;
};

Life life(const char* name, std::uint32_t cluster_bytes, std::uint64_t size_bytes) {
  Life made;
  made.name = name;
  made.create.cluster_bytes = cluster_bytes;
  made.create.size_bytes = size_bytes;
  return made;
}

Life raw_life(const char* name, Preallocation preallocation) {
  Life made = life(name, 512, 20 * kKiB + 512);
  made.create.format = Format::raw;
  made.create.preallocation = preallocation;
  made.growth = preallocation;
  made.grown_bytes = 40 * kKiB;
  return made;
}

Life with_data_file(Life made, bool is_raw, Preallocation preallocation) {
  made.create.data_file_name = "data";
  made.create.data_file_raw = is_raw;
  made.create.preallocation = preallocation;
  made.growth = preallocation;
  return made;
}

// With many clusters and tables.
void add_large(std::vector<Life>& all) {
  // Growing moves the L1 and the refcount table, whose clusters are small.
  all.push_back(life("Moves", 512, 40 * kKiB));
  all.back().create.refcount_bits = 64;
  all.back().bulk_clusters = 70;
  all.back().grown_bytes = 48 * kMiB;
  all.back().grown_again_bytes = 96 * kMiB;
  all.back().has_snapshots = true;
  all.push_back(life("Trees", 512, 160 * kKiB));
  all.back().bulk_clusters = 300;
  all.back().grown_bytes = 192 * kKiB;
  all.back().has_snapshots = true;
  all.push_back(life("TreesWide", 512, 80 * kKiB));
  all.back().create.refcount_bits = 64;
  all.back().bulk_clusters = 150;
  all.back().has_snapshots = true;
  all.back().dies = true;
}

// Whose file is of a special kind.
void add_special(std::vector<Life>& all) {
  all.push_back(life("Narrow", 4 * kKiB, 64 * kKiB));
  all.back().create.refcount_bits = 2;
  all.back().has_snapshots = true;
  all.back().snapshots_more = 3;
  all.back().has_unknown = true;
  all.push_back(life("Hidden", 512, 64 * kKiB));
  all.back().has_hidden = true;
  all.back().grown_bytes = 60 * kKiB;
  all.push_back(life("LongBelow", 4 * kKiB, 64 * kKiB));
  all.back().layers = 3;
  all.back().below_bytes = 96 * kKiB;
  all.back().growth = Preallocation::metadata;
  all.back().grown_bytes = 128 * kKiB;
  // A device whose last refcount block ends where it ends.
  all.push_back(life("DeviceFull", 512, 40 * kKiB));
  all.back().create.refcount_bits = 64;
  all.back().device_bytes = 64 * kKiB;
  all.back().bulk_clusters = 70;
  all.back().grown_bytes = kMiB;
  all.back().grown_again_bytes = 8 * kMiB;
  all.back().has_snapshots = true;
}

void add_small(std::vector<Life>& all) {
  all.push_back(life("Small", 512, 40 * kKiB + 512));
  all.back().create.refcount_bits = 64;
  all.back().grown_bytes = 3 * kMiB;
  all.back().has_snapshots = true;
  all.push_back(life("SmallFull", 512, 24 * kKiB));
  all.back().create.preallocation = Preallocation::full;
  all.back().growth = Preallocation::full;
  all.back().grown_bytes = 56 * kKiB;
  all.back().can_write_zeroes = false;
  all.push_back(life("MetadataExtended", 16 * kKiB, 96 * kKiB + 1024));
  all.back().create.extended_l2 = true;
  all.back().create.preallocation = Preallocation::metadata;
  all.back().growth = Preallocation::metadata;
  all.back().grown_bytes = 256 * kKiB;
  all.back().has_snapshots = true;
  all.push_back(life("FallocVersion2", 4 * kKiB, 64 * kKiB + 1536));
  all.back().create.version = 2;
  all.back().create.preallocation = Preallocation::falloc;
  all.back().growth = Preallocation::falloc;
  all.back().grown_bytes = 128 * kKiB;
  all.push_back(life("Chain", 4 * kKiB, 64 * kKiB));
  all.back().layers = 3;
  all.back().grown_bytes = 96 * kKiB;
  all.push_back(life("Dies", 4 * kKiB, 64 * kKiB));
  all.back().has_snapshots = true;
  all.back().dies = true;
}

void add_devices_data_files_and_raw(std::vector<Life>& all) {
  all.push_back(life("Device", 4 * kKiB, 64 * kKiB));
  all.back().device_bytes = 256 * kKiB;
  all.back().grown_bytes = 128 * kKiB;
  all.back().has_snapshots = true;
  all.push_back(life("DeviceTooSmall", 4 * kKiB, 256 * kKiB));
  all.back().device_bytes = 36 * kKiB;
  all.back().grown_bytes = 8 * kMiB;
  all.push_back(with_data_file(life("Data", 4 * kKiB, 64 * kKiB), false, Preallocation::falloc));
  all.back().grown_bytes = 96 * kKiB;
  all.push_back(
      with_data_file(life("DataRaw", 4 * kKiB, 64 * kKiB), true, Preallocation::metadata));
  all.back().grown_bytes = 96 * kKiB;
  all.push_back(with_data_file(life("DataFull", 4 * kKiB, 32 * kKiB), false, Preallocation::full));
  all.back().grown_bytes = 48 * kKiB;
  all.push_back(with_data_file(life("DataOff", 4 * kKiB, 64 * kKiB), true, Preallocation::off));
  all.back().grown_bytes = 96 * kKiB;
  all.push_back(with_data_file(life("DataDevice", 4 * kKiB, 64 * kKiB), true, Preallocation::off));
  all.back().device_bytes = 128 * kKiB;
  all.back().has_data_device = true;
  all.back().grown_bytes = 96 * kKiB;
  all.push_back(raw_life("Raw", Preallocation::off));
  all.back().operations_max = 1;
  all.push_back(raw_life("RawFalloc", Preallocation::falloc));
  all.push_back(raw_life("RawFull", Preallocation::full));
  all.push_back(raw_life("RawDevice", Preallocation::off));
  all.back().device_bytes = 64 * kKiB;
}

}  // namespace

std::vector<Life> lives() {
  std::vector<Life> all;
  add_large(all);
  add_special(all);
  add_small(all);
  add_devices_data_files_and_raw(all);
  return all;
}

// --- the ground ---

std::unique_ptr<Storage> LifeRun::storage_of(const std::string& name) {
  const sim::AllocationPause pause;
  return std::make_unique<CallStorage>(
      std::make_unique<sim::FaultyStorage>(std::make_unique<sim::SimStorage>(engine_, disks_[name]),
                                           plan_),
      calls_);
}

Result<std::unique_ptr<Storage>> LifeRun::open(Engine&, const std::string& name,
                                               const FileOptions&) {
  return storage_of(name);
}

OpenOptions LifeRun::open_options() noexcept {
  OpenOptions options;
  options.format = life_.create.format;
  options.writable = true;
  options.discard = DiscardMode::unmap;
  options.opener = this;
  options.l2_cache_bytes = life_.cache_bytes;
  options.refcount_cache_bytes = life_.cache_bytes;
  options.operations_max = life_.operations_max;
  return options;
}

// The layers below stand before anything fails.
void LifeRun::lay_ground() {
  disks_.clear();
  plan_ = sim::FaultPlan();
  calls_ = LifeCalls();
  verdict_.clear();
  says_no_ = is_made_ = false;
  next_value_ = 1;
  sectors_.assign(life_.create.size_bytes / kSectorBytes, {0, true});
  size_ = size_max_ = round_up(life_.create.size_bytes, kSectorBytes);
  for (const char* name : {kTop, kData}) {
    disks_[name].capabilities.can_write_zeroes = life_.can_write_zeroes;
  }
  if (life_.device_bytes != 0) {
    sim::SimDisk& device = disks_[life_.has_data_device ? kData : kTop];
    device.capabilities.fixed_size = true;
    device.capabilities.growth_is_zero = false;
    device.content.resize(life_.device_bytes);
  }
  if (life_.layers > 1) {
    CreateOptions options;
    options.size_bytes = life_.below_bytes != 0 ? life_.below_bytes : life_.create.size_bytes / 2;
    options.cluster_bytes = life_.create.cluster_bytes;
    options.backing_name = "bottom";
    options.backing_format = "raw";
    sim::SimStorage middle(engine_, disks_["/lab/middle"]);
    if (!create_image_in(middle, nullptr, options)) {
      wrong("the layer below cannot be made");
    }
    const std::vector<std::byte> bytes(life_.create.size_bytes / 4, std::byte{kBottom});
    disks_["/lab/bottom"].content.write(0, bytes);
    std::fill_n(sectors_.begin(), bytes.size() / kSectorBytes, Sector{kBottom, true});
  }
}

// --- one life ---

std::string LifeRun::run(const Fault& fault) {
  lay_ground();
  is_damaged_ = fault.damage.has_value();
  has_fault_ = is_damaged_ || fault.request || fault.call ||
               fault.allocation != sim::AllocationFaults::kNever;
  if (fault.request) {
    plan_.add(*fault.request);
  }
  calls_.failing = fault.call;
  sim::AllocationFaults::arm(fault.allocation, fault.from_then_on);
  is_made_ = told("create", make());
  if (is_made_ && fault.damage) {
    live();
    put(fault.damage->offset, fault.damage->value);
    repair_what_is_left();
  } else if (is_made_) {
    live();
  }
  allocations_ = sim::AllocationFaults::disarm();
  hits_ = plan_.hits() + calls_.hits + sim::AllocationFaults::failed();
  requests_ = plan_.seen();
  calls_seen_ = calls_.seen;
  plan_.lift();
  calls_.failing.reset();
  judge_end();
  return verdict_;
}

void LifeRun::put(std::uint64_t offset, std::uint64_t value) {
  std::byte bytes[8];
  store_be(Bytes(bytes), 0, value);
  disks_[kTop].content.write(offset, bytes);
}
std::uint64_t LifeRun::get(std::uint64_t offset) {
  std::byte bytes[8];
  disks_[kTop].content.read(offset, bytes);
  return load_be<std::uint64_t>(ConstBytes(bytes), 0);
}

Result<void> LifeRun::make() {
  const std::unique_ptr<Storage> storage = storage_of(kTop);
  const std::unique_ptr<Storage> data =
      life_.create.data_file_name.empty() ? nullptr : storage_of(kData);
  CreateOptions options = life_.create;
  if (life_.layers > 1) {
    options.backing_name = "middle";
    options.backing_format = "qcow2";
  }
  return sim::within_window([&] { return create_image_in(*storage, data.get(), options); });
}

Result<std::unique_ptr<Image>> LifeRun::open_image() {
  std::unique_ptr<Storage> storage = storage_of(kTop);
  const OpenOptions options = open_options();
  return sim::within_window([&] { return Image::open(std::move(storage), "/lab", options); });
}

void LifeRun::live() {
  if (life_.has_hidden) {
    auto image = open_image();
    if (!told("open", image ? Result<void>() : image.error())) {
      return;
    }
    const std::uint64_t half = life_.create.size_bytes / 2;
    write(**image, half, half);
    const bool is_there = told("close", sim::within_window([&] { return (*image)->close(); }));
    image->reset();
    if (!is_there) {
      settled(false);
      return;
    }
    put(offsetof(RawHeader, virtual_size), half);
    size_ = size_max_ = half;
    sectors_.assign(half / kSectorBytes, {0, true});
  }
  if (life_.has_unknown) {
    constexpr std::uint64_t kAutoclear = offsetof(RawHeader, autoclear_features);
    put(kAutoclear, get(kAutoclear) | std::uint64_t{1} << 60);
  }
  {
    const std::unique_ptr<Storage> storage = storage_of(kTop);
    const auto report = sim::within_window([&] { return probe(*storage); });
    told("probe", report ? Result<void>() : report.error());
  }
  {
    auto image = open_image();
    if (!told("open", image ? Result<void>() : image.error())) {
      return;
    }
    use(**image);
    if (life_.snapshots_more != 0) {
      use_snapshots(**image);
    }
    settled(told("close", sim::within_window([&] { return (*image)->close(); })));
    image->reset();
  }
  if (life_.create.format == Format::qcow2 && life_.create.version >= 3) {
    auto image = open_image();
    if (told("open again", image ? Result<void>() : image.error())) {
      use_again(**image);
      settled(told("close again", sim::within_window([&] { return (*image)->close(); })));
    }
  }
  if (life_.dies) {
    // As a program leaves it that is killed: the counts are made anew.
    constexpr std::uint64_t kFlags = offsetof(RawHeader, incompatible_features);
    put(kFlags, get(kFlags) | kIncompatibleDirty);
    auto image = open_image();
    if (told("open anew", image ? Result<void>() : image.error())) {
      compare(**image, "after the counts were made anew");
      settled(told("close anew", sim::within_window([&] { return (*image)->close(); })));
    }
  }
}

void LifeRun::use(Image& image) {
  const std::uint64_t cluster = life_.create.cluster_bytes;
  const std::uint64_t last = size_ / cluster - 1;
  const bool is_packable =
      life_.create.format == Format::qcow2 && life_.create.data_file_name.empty();
  write(image, 0, 3 * cluster);
  if (life_.bulk_clusters != 0) {
    write(image, 0, std::min(life_.bulk_clusters * cluster, size_));
  }
  write(image, last * cluster + 512, std::min<std::uint64_t>(cluster - 512, 512));
  flush(image);
  if (is_packable) {
    write_compressed(image, 4 * cluster);
  }
  write_zeroes(image, cluster, cluster, true);
  write_zeroes(image, 5 * cluster, cluster, false);
  if (life_.has_snapshots) {
    SnapshotCreateOptions options;
    options.name = "first";
    told("create a snapshot", sim::within_window([&] {
           const auto made = create_snapshot(image, options);
           return made ? Result<void>() : made.error();
         }));
    write(image, 512, 2 * cluster);
    if (life_.bulk_clusters != 0) {
      use_snapshots(image);
    }
  }
  discard(image, 2 * cluster, 2 * cluster);
  if (life_.grown_bytes != 0) {
    grow(image, life_.grown_bytes);
  }
  compare(image, "in use");
  if (told("release", sim::within_window([&] { return image.release(); }))) {
    settled(true);
    for (unsigned tries = 0; image.is_released() && tries < 3; ++tries) {
      told("reacquire", sim::within_window([&] { return image.reacquire(); }));
    }
  }
  write(image, 6 * cluster, cluster);
  if (life_.has_snapshots) {
    told("delete a snapshot", sim::within_window([&]() -> Result<void> {
           const auto list = list_snapshots(image);
           return list && !list->empty() ? delete_snapshot(image, 0) : Result<void>();
         }));
  }
  flush(image);
}

void LifeRun::grow(Image& image, std::uint64_t size) {
  if (size <= size_) {
    return;
  }
  const bool is_raw_device = life_.create.format == Format::raw && life_.device_bytes != 0;
  size_max_ = size;
  const bool is_grown =
      told("grow", sim::within_window([&] { return image.grow(size, life_.growth); }));
  if (is_grown) {
    size_ = size_max_;
    sectors_.resize(std::min(size_, kComparedBytes) / kSectorBytes, {0, true});
  }
  // A raw disk that is larger and cannot be flushed stays so.
  const bool is_raw = life_.create.format == Format::raw;
  if (image.size() != size_ && !is_raw_device && (!is_raw || image.size() != size)) {
    wrong("the disk is of no size that was asked for");
  }
  write(image, size_ - 2 * life_.create.cluster_bytes, life_.create.cluster_bytes);
  if (size_ > kMiB) {
    write(image, size_ / 2, life_.create.cluster_bytes);
  }
}

// Of disks that differ a little; the first is shown again, and all but the last go.
void LifeRun::use_snapshots(Image& image) {
  const std::uint64_t cluster = life_.create.cluster_bytes;
  const auto take = [&](const char* name) {
    SnapshotCreateOptions options;
    options.name = name;
    told("create another snapshot", sim::within_window([&] {
           const auto made = create_snapshot(image, options);
           return made ? Result<void>() : made.error();
         }));
  };
  for (unsigned i = 0; i < life_.snapshots_more; ++i) {
    take("more");
  }
  write(image, 3 * cluster, cluster);
  take("second");
  write_zeroes(image, 0, 4 * cluster, true);
  const std::vector<Sector> before = sectors_;
  take("third");
  write(image, 0, 2 * cluster);
  // What the disk shows now is what it showed then, or in doubt.
  const bool is_applied =
      told("apply a snapshot", sim::within_window([&]() -> Result<void> {
             const auto list = list_snapshots(image);
             if (!list) {
               return list.error();
             }
             return list->empty() ? Result<void>() : apply_snapshot(image, list->size() - 1);
           }));
  if (is_applied && !says_no_) {
    sectors_ = before;
  } else {
    for (Sector& sector : sectors_) {
      sector = {};
    }
  }
  told("delete another snapshot", sim::within_window([&]() -> Result<void> {
         const auto list = list_snapshots(image);
         return list && list->size() > 1 ? delete_snapshot(image, 1) : Result<void>();
       }));
  write(image, cluster, cluster);
}

// Another session, whose free space the first has left.
void LifeRun::use_again(Image& image) {
  const std::uint64_t cluster = life_.create.cluster_bytes;
  write(image, 2 * cluster, 5 * cluster);
  if (life_.has_snapshots) {
    SnapshotCreateOptions options;
    options.name = "again";
    told("create a snapshot again", sim::within_window([&] {
           const auto made = create_snapshot(image, options);
           return made ? Result<void>() : made.error();
         }));
    write(image, 3 * cluster, cluster);
  }
  if (life_.grown_again_bytes != 0) {
    grow(image, life_.grown_again_bytes);
  }
  write_zeroes(image, 0, 2 * cluster, true);
  flush(image);
}

// A damaged file: nothing is known of its content any more, but every answer is one.
void LifeRun::repair_what_is_left() {
  const auto look = [&](const OpenOptions& options, bool is_repaired) {
    auto image = Image::open(storage_of(kTop), "/lab", options);
    if (!told("open what is damaged", image ? Result<void>() : image.error())) {
      return;
    }
    const auto report = check(**image, {});
    told("check", report ? Result<void>() : report.error());
    if (is_repaired) {
      const auto repaired = repair(**image, Repair::all);
      told("repair", repaired ? Result<void>() : repaired.error());
    } else if (options.writable) {
      use_again(**image);
      use_snapshots(**image);
      told("apply what is damaged", apply_snapshot(**image, 0));
      told("delete what is damaged", delete_snapshot(**image, 0));
    } else {
      compare(**image, "damaged");
    }
    told("close", (*image)->close());
  };
  const sim::SparseBytes damaged = disks_[kTop].content.clone();
  OpenOptions options = open_options();
  look(options, false);
  disks_[kTop].content = damaged.clone();
  options.allow_corrupt = true;
  look(options, true);
  // The same as a file that was in use: its counts are made anew.
  disks_[kTop].content = damaged.clone();
  constexpr std::uint64_t kFlags = offsetof(RawHeader, incompatible_features);
  put(kFlags, get(kFlags) | kIncompatibleDirty);
  look(open_options(), false);
  disks_[kTop].content = damaged.clone();
  put(kFlags, get(kFlags) | kIncompatibleDirty);
  look(options, true);
  // And as one that nobody trusts.
  disks_[kTop].content = damaged.clone();
  options = open_options();
  options.writable = false;
  options.untrusted = true;
  options.open_backing = false;
  look(options, false);
}

// With the fault gone the image is whole, or was never made.
void LifeRun::judge_end() {
  if (!verdict_.empty() || is_damaged_) {
    return;
  }
  auto image = open_image();
  if (!image) {
    const ErrorCode code = image.error().code;
    // Nothing says yet that there is an image, or its tables are not all there.
    const bool is_named = code == ErrorCode::invalid_argument || code == ErrorCode::unsupported ||
                          code == ErrorCode::corrupt;
    if (is_made_ || !is_named) {
      wrong("it does not open again: " + describe(image.error()));
    }
    return;
  }
  // A raw disk is of any size until it is made.
  if (is_made_) {
    const std::uint64_t size = (*image)->size();
    const bool is_device = life_.create.format == Format::raw && life_.device_bytes != 0;
    if (size != size_ && size != size_max_ && !is_device) {
      wrong("the disk has become " + std::to_string(size) + " bytes");
    }
    compare(**image, "at the end");
  }
  if (life_.create.format == Format::qcow2) {
    const auto report = check(**image, {});
    if (!report || report->corruptions + report->failures != 0) {
      wrong("the check finds damage");
    } else if (!says_no_ && report->leaks != 0) {
      wrong("clusters have leaked though nothing failed");
    }
  }
  if (const Result<void> closed = (*image)->close(); !closed) {
    wrong("closing at the end: " + describe(closed.error()));
  }
}

// --- answers ---

bool LifeRun::told(const char* what, const Result<void>& answer) {
  if (answer) {
    return true;
  }
  const Error& error = answer.error();
  const ErrorCode code = error.code;
  // A device ends, and what was released may not have come back; else nothing fails by itself.
  const bool is_end = life_.device_bytes != 0 && code == ErrorCode::no_space;
  const bool is_raw_device = life_.device_bytes != 0 && code == ErrorCode::unsupported;
  const bool is_known =
      code == ErrorCode::io || code == ErrorCode::no_space || code == ErrorCode::no_memory ||
      code == ErrorCode::poisoned || (code == ErrorCode::busy && says_no_) ||
      (code == ErrorCode::read_only && says_no_) || (code == ErrorCode::out_of_range && says_no_);
  // Narrow counts are full soon.
  const bool is_full = life_.create.refcount_bits < 8 && code == ErrorCode::out_of_range;
  const bool is_damage =
      is_damaged_ && (code == ErrorCode::corrupt || is_known || code == ErrorCode::not_found ||
                      code == ErrorCode::out_of_range || code == ErrorCode::unsupported ||
                      code == ErrorCode::invalid_argument);
  if (!is_end && !is_raw_device && !is_full && !is_damage && (!has_fault_ || !is_known)) {
    wrong(std::string(what) + ": an unclear error: " + describe(error));
  }
  if (error.what == nullptr || *error.what == '\0') {
    wrong(std::string(what) + ": an error without words");
  }
  says_no_ = true;
  return false;
}

void LifeRun::wrong(const std::string& what) {
  if (verdict_.empty()) {
    verdict_ = what;
  }
}

// --- content ---

void LifeRun::write(Image& image, std::uint64_t offset, std::uint64_t length) {
  const std::uint8_t value = next_value_++;
  const std::vector<std::byte> bytes(length, std::byte{value});
  note(sim::within_window([&] { return image.write(offset, bytes); }), offset, length, value);
}

void LifeRun::write_compressed(Image& image, std::uint64_t offset) {
  const std::uint8_t value = next_value_++;
  const std::vector<std::byte> bytes(life_.create.cluster_bytes, std::byte{value});
  note(sim::within_window([&] { return image.write_compressed(offset, bytes); }), offset,
       bytes.size(), value);
}

void LifeRun::write_zeroes(Image& image, std::uint64_t offset, std::uint64_t length,
                           bool may_unmap) {
  note(sim::within_window([&] { return image.write_zeroes(offset, length, may_unmap); }), offset,
       length, 0);
}

// A hint: what the range shows afterwards depends on the layers below and on the format.
void LifeRun::discard(Image& image, std::uint64_t offset, std::uint64_t length) {
  note(sim::within_window([&] { return image.discard(offset, length); }), offset, length,
       std::nullopt);
}

void LifeRun::flush(Image& image) {
  settled(told("flush", sim::within_window([&] { return image.flush(); })));
}

void LifeRun::note(const Result<void>& answer, std::uint64_t offset, std::uint64_t length,
                   std::optional<std::uint8_t> value) {
  const bool is_done = told("a request", answer);
  for (std::uint64_t at = offset; at < offset + length; at += kSectorBytes) {
    if (at / kSectorBytes < sectors_.size()) {
      sectors_[at / kSectorBytes] = {is_done ? value : std::nullopt, false};
    }
  }
}

// What came after the last flush is in doubt once a flush has failed.
void LifeRun::settled(bool is_durable) {
  for (Sector& sector : sectors_) {
    if (is_durable) {
      sector.is_durable = true;
    } else if (!sector.is_durable) {
      sector.value.reset();
    }
  }
}

void LifeRun::compare(Image& image, const char* when) {
  if (image.is_released()) {
    return;
  }
  std::vector<std::byte> bytes(std::min<std::uint64_t>(image.size(), sectors_.size() * 512));
  const Result<void> read = sim::within_window([&] { return image.read(0, bytes); });
  if (!told("read", read) || is_damaged_) {
    return;
  }
  for (std::uint64_t at = 0; at < bytes.size(); at += kSectorBytes) {
    const Sector& sector = sectors_[at / kSectorBytes];
    const auto first = bytes.begin() + static_cast<std::ptrdiff_t>(at);
    if (sector.value && std::count(first, first + kSectorBytes, std::byte{*sector.value}) !=
                            static_cast<std::ptrdiff_t>(kSectorBytes)) {
      wrong(std::string(when) + " the sector at " + std::to_string(at) + " does not hold " +
            std::to_string(*sector.value));
      return;
    }
  }
  for (std::uint64_t at = 0; at < image.size();) {
    const auto status = sim::within_window([&] { return image.status(at, image.size() - at); });
    if (!told("status", status ? Result<void>() : status.error())) {
      return;
    }
    if (status->length == 0) {
      wrong("a status of nothing");
      return;
    }
    at += status->length;
  }
}

}  // namespace varve::model
