// Goal: what an open image, or one that is opened, cannot do is refused by name, in every state it
// can be in, and leaves it as it was.
#include <cstddef>

#include <varve/check.h>
#include <varve/snapshot.h>
#include <varve/snapshot_operation.h>

#include "base/bytes.h"
#include "format/header.h"
#include "format/l1_entry.h"
#include "image/ground.h"
#include "sim/faulty_storage.h"
#include "sim/sim_disk.h"

namespace varve::test {
namespace {

constexpr std::uint64_t kDiskBytes = 1 << 20;

class Refusals : public ::testing::Test, protected FileOpener {
 protected:
  Refusals() : engine_(make_engine(AioBackend::threads)) {}

  Result<std::unique_ptr<Storage>> open(Engine&, const std::string& name,
                                        const FileOptions&) override {
    opened_.push_back(name);
    return storage_of(name);
  }
  std::unique_ptr<Storage> storage_of(const std::string& name) {
    return std::make_unique<sim::FaultyStorage>(
        std::make_unique<sim::SimStorage>(*engine_, disks_[name]), plan_);
  }
  static CreateOptions small() {
    CreateOptions options;
    options.cluster_bytes = 4096;
    options.size_bytes = kDiskBytes;
    return options;
  }
  void make(const CreateOptions& options, const std::string& name = "/disk") {
    const auto storage = storage_of(name);
    const auto data = options.data_file_name.empty() ? nullptr : storage_of("/data");
    VARVE_ASSERT_OK(create_image_in(*storage, data.get(), options));
  }
  OpenOptions options(bool writable = true) {
    OpenOptions options;
    options.writable = writable;
    options.opener = this;
    return options;
  }
  Result<std::unique_ptr<Image>> try_open(const OpenOptions& options,
                                          const std::string& name = "/disk") {
    return Image::open(*engine_, name, options);
  }
  std::unique_ptr<Image> open_image(const OpenOptions& options) {
    auto image = try_open(options);
    EXPECT_TRUE(image.has_value()) << describe(image.error());
    return image ? std::move(*image) : nullptr;
  }
  template <class Integer>
  void put(std::uint64_t offset, Integer value) {
    std::byte bytes[sizeof(Integer)];
    store_be(Bytes(bytes), 0, value);
    disks_["/disk"].content.write(offset, bytes);
  }
  std::uint64_t get(std::uint64_t offset) {
    std::byte bytes[8];
    disks_["/disk"].content.read(offset, bytes);
    return load_be<std::uint64_t>(ConstBytes(bytes), 0);
  }
  static ByteVector filled(std::size_t size, int value) {
    return ByteVector(size, static_cast<std::byte>(value));
  }

