// What every snapshot is taken with, whoever is asked for it.
#pragma once

#include <ctime>
#include <string>
#include <utility>

#include <varve/snapshot.h>

namespace varve {

// Of this name, and of now.
[[nodiscard]] inline SnapshotCreateOptions new_snapshot(std::string name) {
  std::timespec now = {};
  std::timespec_get(&now, TIME_UTC);
  SnapshotCreateOptions options;
  options.name = std::move(name);
  options.date_seconds = static_cast<std::uint32_t>(now.tv_sec);
  options.date_nanoseconds = static_cast<std::uint32_t>(now.tv_nsec);
  return options;
}

}  // namespace varve
