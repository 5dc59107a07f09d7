// What a 4 KiB request costs: one request of the storage, one entry of the ring, no allocation.
// And what happens when there is no memory. Every allocation of this program is counted.
#include <cstddef>

#include <varve/check.h>
#include <varve/snapshot.h>

#include "base/buffer.h"
#include "base/bytes.h"
#include "format/header.h"
#include "format/l2_entry.h"
#include "format/qemu_img.h"
#include "image/ground.h"
#include "io/engine_implementation.h"
#include "sim/allocation_counter.h"
#include "sim/trace_storage.h"

namespace varve::test {
namespace {

std::uint64_t sum(const std::uint64_t (&counts)[kIoTagCount]) {
  std::uint64_t total = 0;
  for (const std::uint64_t count : counts) {
    total += count;
  }
  return total;
}

struct FourKilobytes : BlockRequest {
  FourKilobytes(BlockOperation what, std::uint64_t at, std::byte* memory) : vector{memory, 4096} {
    operation = what;
    offset = at;
    length = 4096;
    vectors = &vector;
    vector_count = 1;
    complete = [](BlockRequest& request, const Result<void>& result) {
      auto& self = static_cast<FourKilobytes&>(request);
      self.is_done = true;
      self.has_failed = !result.has_value();
    };
  }
  FourKilobytes(const FourKilobytes&) = delete;
  FourKilobytes& operator=(const FourKilobytes&) = delete;