  std::unique_ptr<Engine> engine_;
  std::map<std::string, sim::SimDisk> disks_;
  sim::FaultPlan plan_;
  std::vector<std::string> opened_;
};

TEST_F(Refusals, OfGrowingLeaveTheSize) {
  make(small());
  const auto image = open_image(options());
  expect_error(image->grow(kDiskBytes / 2), ErrorCode::unsupported);
  const Result<void> too_large = image->grow(std::uint64_t{1} << 50);
  expect_error(too_large, ErrorCode::out_of_range);
  EXPECT_LT(too_large.error().limit, std::uint64_t{1} << 50);
  VARVE_EXPECT_OK(image->grow(kDiskBytes));
  EXPECT_EQ(image->size(), kDiskBytes);
  image->pause();
  expect_error(image->grow(2 * kDiskBytes), ErrorCode::busy);
  image->resume();
  VARVE_EXPECT_OK(image->close());
  expect_error(image->grow(2 * kDiskBytes), ErrorCode::invalid_argument);
  VARVE_EXPECT_OK(image->close());
  const auto reader = open_image(options(false));
  EXPECT_EQ(reader->size(), kDiskBytes);
  expect_error(reader->grow(2 * kDiskBytes), ErrorCode::read_only);
  VARVE_EXPECT_OK(reader->close());
}

TEST_F(Refusals, OfGrowingWhileItGrows) {
  make(small());
  const auto image = open_image(options());
  struct Asked {
    BlockRequest request;
    Image* image = nullptr;
    std::optional<Result<void>> answer;
  } asked;
  asked.image = image.get();
  asked.request.operation = BlockOperation::write_zeroes;
  asked.request.length = 4096;
  asked.request.owner = &asked;
  asked.request.complete = [](BlockRequest& request, const Result<void>&) {
    Asked& self = *static_cast<Asked*>(request.owner);
    self.answer = self.image->grow(4 * kDiskBytes);
  };
  VARVE_EXPECT_OK(image->write(0, filled(4096, 1)));
  image->submit(asked.request);
  VARVE_EXPECT_OK(image->grow(2 * kDiskBytes));
  ASSERT_TRUE(asked.answer.has_value());
  expect_error(*asked.answer, ErrorCode::busy);
  EXPECT_EQ(image->size(), 2 * kDiskBytes);
  VARVE_EXPECT_OK(image->close());
}

// Other programs make empty disks without an L1 table.
TEST_F(Refusals, OfNothingWhereThereIsNoL1Yet) {
  CreateOptions empty = small();
  empty.size_bytes = 0;
  make(empty);
  put<std::uint32_t>(offsetof(RawHeader, l1_entries), 0);
  put<std::uint64_t>(offsetof(RawHeader, l1_offset), 0);
  const auto image = open_image(options());
  const auto report = check(*image);
  VARVE_ASSERT_OK(report);
  EXPECT_EQ(report->corruptions, 0u);
  VARVE_EXPECT_OK(image->grow(kDiskBytes));
  VARVE_EXPECT_OK(image->write(0, filled(4096, 5)));
  VARVE_EXPECT_OK(image->close());
  const auto again = open_image(options());
  ByteVector bytes(4096);
  VARVE_EXPECT_OK(again->read(0, bytes));
  EXPECT_EQ(bytes, filled(4096, 5));
  VARVE_EXPECT_OK(again->close());
}

TEST_F(Refusals, OfGuestDataWithoutItsFile) {
  CreateOptions with_data = small();
  with_data.data_file_name = "data";
  make(with_data);
  OpenOptions without = options();
  without.open_data_file = false;
  const auto image = open_image(without);
  ByteVector bytes(512);
  expect_error(image->read(0, bytes), ErrorCode::unsupported);
  expect_error(image->write(0, bytes), ErrorCode::unsupported);
  VARVE_EXPECT_OK(image->flush());
  VARVE_EXPECT_OK(image->close());
  // A name is needed where the bit says that there is a file.
  const auto whole = open_image(options());
  VARVE_EXPECT_OK(whole->write(0, bytes));
  expect_error(whole->write_compressed(0, filled(4096, 1)), ErrorCode::unsupported);
  VARVE_EXPECT_OK(whole->close());
  make(small());
  put<std::uint64_t>(offsetof(RawHeader, incompatible_features), kIncompatibleDataFile);
  EXPECT_FALSE(try_open(options()).has_value());
}

TEST_F(Refusals, NameTheRequestThatCannotBe) {
  make(small());
  const auto image = open_image(options());
  EXPECT_EQ(image->status(kDiskBytes, 512).error().code, ErrorCode::out_of_range);
  // A flush is of everything, whatever length it names.
  struct Asked {
    BlockRequest request;
    std::optional<Result<void>> answer;
  } asked;
  asked.request.operation = BlockOperation::flush;
  asked.request.length = 512;
  asked.request.owner = &asked;
  asked.request.complete = [](BlockRequest& request, const Result<void>& result) {
    static_cast<Asked*>(request.owner)->answer = result;
  };
  image->submit(asked.request);
  while (!asked.answer) {
    engine_->wait();
  }
  VARVE_EXPECT_OK(*asked.answer);
  VARVE_EXPECT_OK(image->close());
}

TEST_F(Refusals, OfAnotherImageInItsPlace) {
  CreateOptions above = small();
  above.backing_name = "below";
  above.backing_format = "raw";
  disks_["/below"].content.resize(kDiskBytes);
  const auto change = [](auto body) {
    CreateOptions changed = small();
    changed.backing_name = "below";
    changed.backing_format = "raw";
    body(changed);
    return changed;
  };
  const CreateOptions others[] = {
      change([](CreateOptions& o) { o.cluster_bytes = 65536; }),
      change([](CreateOptions& o) {
        o.cluster_bytes = 16384;
        o.extended_l2 = true;
      }),
      change([](CreateOptions& o) { o.compression = Compression::zstd; }),
      change([](CreateOptions& o) { o.backing_name = "elsewhere"; }),
      change([](CreateOptions& o) { o.backing_format = "qcow2"; }),
      change([](CreateOptions& o) { o.data_file_name = "data"; }),
  };
  for (const CreateOptions& other : others) {
    CreateOptions first = above;
    first.cluster_bytes = other.extended_l2 ? other.cluster_bytes : first.cluster_bytes;
    make(first);
    OpenOptions unlocked = options();
    unlocked.lock = false;
    const auto image = open_image(unlocked);
    VARVE_EXPECT_OK(image->write(0, filled(4096, 3)));
    VARVE_EXPECT_OK(image->release());
    const sim::SparseBytes kept = disks_["/disk"].content.clone();
    make(other);
    expect_error(image->reacquire(), ErrorCode::unsupported);
    EXPECT_TRUE(image->is_released());
    disks_["/disk"].content = kept.clone();
    // Paused meanwhile: it is back, and still waits.
    image->pause();
    image->resume();
    VARVE_EXPECT_OK(image->reacquire());
    ByteVector bytes(4096);
    VARVE_EXPECT_OK(image->read(0, bytes));
    EXPECT_EQ(bytes, filled(4096, 3));
    VARVE_EXPECT_OK(image->close());
  }
}

// What completes while a release waits may begin something that keeps it from being released.
TEST_F(Refusals, OfAReleaseUnderWhatBeganMeanwhile) {
  make(small());
  const auto image = open_image(options());
  struct Asked {
    BlockRequest request;
    Image* image = nullptr;
    std::unique_ptr<SnapshotOperation> operation;
  } asked;
  asked.image = image.get();
  asked.request.operation = BlockOperation::write_zeroes;
  asked.request.length = 4096;
  asked.request.owner = &asked;
  asked.request.complete = [](BlockRequest& request, const Result<void>&) {
    Asked& self = *static_cast<Asked*>(request.owner);
    OperationOptions stepwise;
    stepwise.stepwise = true;
    auto begun = start_create(*self.image, {}, stepwise);
    if (begun) {
      self.operation = std::move(*begun);
    }
  };
  VARVE_EXPECT_OK(image->write(0, filled(4096, 1)));
  image->submit(asked.request);
  const Result<void> released = image->release();
  if (asked.operation != nullptr) {
    expect_error(released, ErrorCode::busy);
    EXPECT_FALSE(image->is_released());
    asked.operation.reset();
  }
  VARVE_EXPECT_OK(image->close());
}

TEST_F(Refusals, OfOpeningNameTheReason) {
  make(small());
  OpenOptions both = options();
  both.force_share = true;
  EXPECT_EQ(try_open(both).error().code, ErrorCode::invalid_argument);
  disks_["/disk"].capabilities.read_only = true;
  EXPECT_EQ(try_open(options()).error().code, ErrorCode::read_only);
  disks_["/disk"].capabilities.read_only = false;
  // Relative to the folder the image stands in, the root's as well.
  CreateOptions above = small();
  above.backing_name = "below";
  above.backing_format = "raw";
  make(above);
  VARVE_EXPECT_OK(open_image(options())->close());
  EXPECT_EQ(opened_.back().substr(opened_.back().rfind('/')), "/below");
  EXPECT_EQ(Image::open(storage_of("/disk"), "", options()).error().code,
            ErrorCode::invalid_argument);
}

TEST_F(Refusals, OfEveryBudgetThatIsTooSmallNameIt) {
  CreateOptions with_tables = small();
  with_tables.cluster_bytes = 512;
  make(with_tables);
  {
    const auto image = open_image(options());
    VARVE_EXPECT_OK(image->write(0, filled(200 * 512, 1)));
    SnapshotCreateOptions snapshot;
    snapshot.name = std::string(300, 's');
    for (unsigned i = 0; i < 5; ++i) {
      VARVE_ASSERT_OK(create_snapshot(*image, snapshot));
    }
    VARVE_EXPECT_OK(image->close());
  }
  const auto open_on = [&](const Budget& budget, bool is_untrusted, bool for_repair) {
    OpenOptions on = options(for_repair);
    on.l2_cache_bytes = on.refcount_cache_bytes = 1024;
    on.budget = budget;
    on.untrusted = is_untrusted;
    on.allow_corrupt = for_repair;
    auto image = try_open(on);
    Result<void> answer = image ? Result<void>() : image.error();
    if (image && for_repair) {
      answer = (*image)->write(0, filled(512, 1));
    }
    if (image) {
      static_cast<void>((*image)->close());
    }
    return answer;
  };
  for (const bool is_untrusted : {false, true}) {
    for (const bool for_repair : {false, true}) {
      if (is_untrusted && for_repair) {
        continue;
      }
      unsigned refused = 0;
      Budget budget;
      const std::uint64_t step = is_untrusted ? 64 * kKiB : 256;
      for (budget.memory_bytes = 0; budget.memory_bytes < 16u << 20; budget.memory_bytes += step) {
        const Result<void> answer = open_on(budget, is_untrusted, for_repair);
        if (answer) {
          break;
        }
        expect_error(answer, ErrorCode::over_budget);
        ++refused;
      }
      EXPECT_GT(refused, 3u);
      EXPECT_LT(budget.memory_bytes, 16u << 20);
      refused = 0;
      budget = Budget();
      for (budget.steps = 0; budget.steps < 10'000'000; budget.steps += budget.steps / 8 + 64) {
        const Result<void> answer = open_on(budget, is_untrusted, for_repair);
        if (answer) {
          break;
        }
        expect_error(answer, ErrorCode::over_budget);
        ++refused;
      }
      EXPECT_LT(budget.steps, 10'000'000u);
    }
  }
}

// Counts are made anew for so many clusters at a time; files have more.
TEST_F(Refusals, OfNothingWhereAFileIsSettledPartByPart) {
  CreateOptions with_many = small();
  with_many.cluster_bytes = 512;
  make(with_many);
  disks_["/disk"].content.resize(std::uint64_t{9} << 30);
  put<std::uint64_t>(offsetof(RawHeader, incompatible_features), kIncompatibleDirty);
  const auto image = open_image(options());
  VARVE_EXPECT_OK(image->write(0, filled(512, 1)));
  const auto report = check(*image);
  VARVE_ASSERT_OK(report);
  EXPECT_EQ(report->corruptions, 0u);
  VARVE_EXPECT_OK(image->close());
}

// Making the counts anew finds that it would write over a table: the mark that says so is on its
// way when opening has failed already.
TEST_F(Refusals, OfADirtyImageWithTablesOverTablesEndWhenItsMarkIsWritten) {
  CreateOptions many = small();
  many.cluster_bytes = 512;
  many.refcount_bits = 64;
  many.size_bytes = 8 << 20;
  unsigned marked = 0;
  for (unsigned slot = 0; slot < 2; ++slot) {
    for (unsigned target = 0; target < 5; ++target) {
      make(many);
      {
        const auto image = open_image(options());
        VARVE_EXPECT_OK(image->write(0, filled(40 * 512, 1)));
        VARVE_EXPECT_OK(image->close());
      }
      const std::uint64_t l1 = get(offsetof(RawHeader, l1_offset));
      const std::uint64_t refcounts = get(offsetof(RawHeader, refcount_table_offset));
      const std::uint64_t targets[] = {l1, refcounts, get(refcounts), l1 + 512,
                                       get(l1) & L1Entry::kOffsetMask};
      put<std::uint64_t>(l1 + slot * 8, targets[target] | std::uint64_t{1} << 63);
      put<std::uint64_t>(offsetof(RawHeader, incompatible_features), kIncompatibleDirty);
      const auto opened = try_open(options());
      if (!opened) {
        EXPECT_EQ(opened.error().code, ErrorCode::corrupt) << describe(opened.error());
        marked += (get(offsetof(RawHeader, incompatible_features)) & kIncompatibleCorrupt) != 0;
      } else {
        static_cast<void>((*opened)->close());
      }
    }
  }
  EXPECT_GT(marked, 0u);
}

// More references than 32 bits, let alone a refcount, can tell.
TEST_F(Refusals, OfMoreReferencesThanCountsHold) {
  constexpr std::uint32_t kWide = 65536;
  constexpr std::uint32_t kSlots = (1u << 19) + 1;  // Times 8192 entries: 2^32 and some.
  CreateOptions sparse = small();
  sparse.cluster_bytes = kWide;
  make(sparse);
  constexpr std::uint64_t kTable = 16 * kWide;
  constexpr std::uint64_t kData = 17 * kWide;
  constexpr std::uint64_t kL1 = 32 * kWide;
  sim::SparseBytes& file = disks_["/disk"].content;
  ByteVector entries(kWide);
  for (std::size_t at = 0; at < entries.size(); at += 8) {
    store_be(Bytes(entries), at, kData);
  }
  file.write(kTable, entries);
  ByteVector slots(std::size_t{kSlots} * 8);
  for (std::size_t at = 0; at < slots.size(); at += 8) {
    store_be(Bytes(slots), at, kTable);
  }
  file.write(kL1, slots);
  file.resize(kL1 + 80 * kWide);
  put<std::uint32_t>(offsetof(RawHeader, l1_entries), kSlots);
  put<std::uint64_t>(offsetof(RawHeader, l1_offset), kL1);
  put<std::uint64_t>(offsetof(RawHeader, incompatible_features), kIncompatibleDirty);
  const auto opened = try_open(options());
  ASSERT_FALSE(opened.has_value());
  EXPECT_EQ(opened.error().code, ErrorCode::corrupt) << describe(opened.error());
  EXPECT_EQ(opened.error().corruption, Corruption::refcount_too_low);
  // Repairing may look at it nevertheless.
  OpenOptions repairing = options();
  repairing.allow_corrupt = true;
  const auto image = open_image(repairing);
  ASSERT_NE(image, nullptr);
  static_cast<void>(image->close());
}

// A snapshot table behind the end of the file is lost, and the rest is repaired.
TEST_F(Refusals, OfSnapshotsThatAreNotThereEndWithARepair) {
  make(small());
  {
    const auto image = open_image(options());
    VARVE_EXPECT_OK(image->write(0, filled(4096, 9)));
    VARVE_ASSERT_OK(create_snapshot(*image, {}));
    VARVE_EXPECT_OK(image->close());
  }
  put<std::uint64_t>(offsetof(RawHeader, snapshot_table_offset), std::uint64_t{1} << 30);
  EXPECT_EQ(try_open(options()).error().code, ErrorCode::corrupt);
  OpenOptions repairing = options();
  repairing.allow_corrupt = true;
  {
    const auto image = open_image(repairing);
    ASSERT_NE(image, nullptr);
    CheckOptions check_options;
    unsigned losses = 0;
    check_options.about_to_lose = [&](const Loss&) { ++losses; };
    const auto report = repair(*image, Repair::all, check_options);
    VARVE_ASSERT_OK(report);
    EXPECT_EQ(losses, 1u);
    EXPECT_EQ(report->after.corruptions + report->after.leaks, 0u);
    VARVE_EXPECT_OK(image->close());
  }
  const auto image = open_image(options());
  ASSERT_NE(image, nullptr);
  ByteVector bytes(4096);
  VARVE_EXPECT_OK(image->read(0, bytes));
  EXPECT_EQ(bytes, filled(4096, 9));
  VARVE_EXPECT_OK(image->close());
}

}  // namespace
}  // namespace varve::test
