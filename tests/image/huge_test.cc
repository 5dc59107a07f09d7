// Size of the disk is not size in memory: only the tables' heads are held.
#include <fstream>

#include <malloc.h>
#include <varve/check.h>
#include <varve/snapshot.h>

#include "image/ground.h"
#include "sim/sim_disk.h"
#include "sim/trace_storage.h"

namespace varve::test {
namespace {

constexpr std::uint64_t kTiB = std::uint64_t{1} << 40;
constexpr std::uint64_t kGrowthMax = 4u << 20;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kIsSanitized = true;
#elif defined(__has_feature)
constexpr bool kIsSanitized = __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
#else
constexpr bool kIsSanitized = false;
#endif

// What malloc has given out. Sanitizers keep no such account: there nothing is measured.
std::uint64_t memory_held() {
  if (kIsSanitized) {
    return 0;
  }
  const struct mallinfo2 info = ::mallinfo2();
  return info.uordblks + info.hblkhd;
}

CreateOptions huge(std::uint64_t size) {
  CreateOptions options;
  options.size_bytes = size;
  return options;
}

TEST(HugeDisk, IsCreatedAndOpenedInLittleMemory) {
  Ground ground(GroundKind::uring);
  const std::uint64_t before = memory_held();
  ground.create(huge(64 * kTiB));
  EXPECT_LE(memory_held(), before + kGrowthMax) << "after creating";
  const std::unique_ptr<Image> image = ground.open(true);
  ASSERT_NE(image, nullptr);
  EXPECT_LE(memory_held(), before + kGrowthMax) << "after opening";
  EXPECT_EQ(image->size(), 64 * kTiB);
  const ByteVector bytes = pattern(8192, 1);
  for (const std::uint64_t offset :
       {std::uint64_t{0}, 5 * kTiB + 3, 32 * kTiB - 4096, 64 * kTiB - 8192}) {
    VARVE_EXPECT_OK(image->write(offset, bytes));
    ByteVector found(bytes.size());
    VARVE_EXPECT_OK(image->read(offset, found));
    EXPECT_TRUE(found == bytes) << offset;
  }
  VARVE_EXPECT_OK(image->write_zeroes(kTiB, 1u << 30, true));
  VARVE_EXPECT_OK(image->discard(2 * kTiB, 1u << 30));
  VARVE_EXPECT_OK(image->close());
  expect_qemu_clean(ground.path());
}

TEST(HugeDisk, OfOneTebibyteIsOpenedByFewReads) {
  const std::unique_ptr<Engine> engine = make_engine(AioBackend::threads, 256, 0);
  sim::SimDisk disk;
  {
    sim::SimStorage storage(*engine, disk);
    VARVE_ASSERT_OK(create_image_in(storage, nullptr, huge(kTiB)));
  }
  sim::Trace trace;
  auto storage =
      std::make_unique<sim::TraceStorage>(std::make_unique<sim::SimStorage>(*engine, disk), trace);
  const std::uint64_t before = memory_held();
  auto image = Image::open(std::move(storage), "", {});
  ASSERT_TRUE(image.has_value()) << describe(image.error());
  EXPECT_LE(memory_held(), before + kGrowthMax) << "before the first request";
  std::uint64_t read_bytes = 0;
  for (const sim::TraceEntry& entry : trace.entries()) {
    read_bytes += entry.operation == StorageOperation::read ? entry.length : 0;
  }
  EXPECT_LE(trace.entries().size(), 6u) << trace.text();
  // The header twice, 2,048 L1 entries, one cluster of refcount table.
  EXPECT_LE(read_bytes, 200'000u) << trace.text();
  EXPECT_EQ(trace.count(StorageOperation::write), 0u);
  VARVE_EXPECT_OK((*image)->close());
}

// Every table exists: 2,048 of them at 1 TiB. Sanitized, a disk of 64 GiB has to do.
TEST(HugeDisk, WithAllItsTablesIsSnapshottedAppliedAndDeleted) {
  Ground ground(GroundKind::uring);
  CreateOptions options = huge(kIsSanitized ? kTiB / 16 : kTiB);
  options.preallocation = Preallocation::metadata;
  ground.create(options);
  const std::unique_ptr<Image> image = ground.open(true);
  ASSERT_NE(image, nullptr);
  const std::uint64_t places[] = {0, options.size_bytes / 3, options.size_bytes - 65536};
  const auto write_all = [&](unsigned seed) {
    for (const std::uint64_t offset : places) {
      VARVE_ASSERT_OK(image->write(offset, pattern(65536, seed)));
    }
  };
  const auto expect_all = [&](unsigned seed) {
    ByteVector found(65536);
    for (const std::uint64_t offset : places) {
      VARVE_ASSERT_OK(image->read(offset, found));
      EXPECT_TRUE(found == pattern(65536, seed)) << offset;
    }
  };
  write_all(1);
  SnapshotCreateOptions create;
  create.name = "kept";
  VARVE_ASSERT_OK(create_snapshot(*image, create));
  write_all(2);
  expect_all(2);
  VARVE_ASSERT_OK(apply_snapshot(*image, 0));
  expect_all(1);
  write_all(3);
  VARVE_ASSERT_OK(delete_snapshot(*image, 0));
  expect_all(3);
  const Result<CheckReport> report = check(*image);
  ASSERT_TRUE(report.has_value()) << describe(report.error());
  EXPECT_TRUE(report->findings.empty());
  VARVE_EXPECT_OK(image->close());
  expect_qemu_clean(ground.path());
}

// History: 33304ec9fa.
TEST(HugeDisk, LargestOfEveryClusterSizeWorksAtItsEnds) {
  Ground ground(GroundKind::uring);
  for (std::uint32_t bits = 9; bits <= 21; bits += 3) {
    SCOPED_TRACE(bits);
    CreateOptions options;
    options.cluster_bytes = 1u << bits;
    const std::uint64_t limit = (std::uint64_t{32} << 20) / 8 << (2 * bits - 3);
    options.size_bytes = std::min(limit, std::uint64_t{1} << 55);
    ground.create(options);
    const std::unique_ptr<Image> image = ground.open(true);
    ASSERT_NE(image, nullptr);
    const ByteVector bytes = pattern(3000, bits);
    VARVE_EXPECT_OK(image->write(options.size_bytes - 3000, bytes));
    ByteVector found(3000);
    VARVE_EXPECT_OK(image->read(options.size_bytes - 3000, found));
    EXPECT_TRUE(found == bytes);
    VARVE_EXPECT_OK(image->close());
    options.size_bytes = limit + (1u << bits);
    const Result<void> larger = validate(options);
    EXPECT_FALSE(larger.has_value() && bits < 21);
  }
}

}  // namespace
}  // namespace varve::test
