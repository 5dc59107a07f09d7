// convert and compare on images in memory: random content, every option, faults on either side.
// The disks are compared byte for byte with what was written.

#include <algorithm>
#include <iostream>
#include <vector>

#include <gtest/gtest.h>
#include <varve/check.h>
#include <varve/compare.h>
#include <varve/convert.h>
#include <varve/create.h>

#include "base/bytes.h"
#include "sim/faulty_storage.h"
#include "sim/random.h"
#include "sim/sim_disk.h"
#include "sim/worn_storage.h"

namespace varve {
namespace {

using Content = std::vector<std::byte>;

constexpr std::uint64_t kDisk = 5 * 1024 * 1024 + 512 * 3;

class Copy : public ::testing::Test {
 protected:
  void SetUp() override {
    Result<std::unique_ptr<Engine>> engine = Engine::create();
    ASSERT_TRUE(engine.has_value());
    engine_ = std::move(*engine);
    std::cout << "VARVE_SEED=" << sim::seed_from_environment() << "\n";
  }

  std::unique_ptr<Image> make(const CreateOptions& options) {
    auto storage = make_memory_storage(*engine_, 0);
    EXPECT_TRUE(storage.has_value());
    const Result<void> created = create_image_in(**storage, nullptr, options);
    EXPECT_TRUE(created.has_value()) << describe(created.error());
    OpenOptions open;
    open.format = options.format;
    open.writable = true;
    auto faulty = std::make_unique<sim::FaultyStorage>(std::move(*storage), plan_);
    auto image = Image::open(std::move(faulty), "", open);
    EXPECT_TRUE(image.has_value()) << describe(image.error());
    return image ? std::move(*image) : nullptr;
  }
  std::unique_ptr<Image> make(Format format, std::uint64_t size = kDisk,
                              std::uint32_t cluster_bytes = 65536) {
    CreateOptions options;
    options.format = format;
    options.size_bytes = size;
    options.cluster_bytes = cluster_bytes;
    return make(options);
  }

  // Runs of data and of zeros, and what is neither.
  Content fill(Image& image) {
    Content content(image.size());
    for (int i = 0; i < 24; ++i) {
      const std::uint64_t offset = random_.next() % content.size();
      const std::uint64_t length =
          std::min<std::uint64_t>(random_.next() % 300000 + 1, content.size() - offset);
      const auto byte = static_cast<std::byte>(random_.next() % 3);
      std::fill_n(content.begin() + static_cast<std::ptrdiff_t>(offset), length, byte);
      const Result<void> written = image.write(offset, std::span(content).subspan(offset, length));
      EXPECT_TRUE(written.has_value()) << describe(written.error());
    }
    return content;
  }

  static Content read(Image& image, std::uint64_t length) {
    Content content(length);
    const Result<void> done = image.read(0, content);
    EXPECT_TRUE(done.has_value()) << describe(done.error());
    return content;
  }

  void fail_all(StorageOperation operation) {
    sim::FaultRule rule;
    rule.operation = operation;
    rule.from_then_on = true;
    plan_.add(rule);
  }

  static void close(Image& image) { EXPECT_TRUE(image.close().has_value()); }

