// Images of makers who are not trusted: what names another file, contradicts itself, or has tables
// outside the file or over each other is refused, by the rule it breaks; budgets are kept, and the
// one that is exhausted is named.
#include <functional>
#include <optional>
#include <string_view>

#include <unistd.h>
#include <varve/state.h>

#include "format/snapshot_table.h"
#include "maintenance/check_fixture.h"

namespace varve::test {
namespace {

class UntrustedTest : public CheckTest {
 protected:
  Result<void> try_open(const OpenOptions& options) {
    auto image = Image::open(*engine_, path_, options);
    return image ? (*image)->close() : Result<void>(image.error());
  }
  Result<void> try_untrusted() {
    OpenOptions options;
    options.untrusted = true;
    return try_open(options);
  }
  void expect_refused(Corruption reason) {
    const Result<void> opened = try_untrusted();
    ASSERT_FALSE(opened.has_value()) << corruption_name(reason);
    EXPECT_EQ(opened.error().corruption, reason) << describe(opened.error());
  }
  void expect_unsupported(std::string_view word) {
    const Result<void> opened = try_untrusted();
    ASSERT_FALSE(opened.has_value()) << word;
    EXPECT_EQ(opened.error().code, ErrorCode::unsupported);
    EXPECT_NE(std::string_view(opened.error().what).find(word), std::string_view::npos);
  }
  void make_empty(const CreateOptions& options) {
    ASSERT_TRUE(create_image(*engine_, path_, options).has_value());
    cluster_ = options.cluster_bytes;
  }
  // Opens and checks on this budget.
  Result<CheckReport> check_on(const Budget& budget) {
    OpenOptions options;
    options.budget = budget;
    auto image = Image::open(*engine_, path_, options);
    if (!image) {
      return image.error();
    }
    Result<CheckReport> report = check(**image);
    EXPECT_TRUE((*image)->close().has_value());
    return report;
  }
};

TEST_F(UntrustedTest, TakesAnHonestImage) {
  CreateOptions options = small();
  make(options);
  {
    const auto image = open(true);
    SnapshotCreateOptions snapshot;
    snapshot.name = "kept";
    ASSERT_TRUE(create_snapshot(*image, snapshot).has_value());
    write(*image, 2, 3);
    const std::vector<std::byte> bytes(cluster_, std::byte{0x11});
    ASSERT_TRUE(image->write_compressed(20 * cluster_, bytes).has_value());
    ASSERT_TRUE(image->close().has_value());
  }
  OpenOptions untrusted;
  untrusted.untrusted = true;
  auto image = Image::open(*engine_, path_, untrusted);
  ASSERT_TRUE(image.has_value()) << describe(image.error());
  std::vector<std::byte> bytes(cluster_);
  ASSERT_TRUE((*image)->read(20 * cluster_, bytes).has_value());
  EXPECT_EQ(bytes.front(), std::byte{0x11});
  EXPECT_FALSE((*image)->write(0, bytes).has_value());
  EXPECT_TRUE((*image)->close().has_value());
}

TEST_F(UntrustedTest, IsOnlyRead) {
  make(small());
  OpenOptions options;
  options.untrusted = true;
  options.writable = true;
  EXPECT_EQ(try_open(options).error().code, ErrorCode::invalid_argument);
  options.writable = false;
  options.backing_override = "other";
  EXPECT_EQ(try_open(options).error().code, ErrorCode::invalid_argument);
}

TEST_F(UntrustedTest, RefusesAnImageThatNamesAnother) {
  CreateOptions options = small();
  options.backing_name = "/nowhere/at/all";
  options.backing_format = "raw";
  make_empty(options);
  expect_unsupported("backing file");

  path_ = folder_.file("with-data.qcow2");
  options = small();
  options.data_file_name = folder_.file("data");
  make_empty(options);
  expect_unsupported("external data file");
}

TEST_F(UntrustedTest, RefusesFieldsThatOthersReadDifferently) {
  make(small());
  put(offsetof(RawHeader, backing_name_bytes), 9, 4);
  EXPECT_TRUE(try_open({}).has_value());
  expect_refused(Corruption::backing_size_without_offset);
  put(offsetof(RawHeader, backing_name_bytes), 0, 4);
  EXPECT_TRUE(try_untrusted().has_value());

  path_ = folder_.file("with-data.qcow2");
  CreateOptions options = small();
  options.data_file_name = folder_.file("data");
  make_empty(options);
  put(offsetof(RawHeader, incompatible_features), 0);
  expect_refused(Corruption::data_file_name_without_bit);
}

TEST_F(UntrustedTest, ChecksAnImageWithBitmapsOnTheStandardBudget) {
  VARVE_NEED_QEMU_IMG();
  ASSERT_TRUE(folder_.run(
      "qemu-img create -f qcow2 disk.qcow2 64M && qemu-img bitmap --add disk.qcow2 one"));
  const Result<CheckReport> report = check_on(Budget::standard());
  ASSERT_TRUE(report.has_value()) << describe(report.error());
  expect_clean(*report);
}

TEST_F(UntrustedTest, RefusesTablesThatOverlapOrLieOutside) {
  make(small());
  const std::uint64_t l1_offset = get(offsetof(RawHeader, l1_offset));
  const auto with = [&](std::uint64_t offset, std::uint64_t value, Corruption reason) {
    const std::uint64_t before = get(offset);
    put(offset, value);
    expect_refused(reason);
    put(offset, before);
    EXPECT_TRUE(try_untrusted().has_value());
  };
  // A second refcount block over the L1 table; an L2 table over the header's neighbour, the same
  // one twice, and beyond the end.
  with(refcount_table() + 8, l1_offset, Corruption::tables_overlap);
  with(l1(1), refcount_table() | kCopied, Corruption::tables_overlap);
  with(l1(1), get(l1()), Corruption::l2_table_shared_in_active);
  with(l1(1), std::uint64_t{1} << 40, Corruption::table_beyond_end_of_file);
  // Data over a table, beyond the end, unaligned.
  with(l2(0), l1_offset | kCopied, Corruption::cluster_overlaps_metadata);
  with(l2(0), 0 | kCopied, Corruption::copied_without_cluster);
  with(l2(0), std::uint64_t{1} << 40, Corruption::cluster_beyond_end_of_file);
  with(l2(0), get(l2(0)) + 512, Corruption::cluster_offset_unaligned);
}

TEST_F(UntrustedTest, RefusesRawThatBeginsLikeAnImage) {
  make(small());
  OpenOptions options;
  options.format = Format::raw;
  EXPECT_TRUE(try_open(options).has_value());
  options.untrusted = true;
  EXPECT_EQ(try_open(options).error().code, ErrorCode::invalid_argument);
}

TEST_F(UntrustedTest, NamesTheBudgetThatIsExhausted) {
  // What the file takes raises the budgets: as good as nothing of a hole.
  CreateOptions options = small(512);
  options.size_bytes = 64 * kMiB;
  make_empty(options);
  ASSERT_EQ(::truncate(path_.c_str(), 256 << 20), 0);
  ASSERT_TRUE(check_on(Budget::standard()).has_value());
  const auto expect_named = [&](const Budget& budget, std::string_view word) {
    const Result<CheckReport> report = check_on(budget);
    ASSERT_FALSE(report.has_value()) << word;
    EXPECT_EQ(report.error().code, ErrorCode::over_budget) << describe(report.error());
    EXPECT_NE(std::string_view(report.error().what).find(word), std::string_view::npos)
        << describe(report.error());
  };
  Budget memory = Budget::standard();
  memory.memory_bytes = kMiB;
  expect_named(memory, "memory");
  Budget steps = Budget::standard();
  steps.steps = 100'000;
  expect_named(steps, "steps");
  // A table in a hole.
  put(offsetof(RawHeader, l1_entries), 1u << 20, 4);
  Budget reads = Budget::standard();
  reads.read_bytes = 0;
  expect_named(reads, "bytes read");
}

// A hole for an L1 table, a size for a disk: what opening a snapshot or its state would hold in
// memory nothing in the file pays for.
TEST_F(UntrustedTest, HoldsWhatASnapshotAsksForAgainstTheBudget) {
  make(small());
  {
    const auto image = open(true);
    auto state = StateWriter::create(*image);
    ASSERT_TRUE(state.has_value());
    ASSERT_TRUE((*state)->write(std::vector<std::byte>(5000, std::byte{7})).has_value());
    ASSERT_TRUE((*state)->finish().has_value());
    SnapshotCreateOptions options;
    options.state = state->get();
    ASSERT_TRUE(create_snapshot(*image, options).has_value());
    state->reset();
    ASSERT_TRUE(image->close().has_value());
  }
  const std::uint64_t entry = get(offsetof(RawHeader, snapshot_table_offset));
  const std::uint64_t extra = entry + sizeof(RawSnapshotEntry);
  const std::uint64_t l1_entries = get(entry + offsetof(RawSnapshotEntry, l1_entries), 4);
  const std::uint64_t state_bytes = get(extra + offsetof(RawSnapshotExtra, vm_state_bytes));
  OpenOptions untrusted;
  untrusted.untrusted = true;
  // Nothing where it went well.
  using Refusal = std::optional<ErrorCode>;
  const auto look = [&](const std::function<Refusal(Image&)>& ask) {
    auto image = Image::open(*engine_, path_, untrusted);
    EXPECT_TRUE(image.has_value()) << describe(image.error());
    const Refusal refusal = image ? ask(**image) : image.error().code;
    EXPECT_TRUE(!image || (*image)->close().has_value());
    return refusal;
  };
  const auto open_disk = [](Image& image) {
    const auto snapshot = open_snapshot(image, 0);
    return snapshot ? Refusal() : snapshot.error().code;
  };
  const auto open_state = [](Image& image) {
    const auto reader = StateReader::open(image, 0);
    return reader ? Refusal() : reader.error().code;
  };
  EXPECT_FALSE(look(open_disk));
  EXPECT_FALSE(look(open_state));
  // Sums of 128 MiB.
  const std::uint64_t hole = 1u << 30;
  ASSERT_EQ(::truncate(path_.c_str(), 2 * hole), 0);
  put(entry + offsetof(RawSnapshotEntry, l1_offset), hole);
  put(entry + offsetof(RawSnapshotEntry, l1_entries), 1u << 18, 4);
  put(extra + offsetof(RawSnapshotExtra, vm_state_bytes), std::uint64_t{1} << 39);
  EXPECT_EQ(look(open_state), ErrorCode::over_budget);
  // 32 MiB for the table of a disk that none maps: there is room for one.
  put(entry + offsetof(RawSnapshotEntry, l1_entries), l1_entries, 4);
  put(extra + offsetof(RawSnapshotExtra, vm_state_bytes), state_bytes);
  put(extra + offsetof(RawSnapshotExtra, disk_size), std::uint64_t{1} << 43);
  EXPECT_FALSE(look(open_disk));
  EXPECT_EQ(look([&](Image& image) {
              const auto first = open_snapshot(image, 0);
              EXPECT_TRUE(first.has_value());
              return open_disk(image);
            }),
            ErrorCode::over_budget);
}

}  // namespace
}  // namespace varve::test
