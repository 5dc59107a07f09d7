// The judging half of Guest: whether what an image shows is what a power cut may have left.
#include <algorithm>

#include "base/checked.h"
#include "base/units.h"
#include "model/guest.h"

namespace varve::model {

std::optional<std::string> judge_sectors(ConstBytes bytes, std::uint64_t offset,
                                         const std::vector<StampSet>& expected,
                                         std::vector<StampSet>* seen) {
  for (std::size_t at = 0; at < bytes.size(); at += kSectorBytes) {
    const ConstBytes sector =
        bytes.subspan(at, std::min<std::size_t>(kSectorBytes, bytes.size() - at));
    const auto index = static_cast<std::size_t>((offset + at) / kSectorBytes);
    const StampSet& set = expected[index];
    std::optional<Stamp> match;
    for (std::size_t i = 0; i < set.size() && !match; ++i) {
      if (matches_stamp(sector, set[i], offset + at)) {
        match = set[i];
      }
    }
    if (!match) {
      std::string text = "sector " + std::to_string(index) + " holds " +
                         describe_bytes(sector, offset + at) + ", possible are";
      for (std::size_t i = 0; i < set.size(); ++i) {
        text += set[i] == kZeroStamp ? " zeros" : " stamp " + std::to_string(set[i]);
      }
      return text;
    }
    if (seen != nullptr) {
      (*seen)[index] = StampSet(*match);
    }
  }
  return std::nullopt;
}

std::optional<std::string> Guest::judge_disk(const View& view, std::size_t low, std::size_t high,
                                             Version* seen) const {
  const std::size_t sectors = static_cast<std::size_t>(view.size / kSectorBytes);
  std::vector<StampSet> expected(sectors);
  for (std::size_t k = low; k <= high; ++k) {
    const DiskState& disk = versions_[k].disk;
    for (std::size_t i = 0; i < std::min(sectors, disk.sectors.size()); ++i) {
      expected[i].add(disk.sectors[i]);
    }
  }
  std::vector<std::byte> bytes(static_cast<std::size_t>(view.size));
  std::string why;
  if (!view.read(0, bytes, why)) {
    return "the disk cannot be read: " + why;
  }
  std::vector<StampSet> found(sectors);
  auto verdict = judge_sectors(bytes, 0, expected, &found);
  if (!verdict && seen != nullptr) {
    seen->disk.size = view.size;
    seen->disk.sectors = std::move(found);
  }
  return verdict;
}

std::optional<std::string> Guest::judge_list(const View& view, std::size_t low, std::size_t high,
                                             Version* seen) const {
  const auto is_list_of = [&](const Version& version) {
    return std::equal(
        view.snapshot_names.begin(), view.snapshot_names.end(), version.snapshots.begin(),
        version.snapshots.end(),
        [](const std::string& name, const SnapshotState& state) { return name == state.name; });
  };
  std::size_t match = high + 1;
  for (std::size_t k = low; k <= high && match > high; ++k) {
    match = is_list_of(versions_[k]) ? k : match;
  }
  if (match > high) {
    std::string text = "the snapshots are";
    for (const std::string& name : view.snapshot_names) {
      text += " '" + name + "'";
    }
    return text + ", which they never were between versions " + std::to_string(low) + " and " +
           std::to_string(high);
  }
  std::vector<SnapshotState> found = versions_[match].snapshots;
  for (std::size_t i = 0; i < found.size(); ++i) {
    std::vector<std::byte> bytes(static_cast<std::size_t>(found[i].disk.size));
    std::string why;
    if (!view.read_snapshot(i, bytes, why)) {
      return "snapshot '" + found[i].name + "' cannot be read: " + why;
    }
    std::vector<StampSet> sectors(found[i].disk.sectors.size());
    const auto verdict = judge_sectors(bytes, 0, found[i].disk.sectors, &sectors);
    if (verdict) {
      return "snapshot '" + found[i].name + "': " + *verdict;
    }
    found[i].disk.sectors = std::move(sectors);
    std::vector<std::byte> state(static_cast<std::size_t>(found[i].state_bytes));
    if (!state.empty() &&
        (!view.read_state(i, state, why) || !matches_stamp(state, found[i].state_stamp, 0))) {
      return "the state of snapshot '" + found[i].name + "' is not what was saved: " + why;
    }
  }
  if (seen != nullptr) {
    seen->snapshots = std::move(found);
  }
  return std::nullopt;
}

std::optional<std::string> Guest::judge_range(const View& view, const Floor& floor,
                                              std::size_t high, Version* seen) const {
  const auto first = versions_.begin() + static_cast<std::ptrdiff_t>(floor.size);
  const auto last = versions_.begin() + static_cast<std::ptrdiff_t>(high) + 1;
  if (std::none_of(first, last,
                   [&](const Version& version) { return version.disk.size == view.size; })) {
    return "the disk has " + std::to_string(view.size) + " bytes, which it never had";
  }
  if (auto verdict = judge_list(view, floor.list, high, seen)) {
    return verdict;
  }
  // Between two applies any sector may come from any version; across one, all or nothing.
  std::optional<std::string> verdict;
  for (std::size_t low = floor.disk; low <= high;) {
    std::size_t end = low;
    while (end < high && !versions_[end + 1].switches_disk) {
      ++end;
    }
    verdict = judge_disk(view, low, end, seen);
    if (!verdict) {
      return std::nullopt;
    }
    low = end + 1;
  }
  return verdict;
}

std::pair<Guest::Floor, std::size_t> Guest::range_at(sim::Moment moment) const {
  std::size_t high = 0;
  while (high + 1 < versions_.size() && versions_[high + 1].begun <= moment) {
    ++high;
  }
  Floor floor;
  for (const Floor& promised : floors_) {
    if (promised.from <= moment) {
      floor = promised;
    }
  }
  return {floor, high};
}

std::optional<std::string> Guest::judge(const View& view, sim::Moment moment, Version* seen) const {
  const auto [floor, high] = range_at(moment);
  return judge_range(view, floor, high, seen);
}

Expectation Guest::expectation(sim::Moment moment) const {
  const auto [floor, high] = range_at(moment);
  Expectation expected;
  expected.number = static_cast<std::uint64_t>(
      std::count_if(floors_.begin(), floors_.end(),
                    [&](const Floor& promised) { return promised.from <= moment; }));
  for (std::size_t k = floor.size; k <= high; ++k) {
    expected.sizes.push_back(versions_[k].disk.size);
  }
  for (std::size_t k = floor.list; k <= high; ++k) {
    expected.lists.push_back(&versions_[k]);
  }
  for (std::size_t k = floor.disk; k <= high; ++k) {
    if (k == floor.disk || versions_[k].switches_disk) {
      expected.disks.emplace_back();
    }
    std::vector<StampSet>& sectors = expected.disks.back();
    sectors.resize(std::max(sectors.size(), versions_[k].disk.sectors.size()));
    for (std::size_t i = 0; i < versions_[k].disk.sectors.size(); ++i) {
      sectors[i].add(versions_[k].disk.sectors[i]);
    }
  }
  // A dropped cluster's count falls with the round after the one that made the drop durable.
  std::size_t flushes = 0;
  std::size_t low = 0;
  for (auto it = floors_.rbegin(); it != floors_.rend() && flushes < 2; ++it) {
    if (it->from <= moment) {
      low = it->disk;
      ++flushes;
    }
  }
  for (std::size_t k = flushes < 2 ? 0 : low; k <= high; ++k) {
    expected.leaks_max += versions_[k].clusters;
  }
  return expected;
}

std::vector<sim::Moment> Guest::promised_moments() const {
  std::vector<sim::Moment> moments;
  for (const Floor& floor : floors_) {
    moments.push_back(floor.from);
  }
  return moments;
}

bool Guest::is_untouched(const Version& seen) const noexcept {
  const DiskState& first = versions_.front().disk;
  return std::equal(seen.disk.sectors.begin(), seen.disk.sectors.end(), first.sectors.begin(),
                    first.sectors.end(), [](const StampSet& now, const StampSet& before) {
                      return now.size() == 1 && before.contains(now[0]);
                    });
}

bool Guest::is_untouched(const std::vector<SectorIdentity>& disk) const noexcept {
  const DiskState& first = versions_.front().disk;
  for (std::size_t i = 0; i < disk.size(); ++i) {
    const bool was_there =
        i < first.sectors.size() && disk[i] == identity_of(first.sectors[i][0], i);
    if (!was_there) {
      return false;
    }
  }
  return disk.size() == first.sectors.size();
}

std::optional<std::string> Guest::judge_now(const View& view) const {
  const std::size_t newest = versions_.size() - 1;
  Floor floor;
  floor.disk = floor.list = floor.size = newest;
  return judge_range(view, floor, newest, nullptr);
}

Guest::View view_of(Image& image) {
  Guest::View view;
  view.size = image.size();
  if (const auto list = list_snapshots(image)) {
    for (const SnapshotInfo& info : *list) {
      view.snapshot_names.push_back(info.name);
    }
  }
  view.read = [&image](std::uint64_t offset, Bytes target, std::string& why) {
    const Result<void> result = image.read(offset, target);
    why = result ? "" : describe(result.error());
    return result.has_value();
  };
  view.read_snapshot = [&image](std::size_t index, Bytes target, std::string& why) {
    auto snapshot = open_snapshot(image, index);
    if (!snapshot) {
      why = describe(snapshot.error());
      return false;
    }
    if ((*snapshot)->size() != target.size()) {
      why = "its size is " + std::to_string((*snapshot)->size());
      return false;
    }
    Result<void> result = (*snapshot)->read(0, target);
    if (result) {
      result = (*snapshot)->close();
    }
    why = result ? "" : describe(result.error());
    return result.has_value();
  };
  view.read_state = [&image](std::size_t index, Bytes target, std::string& why) {
    auto state = StateReader::open(image, index);
    Result<void> result = state ? (*state)->read_at(0, target) : Result<void>(state.error());
    why = result ? "" : describe(result.error());
    return result.has_value() && (*state)->size() == target.size();
  };
  return view;
}

}  // namespace varve::model
