#include "snapshot_table.h"

#include <array>
#include <ctime>

#include <fmt/format.h>

#include "printable.h"
#include "size_text.h"

namespace varve::tool {

std::string format_date(std::uint32_t seconds) {
  const std::time_t time = seconds;
  std::tm fields{};
  std::array<char, 64> text{};
  localtime_r(&time, &fields);
  std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S", &fields);
  return text.data();
}

namespace {

std::string format_clock(std::uint64_t nanoseconds) {
  const std::uint64_t milliseconds = nanoseconds / 1'000'000;
  const std::uint64_t seconds = milliseconds / 1000;
  return fmt::format("{:04}:{:02}:{:02}.{:03}", seconds / 3600, seconds / 60 % 60, seconds % 60,
                     milliseconds % 1000);
}

}  // namespace

std::string format_snapshot_table(const std::vector<SnapshotInfo>& snapshots) {
  if (snapshots.empty()) {
    return {};
  }
  constexpr const char* kRow = "{:<7} {:<16} {:>8} {:>19} {:>15} {:>10}\n";
  std::string text = "Snapshot list:\n";
  text += fmt::format(kRow, "ID", "TAG", "VM_SIZE", "DATE", "VM_CLOCK", "ICOUNT");
  for (const SnapshotInfo& snapshot : snapshots) {
    text += fmt::format(
        kRow, printable(snapshot.id), printable(snapshot.name), format_size(snapshot.vm_state_size),
        format_date(snapshot.date_seconds), format_clock(snapshot.vm_clock_nanoseconds),
        snapshot.icount == -1 ? std::string("--") : std::to_string(snapshot.icount));
  }
  return text;
}

}  // namespace varve::tool
