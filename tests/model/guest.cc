#include "model/guest.h"

#include <algorithm>

#include "base/assert.h"
#include "base/checked.h"
#include "base/units.h"
#include "sim/allocation_faults.h"

namespace varve::model {

namespace {
constexpr std::uint64_t kGrowthClusters = 4;    // New refcount blocks and their table.
constexpr std::uint64_t kStateSumBytes = 4096;  // The sums behind a state, and more.
constexpr std::uint64_t kStateTables = 8;
constexpr std::uint64_t kControlClusters = 6;  // Snapshot tables and L1s, the old and the new.
}  // namespace

void StampSet::add(Stamp stamp) noexcept {
  if (!contains(stamp)) {
    VARVE_ASSERT(size_ < kMax);
    stamps_[size_++] = stamp;
  }
}

void StampSet::add(const StampSet& other) noexcept {
  for (std::size_t i = 0; i < other.size_; ++i) {
    add(other.stamps_[i]);
  }
}

bool StampSet::contains(Stamp stamp) const noexcept {
  return std::find(stamps_.begin(), stamps_.begin() + static_cast<std::ptrdiff_t>(size_), stamp) !=
         stamps_.begin() + static_cast<std::ptrdiff_t>(size_);
}

Guest::Guest(const GuestRules& rules, Version initial, Clock clock, Stamp first_stamp)
    : rules_(rules), clock_(std::move(clock)), next_stamp_(first_stamp) {
  initial.begun = 0;
  initial.switches_disk = false;
  versions_.push_back(std::move(initial));
  floors_.emplace_back();
}

Version& Guest::begin(std::uint64_t length) {
  versions_.push_back(versions_.back());
  Version& version = versions_.back();
  version.begun = clock_();
  version.switches_disk = false;
  // Each cluster touched may have an old place and a new one; so may its table, of which the
  // smallest maps 32 clusters, and the refcounts may have to grow for them.
  const std::uint64_t touched = length / rules_.cluster_bytes + 2;
  version.clusters = 2 * (touched + touched / 32 + 1) + kGrowthClusters;
  return version;
}

// What a control operation leaves is settled by the dirty bit, except what it prepared.
Version& Guest::begin_control() {
  Version& version = begin(0);
  version.clusters += kControlClusters + 2 * (size() / rules_.cluster_bytes / 32 + 1);
  return version;
}

void Guest::promise(bool disk, bool list, bool size) {
  Floor floor = floors_.back();
  floor.from = clock_();
  const std::size_t newest = versions_.size() - 1;
  floor.disk = disk ? newest : floor.disk;
  floor.list = list ? newest : floor.list;
  floor.size = size ? newest : floor.size;
  floors_.push_back(floor);
}

void Guest::set_range(Version& version, std::uint64_t offset, std::uint64_t length,
                      const StampSet& value) const {
  VARVE_ASSERT(offset % kSectorBytes == 0 && length % kSectorBytes == 0);
  for (std::uint64_t at = offset; at < offset + length; at += kSectorBytes) {
    version.disk.sectors[static_cast<std::size_t>(at / kSectorBytes)] = value;
  }
}

// After a request that failed every sector is old or new.
Result<void> Guest::finish(const Result<void>& result, bool control) {
  if (!result && !control) {
    Version& failed = versions_.back();
    const Version& before = versions_[versions_.size() - 2];
    for (std::size_t i = 0; i < before.disk.sectors.size(); ++i) {
      failed.disk.sectors[i].add(before.disk.sectors[i]);
    }
  }
  return result;
}

Result<void> Guest::change(std::uint64_t length, std::function<void(Version&)> how,
                           const std::function<Result<void>()>& call) {
  how(begin(length));
  change_ = std::move(how);
  const Result<void> result = sim::within_window(call);
  change_ = nullptr;
  return finish(result, false);
}

Result<void> Guest::write(Image& image, std::uint64_t offset, std::uint64_t length) {
  const Stamp stamp = next_stamp_++;
  std::vector<std::byte> bytes(static_cast<std::size_t>(length));
  fill_stamp(bytes, stamp, offset);
  return change(
      length, [=, this](Version& version) { set_range(version, offset, length, StampSet(stamp)); },
      [&] { return image.write(offset, bytes); });
}

Result<void> Guest::write_two_and_flush(Image& image, std::uint64_t first, std::uint64_t second) {
  const Stamp stamp = next_stamp_++;
  struct Part {
    std::array<std::byte, kSectorBytes> bytes{};
    IoVector vector;
    BlockRequest request;
    std::optional<Result<void>> result;
  };
  std::array<Part, 3> parts;
  for (const std::size_t i : {0u, 1u, 2u}) {
    Part& part = parts.at(i);
    part.request.operation = i == 1 ? BlockOperation::flush : BlockOperation::write;
    part.request.owner = &part;
    part.request.complete = [](BlockRequest& request, const Result<void>& result) {
      static_cast<Part*>(request.owner)->result.emplace(result);
    };
    if (i != 1) {
      part.request.offset = i == 0 ? first : second;
      fill_stamp(part.bytes, stamp, part.request.offset);
      part.vector = {part.bytes.data(), part.bytes.size()};
      part.request.vectors = &part.vector;
      part.request.vector_count = 1;
      part.request.length = kSectorBytes;
    }
  }
  const std::size_t before = versions_.size() - 1;
  const Result<void> written = change(
      2 * rules_.cluster_bytes,
      [=, this](Version& version) {
        set_range(version, first, kSectorBytes, StampSet(stamp));
        set_range(version, second, kSectorBytes, StampSet(stamp));
      },
      [&]() -> Result<void> {
        for (Part& part : parts) {
          image.submit(part.request);
        }
        while (!parts[0].result || !parts[1].result || !parts[2].result) {
          image.engine().wait();
        }
        return *parts[0].result ? *parts[2].result : *parts[0].result;
      });
  if (*parts[1].result) {
    // It promises what was there before it.
    Floor floor = floors_.back();
    floor.from = clock_();
    floor.disk = std::max(floor.disk, before);
    floors_.push_back(floor);
  }
  return written ? *parts[1].result : written;
}

Result<void> Guest::write_compressed(Image& image, std::uint64_t cluster) {
  const Stamp stamp = next_stamp_++;
  const std::uint64_t offset = cluster * rules_.cluster_bytes;
  const std::uint64_t length = std::min(rules_.cluster_bytes, size() - offset);
  std::vector<std::byte> bytes(static_cast<std::size_t>(length));
  fill_stamp(bytes, stamp, offset);
  return change(
      length, [=, this](Version& version) { set_range(version, offset, length, StampSet(stamp)); },
      [&] { return image.write_compressed(offset, bytes); });
}

Result<void> Guest::write_zeroes(Image& image, std::uint64_t offset, std::uint64_t length,
                                 bool may_unmap) {
  return change(
      length,
      [=, this](Version& version) { set_range(version, offset, length, StampSet(kZeroStamp)); },
      [&] { return image.write_zeroes(offset, length, may_unmap); });
}

Result<void> Guest::discard(Image& image, std::uint64_t offset, std::uint64_t length) {
  const std::uint64_t cluster = rules_.cluster_bytes;
  const std::uint64_t first =
      std::max(round_up(rules_.discard_from, cluster), round_up(offset, cluster));
  // The disk's last cluster may be shorter and still counts as whole.
  const std::uint64_t last =
      offset + length == size() ? size() : round_down(offset + length, cluster);
  return change(
      length,
      [=, this](Version& version) {
        if (first < last) {
          set_range(version, first, last - first, StampSet(kZeroStamp));
        }
      },
      [&] { return image.discard(offset, length); });
}

Result<void> Guest::flush(Image& image) {
  const Result<void> result = sim::within_window([&] { return image.flush(); });
  if (result) {
    promise(true, false, false);
  }
  return result;
}

std::optional<std::string> Guest::look_again(Image& image) {
  Version seen = now();
  const sim::Moment moment = clock_();
  auto verdict = judge(view_of(image), moment, &seen);
  if (!verdict) {
    seen.begun = moment;
    seen.switches_disk = false;
    versions_.push_back(std::move(seen));
  }
  return verdict;
}

Result<void> Guest::close(Image& image) {
  const Result<void> result = sim::within_window([&] { return image.close(); });
  if (result) {
    promise(true, true, true);
  }
  return result;
}

Result<void> Guest::grow(Image& image, std::uint64_t new_size) {
  Version& version = begin(std::max(new_size, size()) - size());
  version.disk.size = new_size;
  version.disk.sectors.resize(static_cast<std::size_t>(new_size / kSectorBytes),
                              StampSet(kZeroStamp));
  const Result<void> result = sim::within_window([&] { return image.grow(new_size); });
  if (result) {
    promise(false, false, true);
  } else if (image.size() != new_size) {
    // The old size counts for what the guest does next; the new one may still be found later.
    Version back = versions_[versions_.size() - 2];
    back.begun = versions_.back().begun;
    versions_.push_back(std::move(back));
  }
  return result;
}

// After a failed control operation the image must show the list before or after it.
void Guest::reconcile_list(Image& image, const Version& before) {
  const auto list = list_snapshots(image);
  if (!list) {
    violation_ = "the snapshots cannot be listed after a failed operation";
    return;
  }
  const auto is_list_of = [&](const Version& version) {
    return std::equal(list->begin(), list->end(), version.snapshots.begin(),
                      version.snapshots.end(),
                      [](const SnapshotInfo& info, const SnapshotState& state) {
                        return info.name == state.name;
                      });
  };
  if (is_list_of(before)) {
    Version back = before;
    back.begun = versions_.back().begun;
    versions_.push_back(std::move(back));
  } else if (!is_list_of(versions_.back())) {
    violation_ = "a failed operation left a snapshot list that is neither the old nor the new one";
  }
}

Result<void> Guest::create(Image& image, const SnapshotState& snapshot, StateWriter* state) {
  const Version before = now();
  begin_control().snapshots.push_back(snapshot);
  SnapshotCreateOptions options;
  options.name = snapshot.name;
  options.state = state;
  const Result<SnapshotCreated> result =
      sim::within_window([&] { return varve::create_snapshot(image, options); });
  if (!result) {
    reconcile_list(image, before);
    return result.error();
  }
  promise(true, true, true);
  return {};
}

Result<void> Guest::create_snapshot(Image& image, const std::string& name) {
  return create(image, {name, now().disk}, nullptr);
}

Result<void> Guest::create_full_snapshot(Image& image, const std::string& name,
                                         std::uint64_t state_bytes) {
  SnapshotState snapshot{name, now().disk, next_stamp_++, state_bytes};
  std::vector<std::byte> bytes(static_cast<std::size_t>(state_bytes));
  fill_stamp(bytes, snapshot.state_stamp, 0);
  // Until the snapshot is published nothing refers to what the state claims, nor to its tables.
  begin(state_bytes + kStateSumBytes).clusters += kStateTables;
  auto writer = StateWriter::create(image);
  if (!writer) {
    return writer.error();
  }
  Result<void> result = (*writer)->write(bytes);
  result = result ? (*writer)->finish() : result;
  return result ? create(image, snapshot, writer->get()) : result;
}

Result<void> Guest::apply_snapshot(Image& image, std::size_t index) {
  const Version before = now();
  Version& version = begin_control();
  version.disk = version.snapshots[index].disk;
  version.switches_disk = true;
  const Result<void> result =
      sim::within_window([&] { return varve::apply_snapshot(image, index); });
  if (result) {
    promise(true, true, true);
    return result;
  }
  // Which of the two disks is there now shows at the next look; later requests build on either.
  Version either = before;
  either.begun = versions_.back().begun;
  if (before.disk.size == version.disk.size) {
    for (std::size_t i = 0; i < either.disk.sectors.size(); ++i) {
      either.disk.sectors[i].add(versions_.back().disk.sectors[i]);
    }
  }
  versions_.push_back(std::move(either));
  return result;
}

Result<void> Guest::remove(Image& image, std::size_t index,
                           const std::function<Result<void>()>& call) {
  const std::vector<SnapshotState> before = now().snapshots;
  Version& version = begin_control();
  version.snapshots.erase(version.snapshots.begin() + static_cast<std::ptrdiff_t>(index));
  const Result<void> result = sim::within_window(call);
  if (result) {
    promise(false, true, false);
  } else {
    // The disk may be another one by now: an apply went first.
    Version undone = now();
    undone.snapshots = before;
    undone.switches_disk = false;
    reconcile_list(image, undone);
  }
  return result;
}

Result<void> Guest::delete_snapshot(Image& image, std::size_t index) {
  return remove(image, index, [&] { return varve::delete_snapshot(image, index); });
}

Result<void> Guest::delete_snapshot_in_turn(Image& image, std::size_t index) {
  return remove(image, index, [&]() -> Result<void> {
    OperationOptions options;
    options.wait_for_turn = true;
    auto operation = varve::start_delete(image, index, options);
    return operation ? (*operation)->wait() : operation.error();
  });
}

Result<void> Guest::rename_snapshot(Image& image, std::size_t index, const std::string& name) {
  const Version before = now();
  begin_control().snapshots[index].name = name;
  const Result<void> result =
      sim::within_window([&] { return varve::rename_snapshot(image, index, name); });
  if (result) {
    promise(false, true, false);
  } else {
    reconcile_list(image, before);
  }
  return result;
}

}  // namespace varve::model
