// Goal: what an open image, or one that is opened, cannot do is refused by name, in every state it
// can be in, and leaves it as it was.
#include <cstddef>

#include <varve/check.h>
#include <varve/snapshot.h>
#include <varve/snapshot_operation.h>

#include "base/failure.h"
#include "format/header.h"
#include "format/l1_entry.h"
#include "format/snapshot_table.h"
#include "image/simulated_disks.h"
#include "sim/random.h"

namespace varve::test {
namespace {

class Refusals : public SimulatedDisks {
 protected:
  // A storage that somebody else has locked.
  class Locked final : public sim::DecoratorStorage {
   public:
    explicit Locked(std::unique_ptr<Storage> inner) : DecoratorStorage(std::move(inner)) {}
    void submit(StorageRequest& request) noexcept override { forward(request); }
    [[nodiscard]] Result<void> lock(bool, bool) noexcept override {
      return failure(ErrorCode::busy, "somebody else has it");
    }
  };
  Result<std::unique_ptr<Storage>> open(Engine& engine, const std::string& name,
                                        const FileOptions& file) override {
    auto storage = SimulatedDisks::open(engine, name, file);
    if (storage && !locked_.empty() && name.ends_with(locked_)) {
      return std::unique_ptr<Storage>(std::make_unique<Locked>(std::move(*storage)));
    }
    return storage;
  }
  // The disk in this folder.
  Result<void> open_error(const std::string& folder, const OpenOptions& options) {
    auto storage = open(*engine_, "/disk", {});
    const auto image = Image::open(std::move(*storage), folder, options);
    return image ? Result<void>() : image.error();
  }
  // An image with tables of every kind, and five snapshots.
  void make_with_tables() {
    CreateOptions with_tables = small();
    with_tables.cluster_bytes = 512;
    make(with_tables);
    const auto image = open_image(options());
    VARVE_EXPECT_OK(image->write(0, filled(200 * 512, 1)));
    SnapshotCreateOptions snapshot;
    snapshot.name = std::string(300, 's');
    for (unsigned i = 0; i < 5; ++i) {
      VARVE_ASSERT_OK(create_snapshot(*image, snapshot));
    }
    VARVE_EXPECT_OK(image->close());
  }
  // Opening to repair takes more memory than a budget of nothing, and says so as often.
  void expect_memory_refused(unsigned least) {
    OpenOptions on = options();
    on.l2_cache_bytes = on.refcount_cache_bytes = 1024;
    on.allow_corrupt = true;
    Budget budget;
    unsigned refused = 0;
    for (budget.memory_bytes = 0; budget.memory_bytes < 16u << 20; budget.memory_bytes += 256) {
      on.budget = budget;
      const Result<void> answer = open_error("/", on);
      if (answer) {
        break;
      }
      expect_error(answer, ErrorCode::over_budget);
      ++refused;
    }
    EXPECT_GE(refused, least);
    EXPECT_LT(budget.memory_bytes, 16u << 20);
  }
  std::string locked_;
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
    std::optional<Result<void>> released;
  } asked;
  asked.image = image.get();
  asked.request.operation = BlockOperation::write_zeroes;
  asked.request.length = 4096;
  asked.request.owner = &asked;
  asked.request.complete = [](BlockRequest& request, const Result<void>&) {
    Asked& self = *static_cast<Asked*>(request.owner);
    self.answer = self.image->grow(4 * kDiskBytes);
    self.released = self.image->release();
  };
  VARVE_EXPECT_OK(image->write(0, filled(4096, 1)));
  image->submit(asked.request);
  VARVE_EXPECT_OK(image->grow(2 * kDiskBytes));
  ASSERT_TRUE(asked.answer.has_value());
  expect_error(*asked.answer, ErrorCode::busy);
  expect_error(*asked.released, ErrorCode::busy);
  EXPECT_FALSE(image->is_released());
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
  // It stands beside the image, wherever that is.
  expect_error(open_error("", options()), ErrorCode::invalid_argument);
  // An empty one is none.
  std::uint64_t name = sizeof(RawHeader);
  while (get(name) >> 32 != kExtensionDataFile) {
    name += 8;
    ASSERT_LT(name, 4096u);
  }
  put<std::uint32_t>(name + 4, 0);
  expect_error(open_error("/", options()), ErrorCode::corrupt);
  make(small());
  put<std::uint64_t>(offsetof(RawHeader, incompatible_features), kIncompatibleDataFile);
  EXPECT_FALSE(try_open(options()).has_value());
}

// Whoever locks for itself need not have the files locked.
TEST_F(Refusals, OfALockedFileGoWithTheLocks) {
  CreateOptions with_data = small();
  with_data.data_file_name = "data";
  make(with_data);
  for (const char* locked : {"/disk", "/data"}) {
    SCOPED_TRACE(locked);
    locked_ = locked;
    OpenOptions unlocked = options();
    expect_error(open_error("/", unlocked), ErrorCode::busy);
    unlocked.lock = false;
    const auto image = open_image(unlocked);
    VARVE_EXPECT_OK(image->write(0, filled(4096, 3)));
    VARVE_EXPECT_OK(image->close());
  }
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

// What cannot be looked at is not opened as what it may be.
TEST_F(Refusals, OfAnUntrustedRawImageThatCannotBeLookedAt) {
  disks_["/disk"].content.resize(kDiskBytes);
  OpenOptions raw = options(false);
  raw.format = Format::raw;
  raw.untrusted = true;
  plan_.fail_index(0, EIO);
  expect_error(open_error("/", raw), ErrorCode::io);
  VARVE_EXPECT_OK(open_image(raw)->close());
}

TEST_F(Refusals, OfEveryBudgetThatIsTooSmallNameIt) {
  make_with_tables();
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

// What is left of a damaged snapshot table is a part of it, too.
TEST_F(Refusals, OfEveryBudgetThatIsTooSmallForASnapshotTableNameIt) {
  make_with_tables();
  const std::uint64_t table = get(offsetof(RawHeader, snapshot_table_offset));
  put<std::uint64_t>(table, 12345);
  expect_memory_refused(3);
  // The entries it is said to have take more than the few bytes there are of it.
  const std::uint64_t last = disks_["/disk"].content.size() - 512;
  put<std::uint64_t>(offsetof(RawHeader, snapshot_table_offset), last);
  put<std::uint64_t>(last, 12345);
  expect_memory_refused(1);
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

// Repairing begins with what settling could not put right, not with what it could not read or
// write.
TEST_F(Refusals, OfADirtyImageThatCannotBeSettledDoNotEndWithLeaveToRepair) {
  make(small());
  {
    const auto image = open_image();
    VARVE_EXPECT_OK(image->write(0, filled(4096, 1)));
    VARVE_EXPECT_OK(image->close());
  }
  put<std::uint64_t>(offsetof(RawHeader, incompatible_features), kIncompatibleDirty);
  OpenOptions repairing = options();
  repairing.allow_corrupt = true;
  sim::FaultRule rule;
  rule.operation = StorageOperation::write;
  plan_.add(rule);
  expect_error(open_error("/", repairing), ErrorCode::io);
  plan_.lift();
  VARVE_EXPECT_OK(open_image(repairing)->close());
  expect_sound();
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

// Repairing puts other tables under whoever uses them: it begins only where nobody does, and ends
// where somebody has begun.
TEST_F(Refusals, OfRepairingAnImageThatIsUsed) {
  for (const bool by_creation : {false, true}) {
    SCOPED_TRACE(by_creation);
    make(small());
    {
      const auto image = open_image();
      VARVE_EXPECT_OK(image->write(0, filled(4096, 9)));
      VARVE_ASSERT_OK(create_snapshot(*image, {}));
      VARVE_ASSERT_OK(create_snapshot(*image, {}));
      VARVE_EXPECT_OK(image->close());
    }
    const std::uint64_t table = get(offsetof(RawHeader, snapshot_table_offset));
    // The second entry's L1: extra data, id and name stand behind the fixed fields of the first.
    const std::uint64_t rest = (get(table + offsetof(RawSnapshotEntry, extra_bytes)) >> 32) +
                               (get(table + offsetof(RawSnapshotEntry, id_bytes)) >> 48) +
                               (get(table + offsetof(RawSnapshotEntry, name_bytes)) >> 48);
    put<std::uint64_t>(table + round_up(sizeof(RawSnapshotEntry) + rest, 8), 12345);
    OpenOptions repairing = options();
    repairing.allow_corrupt = true;
    {
      const auto image = open_image(repairing);
      ASSERT_NE(image, nullptr);
      std::unique_ptr<Image> snapshot = std::move(*open_snapshot(*image, 0));
      const auto refused = repair(*image, Repair::all);
      ASSERT_FALSE(refused.has_value());
      EXPECT_EQ(refused.error().code, ErrorCode::busy);
      VARVE_EXPECT_OK(snapshot->close());
      snapshot.reset();
      std::unique_ptr<SnapshotOperation> creation;
      CheckOptions check_options;
      check_options.about_to_lose = [&](const Loss&) {
        if (by_creation) {
          OperationOptions queued;
          queued.wait_for_turn = true;
          creation = std::move(*start_create(*image, {}, queued));
        } else {
          snapshot = std::move(*open_snapshot(*image, 0));
        }
      };
      const auto ended = repair(*image, Repair::all, check_options);
      ASSERT_FALSE(ended.has_value());
      EXPECT_EQ(ended.error().code, ErrorCode::busy);
      expect_error(image->write(0, filled(4096, 1)), ErrorCode::poisoned);
      if (creation != nullptr) {
        EXPECT_FALSE(creation->wait().has_value());
      }
      if (snapshot != nullptr) {
        static_cast<void>(snapshot->close());
        snapshot.reset();
      }
      creation.reset();
      static_cast<void>(image->close());
    }
    const auto image = open_image(repairing);
    ASSERT_NE(image, nullptr);
    const auto report = repair(*image, Repair::all);
    VARVE_ASSERT_OK(report);
    EXPECT_EQ(report->after.corruptions + report->after.leaks, 0u);
    expect_bytes(*image, 0, 4096, 9);
    const auto kept = open_snapshot(*image, 0);
    VARVE_ASSERT_OK(kept);
    expect_bytes(**kept, 0, 4096, 9);
    VARVE_EXPECT_OK((*kept)->close());
    VARVE_EXPECT_OK(image->close());
  }
}

// An entry with a stray bit is not believed, whatever is asked of its cluster, and stays as it is.
TEST_F(Refusals, OfEveryRequestOverADamagedEntryNameIt) {
  make(small());
  {
    const auto image = open_image();
    VARVE_EXPECT_OK(image->write(2 * 4096, filled(4096, 1)));
    VARVE_EXPECT_OK(image->close());
  }
  const std::uint64_t damaged = get(entry_place(0, 2)) | 0x10;
  put<std::uint64_t>(entry_place(0, 2), damaged);
  ByteVector incompressible(4096);
  sim::Random random(1);
  for (std::byte& byte : incompressible) {
    byte = static_cast<std::byte>(random.below(256));
  }
  const auto image = open_image();
  ByteVector found(100);
  const Result<void> answers[] = {
      image->read(2 * 4096 + 100, found),
      image->write(4096, filled(2 * 4096, 2)),
      image->write(2 * 4096 + 100, filled(100, 2)),
      image->write_zeroes(2 * 4096 + 100, 100),
      image->write_zeroes(2 * 4096, 4096),
      image->discard(2 * 4096, 4096),
      image->write_compressed(2 * 4096, filled(4096, 2)),
      image->write_compressed(2 * 4096, incompressible),
  };
  for (const Result<void>& answer : answers) {
    expect_error(answer, ErrorCode::corrupt);
    EXPECT_EQ(answer.error().corruption, Corruption::l2_entry_reserved_bits);
  }
  expect_bytes(*image, 4096, 4096, 0);
  VARVE_EXPECT_OK(image->write(3 * 4096, filled(4096, 3)));
  expect_bytes(*image, 3 * 4096, 4096, 3);
  VARVE_EXPECT_OK(image->close());
  EXPECT_EQ(get(entry_place(0, 2)), damaged);
}

// An entry of a compressed cluster names fewer places in a file than others do.
TEST_F(Refusals, OfCompressedClustersFarBehindInAFileAreWrittenPlainly) {
  constexpr std::uint32_t kLarge = 2 << 20;
  CreateOptions large;
  large.cluster_bytes = kLarge;
  large.size_bytes = 8 * kLarge;
  make(large);
  const std::uint64_t block = get(get(offsetof(RawHeader, refcount_table_offset)));
  sim::SparseBytes& file = disks_["/disk"].content;
  ByteVector counts(kLarge);
  for (std::size_t at = 0; at < kLarge; at += 2) {
    counts[at + 1] = std::byte{1};
  }
  file.write(block, counts);  // Nothing nearer is free.
  file.resize(std::uint64_t{1} << 49);
  const auto image = open_image();
  const std::vector<std::byte> last = filled(kLarge, 4);
  VARVE_EXPECT_OK(image->write_compressed(0, filled(kLarge, 3)));
  VARVE_EXPECT_OK(image->write_compressed(7 * kLarge, last));
  VARVE_EXPECT_OK(image->write(4096, filled(4096, 5)));
  VARVE_EXPECT_OK(image->close());
  for (const std::uint64_t index : {0u, 7u}) {
    const L2Entry entry(get(entry_place(0, index)));
    EXPECT_FALSE(entry.is_compressed()) << index;
    EXPECT_GE(entry.host().value(), std::uint64_t{1} << 49) << index;
  }
  const auto again = open_image(options(false));
  expect_bytes(*again, 0, 4096, 3);
  expect_bytes(*again, 4096, 4096, 5);
  expect_bytes(*again, 8192, kLarge - 8192, 3);
  expect_bytes(*again, 7 * kLarge, kLarge, 4);
  VARVE_EXPECT_OK(again->close());
}

}  // namespace
}  // namespace varve::test
