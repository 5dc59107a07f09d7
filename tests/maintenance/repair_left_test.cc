// Goal: what a repair cannot put right it says, and bytes that a disk shows stay what they are even
// where a damaged entry makes them look like a table. Method: images damaged in known places; the
// cases were found by fuzz/repair.cc.
#include "maintenance/repair_fixture.h"

namespace varve::test {
namespace {

class RepairLeftTest : public RepairTest {
 protected:
  [[nodiscard]] std::uint64_t snapshot_l1() const {
    return get(get(offsetof(RawHeader, snapshot_table_offset)));
  }
  // Bytes that, as L2 entries, all have something to be mended.
  void fill_with_stray_bits(std::uint64_t cluster) {
    const auto image = open(true);
    std::vector<std::byte> bytes(cluster_, std::byte{0x02});
    ASSERT_TRUE(image->write(cluster * cluster_, bytes).has_value());
    ASSERT_TRUE(image->close().has_value());
  }
};

TEST_F(RepairLeftTest, AClusterBeyondTheEndIsTold) {
  make_with_snapshot(small());
  put(l2(2), (std::uint64_t{1} << 40) | kCopied);
  const RepairReport report = run_repair(Repair::all);
  EXPECT_GT(report.after.corruptions, 0u);
  ASSERT_TRUE(report.left.has_value());
  EXPECT_EQ(report.left->corruption, Corruption::cluster_beyond_end_of_file);
  EXPECT_EQ(report.left->offset, l2(2));
}

TEST_F(RepairLeftTest, DataThatASnapshotTakesForATableIsNotMended) {
  make_with_snapshot(small());
  fill_with_stray_bits(12);
  const std::vector<std::byte> before = read_bytes(path_, host(12), cluster_);
  put(snapshot_l1(), host(12) | 8);
  const RepairReport report = run_repair(Repair::all);
  EXPECT_TRUE(report.left.has_value());
  EXPECT_EQ(read_bytes(path_, host(12), cluster_), before);
}

// The file grows while it is repaired, over where the entry of a lost snapshot leads.
TEST_F(RepairLeftTest, ASnapshotLostBehindTheEndIsNotFoundInWhatRepairingPutsThere) {
  make_with_snapshot(small());
  add_snapshot("second");
  add_snapshot("third");
  {
    const auto image = open(true);  // No space is left over inside the file.
    write(*image, 16, 8);
    ASSERT_TRUE(image->close().has_value());
  }
  const auto before = content();
  const std::uint64_t end = round_up(std::filesystem::file_size(path_), cluster_);
  put(second_entry() + offsetof(RawSnapshotEntry, l1_offset), end);
  // Counts that cannot be trusted are made anew, and there is no room but at the end.
  put(refcount_table() + 8, end + 8 * cluster_);
  const RepairReport report = run_repair(Repair::all);
  ASSERT_EQ(report.lost.size(), 1u);
  EXPECT_EQ(report.lost[0].name, "second");
  EXPECT_TRUE(report.refcounts_rebuilt);
  EXPECT_FALSE(report.left.has_value());
  expect_clean(report.after);
  expect_repaired();
  EXPECT_EQ(content(), before);
  const auto image = open(false);
  const auto list = list_snapshots(*image);
  ASSERT_TRUE(list.has_value());
  ASSERT_EQ(list->size(), 2u);
  EXPECT_EQ((*list)[1].name, "third");
}

// An L1 slot leads to the snapshot's L1 table: what is put right in one is wrong in the other.
TEST_F(RepairLeftTest, TablesOverEachOtherStayAndTheSecondRepairChangesNothing) {
  make_with_snapshot(small());
  put(l1(1), snapshot_l1() | kCopied);
  put(count_of(host(0)), 0, 2);
  const std::vector<std::byte> before = read_bytes(path_, snapshot_l1(), cluster_);
  const RepairReport report = run_repair(Repair::all);
  ASSERT_TRUE(report.left.has_value());
  EXPECT_EQ(report.left->corruption, Corruption::tables_overlap);
  EXPECT_EQ(read_bytes(path_, snapshot_l1(), cluster_), before);
  // Nothing in use looks free, at least.
  EXPECT_GT(get(count_of(host(0)), 2), 0u);
  const auto repaired = read_bytes(path_, 0, std::filesystem::file_size(path_));
  EXPECT_TRUE(run_repair(Repair::all).left.has_value());
  EXPECT_EQ(read_bytes(path_, 0, std::filesystem::file_size(path_)), repaired);
}

}  // namespace
}  // namespace varve::test
