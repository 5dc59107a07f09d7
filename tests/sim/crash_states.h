// Everything a CrashDisk may hold after a power cut: for each moment, what was durable then plus
// a choice of what was not, sector by sector.
//
// Up to `exhaustive_max` changes in the air every subset of them is shown; above, every prefix, all
// but one, one alone, pairs and random subsets. The newest change is also torn between its sectors.
// Size changes and punched holes are changes like any other. States of equal content may be shown
// more than once: the caller knows contents apart by their hash. The changes of two files are one
// heap, of which any subset survives.
//
// With `promised`, states are not shown again where nothing more is asked of them than before:
// after a change those that hold it, and everything only where a promise was made.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "sim/crash_disk.h"
#include "sim/sector_image.h"

namespace varve::sim {

struct CrashOptions {
  std::uint64_t seed = 1;
  Moment from = 0;                 // Earlier moments are passed over.
  std::size_t exhaustive_max = 6;  // Up to so many changes in the air: every subset of them.
  std::size_t each_max = 64;       // Above this many, a seeded sample of that size loses each ...
  std::size_t pairs_max = 24;      // ... and so many pairs are lost, and kept, together.
  unsigned random_subsets = 2;     // Per moment, sector by sector.
  unsigned random_tears = 2;       // Per new change of several sectors.
  std::uint64_t tear_all_sectors = 4;  // Changes of up to so many sectors tear in every way.
  const std::vector<Moment>* promised = nullptr;  // See above; in ascending order.
};

// One power cut. `choice` replays it: the same run, the same moment, the same choice.
struct CrashState {
  Moment moment = 0;
  std::string (*describe)(const CrashState& state) = nullptr;
  const void* choice = nullptr;
  [[nodiscard]] std::string text() const {
    return "moment " + std::to_string(moment) + ", " + describe(*this);
  }
};

// What the files of a CrashDisk hold.
struct CrashContent {
  SectorImage file;
  SectorImage second;  // Empty where there is none.

  explicit CrashContent(const CrashDisk& disk, SectorImage::Identify identify = nullptr)
      : CrashContent(disk.start(0), disk.start(1), identify) {}
  CrashContent(const SparseBytes& first, const SparseBytes& other, SectorImage::Identify identify)
      : file(first, identify), second(other, identify) {}
  [[nodiscard]] std::uint64_t hash() const noexcept;  // Equal for equal files.
};

// Calls `visit` for every state; stops when it answers false. `content` starts as what the disk
// started from, belongs to the enumeration during a call and may be changed by `visit` only between
// a mark and its rollback. The number of states visited.
std::uint64_t for_each_crash_state(
    const CrashDisk& disk, const CrashOptions& options, CrashContent& content,
    const std::function<bool(const CrashState& state, CrashContent& content)>& visit);
// The same for a disk of one file.
std::uint64_t for_each_crash_state(
    const CrashDisk& disk, const CrashOptions& options, SectorImage& content,
    const std::function<bool(const CrashState& state, SectorImage& content)>& visit);

}  // namespace varve::sim
