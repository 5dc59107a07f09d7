// Goal: a raw disk answers like any image: what it cannot do by name, what is queued in time, what
// lies behind its end with zeros; and a growth that fails leaves it as large as it was.
#include <vector>

#include "image/ground.h"
#include "sim/faulty_storage.h"
#include "sim/sim_disk.h"

namespace varve::test {
namespace {

constexpr std::uint64_t kSize = 8 * 4096 + 100;  // Ends inside a sector.

class Raw : public ::testing::Test {
 protected:
  Raw() : engine_(make_engine(AioBackend::threads)) { disk_.content.resize(kSize); }

  std::unique_ptr<Image> open(bool writable, DiscardMode discard = DiscardMode::unmap,
                              unsigned operations_max = 8) {
    OpenOptions options;
    options.format = Format::raw;
    options.writable = writable;
    options.discard = discard;
    options.operations_max = operations_max;
    auto image = Image::open(std::make_unique<sim::FaultyStorage>(
                                 std::make_unique<sim::SimStorage>(*engine_, disk_), plan_),
                             "/", options);
    EXPECT_TRUE(image.has_value()) << describe(image.error());
    return image ? std::move(*image) : nullptr;
  }
  static ByteVector filled(std::size_t size, int value) {
    return ByteVector(size, static_cast<std::byte>(value));
  }
  void fail(StorageOperation operation) {
    sim::FaultRule rule;
    rule.operation = operation;
    rule.os_errno = ENOSPC;
    rule.from_then_on = true;
    plan_.add(rule);
  }

