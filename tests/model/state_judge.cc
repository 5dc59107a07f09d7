#include "model/state_judge.h"

#include <algorithm>
#include <array>

#include "base/checked.h"
#include "base/units.h"
#include "sim/random.h"

namespace varve::model {

StateJudge::StateJudge(Lab& lab) : is_data_file_raw_(lab.geometry().create.data_file_raw) {
  const sim::SparseBytes& backing = lab.backing().content;
  std::array<std::byte, kSectorBytes> sector{};
  for (std::uint64_t at = 0; at < backing.size(); at += kSectorBytes) {
    backing.read(at, sector);
    backing_.push_back(identify_sector(sector));
  }
}

std::optional<std::string> StateJudge::judge(const sim::CrashContent& content, const Guest& guest,
                                             const Expectation& expected, bool excuse_mismatches,
                                             Found& found) {
  const sim::SectorImage& image = content.file;
  std::string why;
  const auto reference = ReferenceQcow2::open(image.bytes(), why);
  if (!reference) {
    return why;
  }
  if (auto verdict = judge_tables(image, *reference, expected, excuse_mismatches, found)) {
    return verdict;
  }
  const std::uint64_t size = reference->virtual_size();
  if (std::find(expected.sizes.begin(), expected.sizes.end(), size) == expected.sizes.end()) {
    return "the disk has " + std::to_string(size) + " bytes, which it never had";
  }
  if (auto verdict = judge_list(content, *reference, expected)) {
    return verdict;
  }
  if (auto verdict = read_disk(content, *reference, {nullptr, size})) {
    return verdict;
  }
  Verdict verdict = compare_any(expected);
  if (!verdict && reference->has_trusted_bitmap() && !guest.is_untouched(disk_)) {
    return "the disk changed under a bitmap that is not marked in use";
  }
  return verdict || !is_data_file_raw_ ? verdict : judge_raw(content, *reference, expected);
}

StateJudge::Verdict StateJudge::compare_any(const Expectation& expected) const {
  Verdict verdict;
  for (const std::vector<StampSet>& sectors : expected.disks) {
    verdict = compare(sectors);
    if (!verdict) {
      break;
    }
  }
  return verdict;
}

StateJudge::Verdict StateJudge::judge_raw(const sim::CrashContent& content,
                                          const ReferenceQcow2& reference,
                                          const Expectation& expected) {
  if (!reference.is_data_file_raw()) {
    return "the data file is no longer said to be raw";
  }
  for (std::size_t i = 0; i < disk_.size(); ++i) {
    disk_[i] = content.second.facts(i).identity;
  }
  const Verdict verdict = compare_any(expected);
  return verdict ? Verdict("the data file by itself: " + *verdict) : verdict;
}

StateJudge::Verdict StateJudge::judge_tables(const sim::SectorImage& image,
                                             const ReferenceQcow2& reference,
                                             const Expectation& expected, bool excuse_mismatches,
                                             Found& found) const {
  const ReferenceReport report = reference.check();
  found.is_dirty = reference.is_dirty();
  found.has_mismatches = !report.mismatches.empty();
  found.leaks = report.leaks;
  found.metadata = sim::Random::mix(image.size());
  const std::uint64_t per_cluster = reference.cluster_bytes() / kSectorBytes;
  for (std::uint64_t cluster = 0; cluster < report.uses.size(); ++cluster) {
    const auto uses = report.uses[static_cast<std::size_t>(cluster)];
    if (uses == 0 || uses == static_cast<std::uint16_t>(ReferenceUse::data)) {
      continue;
    }
    for (std::uint64_t i = 0; i < per_cluster; ++i) {
      const std::uint64_t sector = cluster * per_cluster + i;
      if (const std::uint64_t hash = image.facts(sector).hash; hash != 0) {
        found.metadata += sim::Random::mix(hash ^ (sector * 0x9e3779b97f4a7c15u));
      }
    }
  }
  const bool excuse = excuse_mismatches || found.is_dirty;
  if (!report.corruptions.empty() || (found.has_mismatches && !excuse)) {
    return "reference check: " + report.text();
  }
  // Version 2 has no dirty bit: its control operations may leave whole trees counted once more.
  if (report.leaks > expected.leaks_max && !excuse) {
    return std::to_string(report.leaks) + " clusters leak where at most " +
           std::to_string(expected.leaks_max) + " were in flight";
  }
  return std::nullopt;
}

StateJudge::Verdict StateJudge::judge_list(const sim::CrashContent& content,
                                           const ReferenceQcow2& reference,
                                           const Expectation& expected) {
  const std::vector<ReferenceSnapshot>& found = reference.snapshots();
  const auto match =
      std::find_if(expected.lists.begin(), expected.lists.end(), [&](const Version* version) {
        return std::equal(found.begin(), found.end(), version->snapshots.begin(),
                          version->snapshots.end(),
                          [](const ReferenceSnapshot& snapshot, const SnapshotState& state) {
                            return snapshot.name == state.name;
                          });
      });
  if (match == expected.lists.end()) {
    std::string text = "the snapshots are";
    for (const ReferenceSnapshot& snapshot : found) {
      text += " '" + snapshot.name + "'";
    }
    return text + ", which they never were";
  }
  for (std::size_t i = 0; i < found.size(); ++i) {
    const DiskState& disk = (*match)->snapshots[i].disk;
    const std::string name = "snapshot '" + found[i].name + "': ";
    if (found[i].disk_size != disk.size) {
      return name + "its size is " + std::to_string(found[i].disk_size);
    }
    Verdict verdict = read_disk(content, reference, {&found[i], disk.size});
    verdict = verdict ? verdict : compare(disk.sectors);
    verdict =
        verdict ? verdict : judge_state(content.file, reference, found[i], (*match)->snapshots[i]);
    if (verdict) {
      return name + *verdict;
    }
  }
  return std::nullopt;
}

StateJudge::Verdict StateJudge::judge_state(const sim::SectorImage& image,
                                            const ReferenceQcow2& reference,
                                            const ReferenceSnapshot& found,
                                            const SnapshotState& expected) {
  if ((found.vm_state_size > 0) != (expected.state_bytes > 0)) {
    return "its machine state has " + std::to_string(found.vm_state_size) + " bytes";
  }
  const std::uint64_t begin = reference.state_begin(found);
  for (std::uint64_t at = 0; at < expected.state_bytes; at += kSectorBytes) {
    const ReferenceQcow2::Source source = reference.source_at(found, begin + at);
    const std::uint64_t inside = (begin + at) % reference.unit_bytes();
    const bool is_there = source.kind == ReferenceQcow2::Source::Kind::file &&
                          image.facts((source.offset + inside) / kSectorBytes).identity ==
                              identity_of(expected.state_stamp, at / kSectorBytes);
    if (!is_there) {
      return "its machine state is not what was saved at " + std::to_string(at);
    }
  }
  return std::nullopt;
}

StateJudge::Verdict StateJudge::read_disk(const sim::CrashContent& content,
                                          const ReferenceQcow2& reference, const Disk& disk) {
  disk_.assign(static_cast<std::size_t>(disk.size / kSectorBytes), 0);
  const std::uint64_t unit = reference.unit_bytes();
  for (std::uint64_t at = 0; at < disk.size; at += unit) {
    const ReferenceQcow2::Source source = disk.snapshot == nullptr
                                              ? reference.source_at(at)
                                              : reference.source_at(*disk.snapshot, at);
    const std::uint64_t first = at / kSectorBytes;
    const std::uint64_t sectors = (std::min(disk.size, at + unit) - at) / kSectorBytes;
    switch (source.kind) {
      case ReferenceQcow2::Source::Kind::zero:
        break;
      case ReferenceQcow2::Source::Kind::backing:
        for (std::uint64_t i = first; i < std::min(first + sectors, backing_.size()); ++i) {
          disk_[static_cast<std::size_t>(i)] = backing_[static_cast<std::size_t>(i)];
        }
        break;
      case ReferenceQcow2::Source::Kind::file:
      case ReferenceQcow2::Source::Kind::data_file:
        for (std::uint64_t i = 0; i < sectors; ++i) {
          disk_[static_cast<std::size_t>(first + i)] =
              (source.kind == ReferenceQcow2::Source::Kind::file ? content.file : content.second)
                  .facts(source.offset / kSectorBytes + i)
                  .identity;
        }
        break;
      case ReferenceQcow2::Source::Kind::compressed:
        if (auto verdict = read_compressed(content.file, reference, source, first, sectors)) {
          return verdict;
        }
        break;
    }
  }
  return std::nullopt;
}

StateJudge::Verdict StateJudge::read_compressed(const sim::SectorImage& image,
                                                const ReferenceQcow2& reference,
                                                const ReferenceQcow2::Source& source,
                                                std::uint64_t first_sector, std::uint64_t sectors) {
  const std::uint64_t begin = source.offset / kSectorBytes;
  const std::uint64_t end = divide_up(source.offset + source.length, kSectorBytes);
  std::uint64_t key = source.descriptor;
  for (std::uint64_t i = begin; i < end; ++i) {
    key = sim::Random::mix(key ^ image.facts(i).hash);
  }
  constexpr std::size_t kUnpackedMax = 4096;
  if (unpacked_.size() > kUnpackedMax) {
    unpacked_.clear();
  }
  const auto known = unpacked_.find(key);
  if (known == unpacked_.end()) {
    std::vector<std::byte> cluster(static_cast<std::size_t>(reference.cluster_bytes()));
    std::string why;
    if (!reference.unpack(source.descriptor, cluster, why)) {
      return why;
    }
    std::vector<SectorIdentity> identities;
    for (std::size_t at = 0; at < cluster.size(); at += kSectorBytes) {
      identities.push_back(identify_sector(ConstBytes(cluster).subspan(at, kSectorBytes)));
    }
    unpacked_.emplace(key, std::move(identities));
  }
  // With subclusters `first_sector` lies inside the cluster.
  const std::vector<SectorIdentity>& identities = unpacked_.at(key);
  const std::uint64_t inside = first_sector % (reference.cluster_bytes() / kSectorBytes);
  for (std::uint64_t i = 0; i < sectors; ++i) {
    disk_[static_cast<std::size_t>(first_sector + i)] =
        identities[static_cast<std::size_t>(inside + i)];
  }
  return std::nullopt;
}

StateJudge::Verdict StateJudge::compare(const std::vector<StampSet>& expected) const {
  for (std::size_t i = 0; i < disk_.size(); ++i) {
    bool good = false;
    for (std::size_t k = 0; i < expected.size() && k < expected[i].size() && !good; ++k) {
      good = disk_[i] == identity_of(expected[i][k], i);
    }
    if (!good) {
      std::string text = "sector " + std::to_string(i) + " holds " + describe_identity(disk_[i]) +
                         ", possible are";
      for (std::size_t k = 0; i < expected.size() && k < expected[i].size(); ++k) {
        text += " " + describe_identity(identity_of(expected[i][k], i));
      }
      return text;
    }
  }
  return std::nullopt;
}

}  // namespace varve::model