  void run(Image& image) {
    is_done = false;
    image.submit(*this);
    while (!is_done) {
      image.engine().wait();
    }
  }
  IoVector vector;
  bool is_done = false;
  bool has_failed = false;
};

class HotPath : public ::testing::TestWithParam<GroundKind> {};
INSTANTIATE_TEST_SUITE_P(Grounds, HotPath,
                         ::testing::Values(GroundKind::uring, GroundKind::uring_direct,
                                           GroundKind::threads),
                         kNameGround);

TEST_P(HotPath, AnAllocatedClusterCostsOneRequestAndNoAllocation) {
  for (const bool extended : {false, true}) {
    Ground ground(GetParam());
    CreateOptions options;
    options.size_bytes = 8u << 20;
    options.extended_l2 = extended;
    ground.create(options);
    const std::unique_ptr<Image> image = ground.open(true);
    ASSERT_NE(image, nullptr);
    Buffer memory = std::move(*Buffer::allocate_zeroed(4u << 20));
    VARVE_ASSERT_OK(image->write(0, memory.bytes()));
    VARVE_ASSERT_OK(image->flush());
    for (int round = 0; round < 100; ++round) {
      const BlockOperation operation =
          round % 2 == 0 ? BlockOperation::write : BlockOperation::read;
      FourKilobytes request(operation, static_cast<std::uint64_t>(round) * 37 * 4096 % (4u << 20),
                            memory.data());
      const Image::Counters before = image->counters();
      const std::uint64_t calls = ground.engine().implementation().system_call_count();
      const std::uint64_t allocations = allocation_count.load();
      request.run(*image);
      const std::uint64_t allocated = allocation_count.load() - allocations;
      const Image::Counters& after = image->counters();
      ASSERT_FALSE(request.has_failed);
      if (round >= 2) {  // The first of a kind makes its operation.
        ASSERT_EQ(allocated, 0u) << "round " << round;
      }
      ASSERT_EQ(ground.engine().implementation().system_call_count() - calls, 1u);
      ASSERT_EQ(sum(after.writes) - sum(before.writes), round % 2 == 0 ? 1u : 0u);
      ASSERT_EQ(sum(after.reads) - sum(before.reads), round % 2 == 0 ? 0u : 1u);
    }
    VARVE_EXPECT_OK(image->close());
  }
}

TEST(HotPathCounter, SeesAllocations) {
  const std::uint64_t before = allocation_count.load();
  const auto memory = std::make_unique<std::vector<int>>(1000);
  EXPECT_GT(allocation_count.load(), before) << memory->size();
}

// Runs `body` again and again, each time with another of its allocations failing, until none does.
template <class Body>
void fail_each_allocation(Body body, std::int64_t step = 1) {
  for (std::int64_t index = 0; index < 2'000; index += step) {
    SCOPED_TRACE("allocation " + std::to_string(index));
    if (!body(index) || ::testing::Test::HasFailure()) {
      return;
    }
  }
  ADD_FAILURE() << "never enough memory";
}

// A table that could not be kept is not one that cannot be read: repairing does without the latter.
TEST(NoMemory, WhileOpeningIsAnError) {
  Ground ground(GroundKind::threads);
  CreateOptions options;
  options.size_bytes = 1u << 20;
  ground.create(options);
  {
    const auto image = ground.open(true);
    SnapshotCreateOptions snapshot;
    snapshot.name = "a name too long to be kept inside the string itself";
    VARVE_ASSERT_OK(create_snapshot(*image, snapshot));
    VARVE_EXPECT_OK(image->close());
  }
  for (const bool to_be_repaired : {false, true}) {
    OpenOptions open = ground.open_options(true);
    open.allow_corrupt = to_be_repaired;
    fail_each_allocation([&](std::int64_t index) {
      allocations_left = index;
      Result<std::unique_ptr<Image>> image = Image::open(ground.engine(), ground.path(), open);
      const bool was_spent = allocations_left.exchange(-1) < 0;
      if (!image) {
        EXPECT_EQ(image.error().code, ErrorCode::no_memory) << describe(image.error());
      } else {
        const auto report = check(**image);
        VARVE_EXPECT_OK(report);
        EXPECT_EQ(report->corruptions, 0u);
        VARVE_EXPECT_OK((*image)->close());
      }
      return was_spent;
    });
  }
}

// Repairing loads the tables anew when it has changed them.
TEST(NoMemory, WhileRepairingIsAnErrorAndTheNextRepairEnds) {
  Ground ground(GroundKind::threads);
  CreateOptions options;
  options.size_bytes = 1u << 20;
  ground.create(options);
  const ByteVector bytes = pattern(100'000, 1);
  {
    const auto image = ground.open(true);
    VARVE_EXPECT_OK(image->write(0, bytes));
    VARVE_EXPECT_OK(image->close());
  }
  const auto get = [&](std::uint64_t offset) {
    return load_be<std::uint64_t>(read_bytes(ground.path(), offset, 8), 0);
  };
  const std::uint64_t entry = get(get(offsetof(RawHeader, l1_offset))) & L2Entry::kOffsetMask;
  const auto damage = [&](std::uint64_t value) {
    std::vector<std::byte> raw(8);
    store_be(Bytes(raw), 0, value);
    patch_bytes(ground.path(), entry, raw);
  };
  const std::uint64_t sound = get(entry);
  OpenOptions open = ground.open_options(true);
  open.allow_corrupt = true;
  fail_each_allocation([&](std::int64_t index) {
    damage(sound | 0x10);
    bool was_spent = true;
    {
      const auto image = Image::open(ground.engine(), ground.path(), open);
      VARVE_EXPECT_OK(image);
      allocations_left = index;
      const auto report = repair(**image, Repair::all);
      was_spent = allocations_left.exchange(-1) < 0;
      if (!report) {
        EXPECT_EQ(report.error().code, ErrorCode::no_memory) << describe(report.error());
      }
      static_cast<void>((*image)->close());
    }
    const auto image = Image::open(ground.engine(), ground.path(), open);
    VARVE_EXPECT_OK(image);
    const auto report = repair(**image, Repair::all);
    VARVE_EXPECT_OK(report);
    EXPECT_EQ(report->after.corruptions + report->after.leaks, 0u);
    ByteVector found(bytes.size());
    VARVE_EXPECT_OK((*image)->read(0, found));
    EXPECT_TRUE(found == bytes);
    VARVE_EXPECT_OK((*image)->close());
    return was_spent;
  });
}

TEST(NoMemory, WhileCreatingIsAnError) {
  Ground ground(GroundKind::threads);
  CreateOptions options;
  options.size_bytes = 1u << 20;
  options.backing_name = "a name too long to be kept inside the string itself";
  options.backing_format = "raw";
  options.data_file_name = "a data file whose name is not kept inside the string itself either";
  fail_each_allocation([&](std::int64_t index) {
    allocations_left = index;
    const Result<void> created = create_image(ground.engine(), ground.path(), options);
    const bool was_spent = allocations_left.exchange(-1) < 0;
    if (!created) {
      EXPECT_EQ(created.error().code, ErrorCode::no_memory) << describe(created.error());
    }
    return was_spent;
  });
}

TEST(NoMemory, InARequestIsAnErrorAndTheImageGoesOn) {
  Ground ground(GroundKind::threads);
  const ByteVector bytes = pattern(300'000, 1);
  ByteVector found(bytes.size());
  const ByteVector compressible(65536, std::byte{6});
  fail_each_allocation([&](std::int64_t index) {
    CreateOptions options;
    options.size_bytes = 4u << 20;
    ground.create(options);
    std::unique_ptr<Image> image = ground.open(true);
    VARVE_EXPECT_OK(image->write_compressed(3u << 20, compressible));
    VARVE_EXPECT_OK(image->close());
    image = ground.open(true);
    if (image == nullptr) {
      return false;
    }
    allocations_left = index;
    const Result<void> written = image->write(1000, bytes);
    const Result<void> zeroed = image->write_zeroes(2u << 20, 70'000);
    // The bytes around it come out of a compressed cluster.
    const Result<void> changed =
        image->write((3u << 20) + 4096, std::span(compressible).first(4096));
    const Result<void> compressed = image->write_compressed((3u << 20) + 65536, compressible);
    const Result<void> flushed = image->flush();
    const bool was_spent = allocations_left.exchange(-1) < 0;
    for (const Result<void>& result : {written, zeroed, changed, compressed, flushed}) {
      if (!result) {
        EXPECT_EQ(result.error().code, ErrorCode::no_memory) << describe(result.error());
      }
    }
    VARVE_EXPECT_OK(image->write(1000, bytes));
    VARVE_EXPECT_OK(image->write_compressed((3u << 20) + 65536, compressible));
    VARVE_EXPECT_OK(image->flush());
    VARVE_EXPECT_OK(image->read(1000, found));
    EXPECT_TRUE(found == bytes);
    for (const std::uint64_t offset : {3u << 20, (3u << 20) + 65536}) {
      ByteVector cluster(65536);
      VARVE_EXPECT_OK(image->read(offset, cluster));
      EXPECT_TRUE(cluster == compressible) << offset;
    }
    VARVE_EXPECT_OK(image->close());
    return was_spent;
  });
  expect_qemu_clean(ground.path());
}

}  // namespace
}  // namespace varve::test