  std::unique_ptr<Engine> engine_;
  sim::FaultPlan plan_;
  sim::Random random_{sim::seed_from_environment()};
};

// History: 113b727ce7.
TEST_F(Copy, EveryCombinationOfOptionsCopiesTheDisk) {
  std::uint64_t pair = 0;
  for (const Format from : {Format::raw, Format::qcow2}) {
    for (const Format to : {Format::raw, Format::qcow2}) {
      ++pair;
      for (unsigned variant = 0; variant < 12; ++variant) {
        if (!sim::is_in_share(pair + variant)) {
          continue;
        }
        const std::uint32_t cluster = 512u << random_.next() % 9;
        auto source = make(from, kDisk, 4096);
        auto target = make(to, kDisk, cluster);
        const Content content = fill(*source);
        ConvertOptions options;
        options.target_is_zero = variant % 2 == 0;
        options.out_of_order = variant % 3 == 0;
        options.parallel = static_cast<unsigned>(random_.next() % 9 + 1);
        options.sparse_bytes = variant % 4 == 0 ? 0 : 512u << random_.next() % 8;
        options.compressed = to == Format::qcow2 && variant % 5 < 2;
        options.cluster_bytes = cluster;
        options.threads = static_cast<unsigned>(random_.next() % 3);
        options.chunk_bytes = std::max<std::size_t>(cluster, 1u << (12 + random_.next() % 9));
        ConvertReport report;
        const Result<void> done = convert(*source, *target, options, &report);
        ASSERT_TRUE(done.has_value()) << describe(done.error());
        ASSERT_EQ(read(*target, kDisk), content) << "cluster " << cluster << " variant " << variant;
        CompareReport compared;
        ASSERT_TRUE(compare(*source, *target, {}, compared).has_value());
        EXPECT_EQ(compared.result, Comparison::identical);
        close(*source);
        close(*target);
      }
    }
  }
}

TEST_F(Copy, OldContentOfTheTargetIsReplaced) {
  auto source = make(Format::qcow2);
  auto target = make(Format::qcow2, kDisk + 65536);
  const Content content = fill(*source);
  const Content before = fill(*target);
  ConvertOptions options;
  options.target_offset = 65536;
  ASSERT_TRUE(convert(*source, *target, options).has_value());
  const Content after = read(*target, kDisk + 65536);
  EXPECT_TRUE(std::equal(before.begin(), before.begin() + 65536, after.begin()));
  EXPECT_TRUE(std::equal(content.begin(), content.end(), after.begin() + 65536));
  close(*source);
  close(*target);
}

TEST_F(Copy, ZerosAreNotWrittenIntoAFreshTarget) {
  auto source = make(Format::raw);
  auto target = make(Format::qcow2);
  ConvertOptions options;
  options.target_is_zero = true;
  ConvertReport report;
  ASSERT_TRUE(convert(*source, *target, options, &report).has_value());
  EXPECT_EQ(report.written_bytes, 0u);
  EXPECT_EQ(report.zeroed_bytes, 0u);
  options.sparse_bytes = 0;
  ASSERT_TRUE(convert(*source, *target, options, &report).has_value());
  EXPECT_EQ(report.written_bytes, kDisk);
  close(*source);
  close(*target);
}

// No byte more than allowed is written, and the target stays consistent.
TEST_F(Copy, EndsBeforeMoreThanAllowedIsWritten) {
  auto source = make(Format::raw);
  ASSERT_TRUE(source->write(0, Content(kDisk, std::byte{1})).has_value());
  for (const unsigned parallel : {1u, 8u}) {
    ConvertOptions options;
    options.parallel = parallel;
    options.chunk_bytes = 65536;
    ConvertReport report;
    auto target = make(Format::qcow2);
    options.output_bytes_max = kDisk - 1;
    const Result<void> refused = convert(*source, *target, options, &report);
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code, ErrorCode::over_budget);
    EXPECT_EQ(refused.error().limit, kDisk - 1);
    EXPECT_EQ(report.failed_side, CopySide::target);
    EXPECT_LE(report.written_bytes, kDisk - 1);
    const auto checked = check(*target);
    ASSERT_TRUE(checked.has_value());
    EXPECT_EQ(checked->corruptions, 0u);
    options.output_bytes_max = kDisk;
    EXPECT_TRUE(convert(*source, *target, options).has_value());
    EXPECT_EQ(read(*target, kDisk), Content(kDisk, std::byte{1}));
    close(*target);
  }
  close(*source);
}

// A single byte anywhere in a cluster keeps the cluster. History: 5efdf53227.
TEST_F(Copy, ACopyKeepsWhateverIsNotZero) {
  constexpr std::uint64_t kCluster = 65536;
  auto source = make(Format::raw);
  Content content(kDisk);
  for (std::uint64_t cluster = 0; cluster < kDisk / kCluster; ++cluster) {
    const std::uint64_t places[] = {
        0, 511, 512, 4095, 4096, kCluster - 512, kCluster - 1, random_.next() % kCluster};
    content[cluster * kCluster + places[cluster % std::size(places)]] = std::byte{1};
  }
  ASSERT_TRUE(source->write(0, content).has_value());
  for (const std::uint64_t sparse_bytes : {512u, 4096u, 65536u}) {
    auto target = make(Format::qcow2);
    ConvertOptions options;
    options.target_is_zero = true;
    options.sparse_bytes = sparse_bytes;
    ASSERT_TRUE(convert(*source, *target, options).has_value());
    EXPECT_EQ(read(*target, kDisk), content) << sparse_bytes;
    close(*target);
  }
  close(*source);
}

// History: 3b5e14c76a.
TEST_F(Copy, TheFailingSideIsNamed) {
  for (const StorageOperation operation : {StorageOperation::read, StorageOperation::write}) {
    auto source = make(Format::raw);
    auto target = make(Format::raw);
    fill(*source);
    fail_all(operation);
    ConvertReport report;
    const Result<void> done = convert(*source, *target, {}, &report);
    ASSERT_FALSE(done.has_value());
    EXPECT_EQ(done.error().os_errno, EIO);
    EXPECT_EQ(report.failed_side,
              operation == StorageOperation::read ? CopySide::source : CopySide::target);
    plan_.lift();
    (void)source->close();
    (void)target->close();
  }
}

TEST_F(Copy, SalvageTakesUnreadableSectorsForZerosAndTellsEach) {
  std::vector<sim::WornStorage::Range> bad;  // Empty while the disk is filled.
  OpenOptions open;
  open.format = Format::raw;
  open.writable = true;
  auto opened = Image::open(
      std::make_unique<sim::WornStorage>(std::move(*make_memory_storage(*engine_, kDisk)), bad), "",
      open);
  ASSERT_TRUE(opened.has_value()) << describe(opened.error());
  Content content(kDisk);
  for (std::size_t i = 0; i < content.size(); ++i) {
    content[i] = static_cast<std::byte>(i / 512 % 255 + 1);
  }
  ASSERT_TRUE((*opened)->write(0, content).has_value());
  bad = {{0, 512}, {100'000, 101'500}, {1 << 20, (1 << 20) + 1}, {kDisk - 10, kDisk}};
  std::vector<std::uint64_t> expected;
  for (const sim::WornStorage::Range& range : bad) {
    for (std::uint64_t sector = range.first / 512; sector * 512 < range.end; ++sector) {
      expected.push_back(sector * 512);
      std::fill_n(content.begin() + static_cast<std::ptrdiff_t>(sector * 512), 512, std::byte{0});
    }
  }
  for (const bool compressed : {false, true}) {
    auto target = make(Format::qcow2);
    std::vector<std::uint64_t> told;
    ConvertOptions options;
    options.compressed = compressed;
    options.threads = 2;
    ASSERT_FALSE(convert(**opened, *target, options).has_value()) << "without salvage";
    options.salvage = true;
    options.chunk_bytes = compressed ? 1 << 20 : 8192;
    options.unreadable = [&](std::uint64_t offset, const Error& error, bool is_status) {
      EXPECT_EQ(error.os_errno, EIO);
      EXPECT_FALSE(is_status);
      told.push_back(offset);
    };
    ConvertReport report;
    const Result<void> done = convert(**opened, *target, options, &report);
    ASSERT_TRUE(done.has_value()) << describe(done.error());
    std::sort(told.begin(), told.end());
    EXPECT_EQ(told, expected);
    EXPECT_EQ(report.unreadable_bytes, expected.size() * 512);
    EXPECT_EQ(read(*target, kDisk), content);
    close(*target);
  }
  close(**opened);
}

TEST_F(Copy, SalvageGoesOnBehindATableThatCannotBeRead) {
  constexpr std::uint64_t kSmall = 16 * 512;
  sim::SimDisk disk;
  CreateOptions create;
  create.size_bytes = kSmall;
  create.cluster_bytes = 4096;
  {
    sim::SimStorage storage(*engine_, disk);
    ASSERT_TRUE(create_image_in(storage, nullptr, create).has_value());
  }
  OpenOptions open;
  open.writable = true;
  auto filled = Image::open(std::make_unique<sim::SimStorage>(*engine_, disk), "", open);
  ASSERT_TRUE(filled.has_value());
  ASSERT_TRUE((*filled)->write(0, Content(kSmall, std::byte{7})).has_value());
  close(**filled);
  auto worn = Image::open(std::make_unique<sim::FaultyStorage>(
                              std::make_unique<sim::SimStorage>(*engine_, disk), plan_),
                          "", {});
  ASSERT_TRUE(worn.has_value());
  auto target = make(Format::raw, kSmall);
  ASSERT_TRUE(target->write(0, Content(kSmall, std::byte{9})).has_value());
  sim::FaultRule rule;
  rule.tag = IoTag::l2;
  rule.from_then_on = true;
  plan_.add(rule);
  std::uint64_t statuses = 0;
  ConvertOptions options;
  options.salvage = true;
  options.unreadable = [&](std::uint64_t, const Error&, bool is_status) {
    statuses += is_status ? 1 : 0;
  };
  ConvertReport report;
  const Result<void> done = convert(**worn, *target, options, &report);
  ASSERT_TRUE(done.has_value()) << describe(done.error());
  EXPECT_EQ(statuses, kSmall / 512);
  EXPECT_EQ(report.unreadable_bytes, kSmall);
  EXPECT_EQ(read(*target, kSmall), Content(kSmall));
  close(**worn);
  close(*target);
}

// The image made by several threads is the one that one thread makes, byte for byte in size.
TEST_F(Copy, ThreadsCompressAsOneDoes) {
  std::uint64_t combination = 0;
  for (const Compression compression : {Compression::zlib, Compression::zstd}) {
    for (const std::uint32_t cluster : {4096u, 65536u, 2u << 20}) {
      if (!sim::is_in_share(++combination)) {
        continue;
      }
      auto source = make(Format::raw);
      Content content = fill(*source);
      // Some of it does not shrink.
      for (std::size_t i = 200'000; i < 500'000; ++i) {
        content[i] = static_cast<std::byte>(random_.next() >> 13);
      }
      ASSERT_TRUE(source->write(0, content).has_value());
      std::vector<std::uint64_t> sizes;
      for (const unsigned threads : {0u, 1u, 3u}) {
        CreateOptions create;
        create.size_bytes = kDisk;
        create.cluster_bytes = cluster;
        create.compression = compression;
        auto target = make(create);
        ConvertOptions options;
        options.compressed = true;
        options.cluster_bytes = cluster;
        options.chunk_bytes = 2u << 20;
        options.target_is_zero = true;
        options.threads = threads;
        const Result<void> done = convert(*source, *target, options);
        ASSERT_TRUE(done.has_value()) << describe(done.error());
        ASSERT_EQ(read(*target, kDisk), content) << cluster;
        const Result<CheckReport> checked = check(*target);
        ASSERT_TRUE(checked.has_value());
        EXPECT_EQ(checked->leaks + checked->corruptions, 0u);
        EXPECT_GT(checked->compressed_clusters, 0u);
        sizes.push_back(checked->image_end_offset);
        close(*target);
      }
      EXPECT_EQ(sizes[1], sizes[0]) << cluster;
      EXPECT_EQ(sizes[2], sizes[0]) << cluster;
      close(*source);
    }
  }
}

TEST_F(Copy, AFailingTargetEndsACopyOnThreads) {
  auto source = make(Format::raw);
  const Content content = fill(*source);
  auto target = make(Format::qcow2);
  sim::FaultRule rule;
  rule.operation = StorageOperation::write;
  rule.tag = IoTag::compressed_data;
  rule.nth = 3;
  plan_.add(rule);
  ConvertOptions options;
  options.compressed = true;
  options.threads = 2;
  ConvertReport report;
  const Result<void> done = convert(*source, *target, options, &report);
  ASSERT_FALSE(done.has_value());
  EXPECT_EQ(report.failed_side, CopySide::target);
  plan_.lift();
  ASSERT_TRUE(convert(*source, *target, options).has_value());
  EXPECT_EQ(read(*target, kDisk), content);
  close(*source);
  close(*target);
}

TEST_F(Copy, CancellingEndsWithAConsistentImage) {
  auto source = make(Format::raw);
  auto target = make(Format::qcow2);
  fill(*source);
  std::atomic<bool> cancel{false};
  ConvertOptions options;
  options.cancel = &cancel;
  options.chunk_bytes = 65536;
  options.progress = [&cancel](std::uint64_t done, std::uint64_t) { cancel = done > 0; };
  const Result<void> done = convert(*source, *target, options);
  ASSERT_FALSE(done.has_value());
  EXPECT_EQ(done.error().code, ErrorCode::cancelled);
  close(*source);
  close(*target);
}

TEST_F(Copy, OptionsOutsideTheirLimitsAreRefused) {
  auto source = make(Format::raw);
  auto target = make(Format::qcow2);
  auto small = make(Format::qcow2, kDisk - 512);
  const auto code = [&](Image& image, const ConvertOptions& options) {
    const Result<void> done = convert(*source, image, options);
    return done ? ErrorCode::exists : done.error().code;
  };
  EXPECT_EQ(code(*target, {.sparse_bytes = 100}), ErrorCode::invalid_argument);
  EXPECT_EQ(code(*target, {.parallel = 0}), ErrorCode::invalid_argument);
  EXPECT_EQ(code(*target, {.chunk_bytes = 0}), ErrorCode::invalid_argument);
  EXPECT_EQ(code(*target, {.compressed = true, .chunk_bytes = 4096}), ErrorCode::invalid_argument);
  EXPECT_EQ(code(*target, {.target_offset = 512, .compressed = true}), ErrorCode::invalid_argument);
  EXPECT_EQ(code(*small, {}), ErrorCode::out_of_range);
  close(*source);
  close(*target);
  close(*small);
}

TEST_F(Copy, CompareFindsTheFirstSectorThatDiffers) {
  for (int round = 0; round < 20; ++round) {
    auto first = make(Format::raw);
    auto second = make(Format::qcow2);
    const Content content = fill(*first);
    ASSERT_TRUE(convert(*first, *second, {}).has_value());
    const std::uint64_t offset = random_.next() % kDisk;
    const std::byte changed = content[offset] ^ std::byte{0x80};
    ASSERT_TRUE(second->write(offset, std::span(&changed, 1)).has_value());
    CompareOptions options;
    options.chunk_bytes = 512u << random_.next() % 12;
    options.parallel = static_cast<unsigned>(random_.next() % 9 + 1);
    CompareReport report;
    ASSERT_TRUE(compare(*first, *second, options, report).has_value());
    EXPECT_EQ(report.result, Comparison::content_differs);
    EXPECT_EQ(report.offset, offset / 512 * 512);
    close(*first);
    close(*second);
  }
}

TEST_F(Copy, CompareTakesMissingEndsForZerosUnlessStrict) {
  auto first = make(Format::raw, 1 << 20);
  auto second = make(Format::qcow2, 2 << 20);
  CompareReport report;
  ASSERT_TRUE(compare(*first, *second, {}, report).has_value());
  EXPECT_EQ(report.result, Comparison::identical);
  ASSERT_TRUE(compare(*first, *second, {.strict = true}, report).has_value());
  EXPECT_EQ(report.result, Comparison::size_differs);
  const std::byte one{1};
  ASSERT_TRUE(second->write((2 << 20) - 1, std::span(&one, 1)).has_value());
  ASSERT_TRUE(compare(*first, *second, {}, report).has_value());
  EXPECT_EQ(report.result, Comparison::content_differs);
  EXPECT_EQ(report.offset, (2u << 20) - 512);
  close(*first);
  close(*second);
}

TEST_F(Copy, CompareNamesTheImageThatCannotBeRead) {
  auto first = make(Format::raw);
  auto second = make(Format::raw);
  fill(*first);
  fail_all(StorageOperation::read);
  CompareReport report;
  const Result<void> done = compare(*first, *second, {}, report);
  ASSERT_FALSE(done.has_value());
  EXPECT_EQ(report.failed_image, 1u);
  plan_.lift();
  (void)first->close();
  (void)second->close();
}

}  // namespace
}  // namespace varve
