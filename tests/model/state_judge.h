// StateJudge: the quick half of the oracle. Judges a crash state with the reference reader alone,
// from the identities of its sectors, in microseconds: tables, counts, leaks, content, snapshots.
// What the library makes of the state is the slow half (examine in lab.h).
//
// The library's behaviour follows from everything but the bytes of guest data, so states with the
// same metadata need its opinion once: Found::metadata tells such states apart.
// Threads: none. Lifetime: lab and guest outlive it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "model/lab.h"
#include "sim/crash_states.h"

namespace varve::model {

class StateJudge {
 public:
  struct Found {
    bool is_dirty = false;
    bool has_mismatches = false;
    std::uint64_t metadata = 0;  // Hash of all but guest data and free space.
    std::uint64_t leaks = 0;
  };

  explicit StateJudge(Lab& lab);

  // Whether a power cut may leave `content` where `guest` expects `expected`: the reason why not.
  [[nodiscard]] std::optional<std::string> judge(const sim::CrashContent& content,
                                                 const Guest& guest, const Expectation& expected,
                                                 bool excuse_mismatches, Found& found);

 private:
  using Verdict = std::optional<std::string>;
  struct Disk {
    const ReferenceSnapshot* snapshot = nullptr;  // Null: the active disk.
    std::uint64_t size = 0;
  };

  [[nodiscard]] Verdict judge_tables(const sim::SectorImage& image, const ReferenceQcow2& reference,
                                     const Expectation& expected, bool excuse_mismatches,
                                     Found& found) const;
  [[nodiscard]] Verdict judge_list(const sim::CrashContent& content,
                                   const ReferenceQcow2& reference, const Expectation& expected);
  [[nodiscard]] static Verdict judge_state(const sim::SectorImage& image,
                                           const ReferenceQcow2& reference,
                                           const ReferenceSnapshot& found,
                                           const SnapshotState& expected);
  [[nodiscard]] Verdict read_disk(const sim::CrashContent& content, const ReferenceQcow2& reference,
                                  const Disk& disk);
  // A raw data file holds the disk by itself.
  [[nodiscard]] Verdict judge_raw(const sim::CrashContent& content, const ReferenceQcow2& reference,
                                  const Expectation& expected);
  [[nodiscard]] Verdict compare_any(const Expectation& expected) const;
  [[nodiscard]] Verdict read_compressed(const sim::SectorImage& image,
                                        const ReferenceQcow2& reference,
                                        const ReferenceQcow2::Source& source,
                                        std::uint64_t first_sector, std::uint64_t sectors);
  [[nodiscard]] Verdict compare(const std::vector<StampSet>& expected) const;

  bool is_data_file_raw_;
  std::vector<SectorIdentity> backing_;
  std::vector<SectorIdentity> disk_;  // What read_disk found.
  std::unordered_map<std::uint64_t, std::vector<SectorIdentity>> unpacked_;
};

}  // namespace varve::model
