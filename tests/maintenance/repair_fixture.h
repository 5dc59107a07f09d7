// Images damaged in known places and repaired, in a file or on a simulated disk.
#pragma once

#include <algorithm>
#include <filesystem>
#include <functional>

#include "format/snapshot_table.h"
#include "maintenance/check_fixture.h"
#include "sim/crash_states.h"
#include "sim/sim_disk.h"

namespace varve::test {

class RepairTest : public CheckTest {
 protected:
  RepairReport run_repair(Repair what) {
    OpenOptions options;
    options.writable = true;
    options.allow_corrupt = true;
    auto image = Image::open(*engine_, path_, options);
    EXPECT_TRUE(image.has_value()) << describe(image.error());
    if (!image) {
      return {};
    }
    Result<RepairReport> report = repair(**image, what);
    EXPECT_TRUE(report.has_value()) << describe(report.error());
    EXPECT_TRUE((*image)->close().has_value());
    return report ? std::move(*report) : RepairReport();
  }
  // What the disk and its one snapshot hold.
  std::vector<std::byte> content() {
    const auto image = open(false);
    std::vector<std::byte> bytes(2 * 32 * cluster_);
    const auto half = std::span(bytes).first(bytes.size() / 2);
    EXPECT_TRUE(image->read(0, half).has_value());
    const auto snapshot = open_snapshot(*image, 0);
    EXPECT_TRUE(snapshot.has_value());
    EXPECT_TRUE((*snapshot)->read(0, std::span(bytes).subspan(bytes.size() / 2)).has_value());
    EXPECT_TRUE((*snapshot)->close().has_value());
    EXPECT_TRUE(image->close().has_value());
    return bytes;
  }
  // Repairs the image, and then again what every power cut leaves of that: each time the second
  // finishes it, to the disk of `before`. `judge` sees what else there is to see.
  void expect_every_cut_finished(const OpenOptions& options, const std::vector<std::byte>& before,
                                 const std::function<void(Image&, const RepairReport&)>& judge) {
    sim::SparseBytes start;
    start.write(0, read_bytes(path_, 0, std::filesystem::file_size(path_)));
    sim::CrashDisk disk(start);
    {
      auto image =
          Image::open(std::make_unique<sim::CrashStorage>(*engine_, disk), "/lab", options);
      ASSERT_TRUE(image.has_value()) << describe(image.error());
      const auto report = repair(**image, Repair::all);
      ASSERT_TRUE(report.has_value()) << describe(report.error());
      expect_clean(report->after);
      ASSERT_TRUE((*image)->close().has_value());
    }
    sim::SectorImage states(disk.start());
    const std::uint64_t count = sim::for_each_crash_state(
        disk, {}, states, [&](const sim::CrashState& state, sim::SectorImage& left) {
          SCOPED_TRACE(state.text());
          sim::SimDisk again;
          again.content = left.to_sparse();
          auto image =
              Image::open(std::make_unique<sim::SimStorage>(*engine_, again), "/lab", options);
          EXPECT_TRUE(image.has_value());
          const auto report = image ? repair(**image, Repair::all) : RepairReport();
          EXPECT_TRUE(report.has_value());
          expect_clean(report->after);
          std::vector<std::byte> bytes(before.size() / 2);
          EXPECT_TRUE((*image)->read(0, bytes).has_value());
          EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), before.begin()));
          judge(**image, *report);
          EXPECT_TRUE((*image)->close().has_value());
          return !HasFailure();
        });
    EXPECT_GT(count, 10u);
  }
  // An image with one snapshot, of whose clusters some are the active disk's alone.
  void make_with_snapshot(const CreateOptions& options) {
    make(options);
    add_snapshot("old");
    const auto image = open(true);
    write(*image, 4, 6);
    ASSERT_TRUE(image->close().has_value());
  }
  // The place of the second snapshot's entry.
  [[nodiscard]] std::uint64_t second_entry() const {
    const std::uint64_t table = get(offsetof(RawHeader, snapshot_table_offset));
    return table + round_up(sizeof(RawSnapshotEntry) +
                                get(table + offsetof(RawSnapshotEntry, extra_bytes), 4) +
                                get(table + offsetof(RawSnapshotEntry, id_bytes), 2) +
                                get(table + offsetof(RawSnapshotEntry, name_bytes), 2),
                            8);
  }
  // Counts of shared and single clusters too high and too low, a flag that lies, and two leaks.
  void damage() const {
    put(count_of(host(0)), 9, 2);
    put(count_of(host(1)), 1, 2);
    put(count_of(host(5)), 3, 2);
    put(l2(6), get(l2(6)) & ~kCopied);
    put(l2(0), get(l2(0)) | kCopied);
    put(count_of(get(refcount_table())), 2, 2);
  }
  void expect_repaired() {
    expect_clean(run());
    if (const std::optional<std::string> said = qemu_words()) {
      EXPECT_NE(said->find("check-errors"), std::string::npos) << *said;
      EXPECT_EQ(number(*said, "corruptions") + number(*said, "leaks"), 0u) << *said;
    }
  }
};

}  // namespace varve::test