  std::unique_ptr<Engine> engine_;
  sim::SimDisk disk_;
  sim::FaultPlan plan_;
};

TEST_F(Raw, EndsInZerosInsideItsLastSector) {
  const auto image = open(true);
  ASSERT_EQ(image->size(), 65u * 512);
  VARVE_EXPECT_OK(image->write(0, filled(4096, 7)));
  ByteVector end = filled(512, 1);
  VARVE_EXPECT_OK(image->read(64 * 512, end));
  EXPECT_EQ(end, filled(512, 0));
  const auto inside = image->status(64 * 512, 512);
  ASSERT_TRUE(inside.has_value());
  EXPECT_EQ(inside->length, kSize - 64u * 512);
  const auto behind = image->status(kSize, 512);
  ASSERT_TRUE(behind.has_value());
  EXPECT_TRUE(behind->zero);
  EXPECT_FALSE(behind->has_host_offset);
  EXPECT_EQ(image->facts().file_size, kSize);
  VARVE_EXPECT_OK(image->close());
  VARVE_EXPECT_OK(image->close());
}

TEST_F(Raw, RefusesByNameWhatItCannotDo) {
  const auto image = open(true);
  expect_error(image->write_compressed(0, filled(512, 1)), ErrorCode::unsupported);
  expect_error(image->write_compressed(kSize, filled(512, 1)), ErrorCode::out_of_range);
  expect_error(image->write(image->size(), filled(512, 1)), ErrorCode::out_of_range);
  expect_error(image->grow(4096), ErrorCode::unsupported);
  expect_error(image->grow(1 << 20, Preallocation::metadata), ErrorCode::unsupported);
  VARVE_EXPECT_OK(image->close());
  expect_error(image->grow(1 << 20), ErrorCode::invalid_argument);
  const auto reader = open(false);
  expect_error(reader->write(0, filled(512, 1)), ErrorCode::read_only);
  expect_error(reader->discard(0, 512), ErrorCode::read_only);
  expect_error(reader->grow(1 << 20), ErrorCode::read_only);
  EXPECT_EQ(disk_.content.size(), kSize);
  VARVE_EXPECT_OK(reader->flush());
  VARVE_EXPECT_OK(reader->close());
}

TEST_F(Raw, DiscardsWhereThatIsWanted) {
  for (const bool is_wanted : {true, false}) {
    for (const bool can_discard : {true, false}) {
      disk_.capabilities.can_discard = can_discard;
      const auto image = open(true, is_wanted ? DiscardMode::unmap : DiscardMode::ignore);
      VARVE_EXPECT_OK(image->write(0, filled(4096, 7)));
      VARVE_EXPECT_OK(image->discard(0, 4096));
      VARVE_EXPECT_OK(image->discard(0, 0));
      ByteVector bytes = filled(4096, 1);
      VARVE_EXPECT_OK(image->read(0, bytes));
      EXPECT_EQ(bytes, filled(4096, is_wanted && can_discard ? 0 : 7));
      VARVE_EXPECT_OK(image->write_zeroes(0, 4096));
      VARVE_EXPECT_OK(image->read(0, bytes));
      EXPECT_EQ(bytes, filled(4096, 0));
      VARVE_EXPECT_OK(image->close());
    }
  }
}

// More requests than slots: the others wait, and closing waits for all.
TEST_F(Raw, AnswersEveryRequestOfAQueueBeforeItCloses) {
  const auto image = open(true, DiscardMode::unmap, 2);
  struct Asked {
    BlockRequest request;
    IoVector vector;
    ByteVector bytes;
    bool is_done = false;
  };
  std::vector<Asked> asked(7);
  for (std::size_t i = 0; i < asked.size(); ++i) {
    Asked& one = asked[i];
    one.bytes = filled(512, static_cast<int>(i) + 1);
    one.vector = {one.bytes.data(), one.bytes.size()};
    one.request.operation = i == 3 ? BlockOperation::flush : BlockOperation::write;
    one.request.offset = i * 512;
    if (i != 3) {
      one.request.length = 512;
      one.request.vectors = &one.vector;
      one.request.vector_count = 1;
    }
    one.request.owner = &one;
    one.request.complete = [](BlockRequest& request, const Result<void>& result) {
      VARVE_EXPECT_OK(result);
      static_cast<Asked*>(request.owner)->is_done = true;
    };
    image->submit(one.request);
  }
  VARVE_EXPECT_OK(image->close());
  for (const Asked& one : asked) {
    EXPECT_TRUE(one.is_done);
  }
  ByteVector bytes = filled(512, 0);
  disk_.content.read(6 * 512, bytes);
  EXPECT_EQ(bytes, filled(512, 7));
}

TEST_F(Raw, GrowsToZerosOfEveryKind) {
  std::uint64_t size = kSize;
  for (const Preallocation kind :
       {Preallocation::off, Preallocation::falloc, Preallocation::full}) {
    const auto image = open(true);
    size += 9u << 20;
    VARVE_EXPECT_OK(image->grow(size, kind));
    EXPECT_EQ(image->size(), (size + 511) / 512 * 512);
    VARVE_EXPECT_OK(image->grow(image->size(), kind));
    ByteVector bytes = filled(512, 1);
    VARVE_EXPECT_OK(image->read(image->size() - 512, bytes));
    EXPECT_EQ(bytes, filled(512, 0));
    VARVE_EXPECT_OK(image->close());
    size = disk_.content.size();
  }
}

TEST_F(Raw, StaysAsLargeAsItWasWhereGrowingFails) {
  const auto image = open(true);
  fail(StorageOperation::resize);
  expect_error(image->grow(1 << 20), ErrorCode::no_space);
  EXPECT_EQ(disk_.content.size(), kSize);
  plan_.lift();
  fail(StorageOperation::allocate);
  expect_error(image->grow(1 << 20, Preallocation::falloc), ErrorCode::no_space);
  EXPECT_EQ(disk_.content.size(), kSize);
  plan_.lift();
  fail(StorageOperation::write);
  expect_error(image->grow(1 << 20, Preallocation::full), ErrorCode::no_space);
  EXPECT_EQ(disk_.content.size(), kSize);
  plan_.lift();
  VARVE_EXPECT_OK(image->grow(1 << 20, Preallocation::full));
  VARVE_EXPECT_OK(image->close());
}

}  // namespace
}  // namespace varve::test
