// States other programs leave images in, and what must survive when Varve changes them.
#include <algorithm>
#include <fstream>

#include <gmock/gmock.h>
#include <varve/check.h>

#include "format/header.h"
#include "image/ground.h"
#include "io/qemu_io.h"
#include "sim/sim_disk.h"
#include "sim/trace_storage.h"

namespace varve::test {
namespace {

constexpr std::uint32_t kCluster = 65536;

void qemu(const std::vector<std::string>& arguments) {
  const model::CommandResult result = model::run_command(arguments);
  ASSERT_EQ(result.status, 0) << result.output;
}

std::string info_of(const std::string& path) {
  return model::run_command({"qemu-img", "info", "-U", "-f", "qcow2", path}).output;
}

ByteVector head_of(const std::string& path, std::size_t bytes = kCluster) {
  std::ifstream file(path, std::ios::binary);
  ByteVector head(bytes);
  file.read(static_cast<char*>(static_cast<void*>(head.data())),
            static_cast<std::streamsize>(bytes));
  return head;
}

void store_head(const std::string& path, const ByteVector& head) {
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  file.write(static_cast<const char*>(static_cast<const void*>(head.data())),
             static_cast<std::streamsize>(head.size()));
  ASSERT_TRUE(file.flush().good());
}

CreateOptions disk_of(std::uint64_t bytes) {
  CreateOptions options;
  options.size_bytes = bytes;
  return options;
}

// The image with its header changed.
void rewrite_header(Ground& ground, const std::function<void(Header&)>& change) {
  ByteVector head = head_of(ground.path());
  Result<Header> header = Header::parse(head);
  ASSERT_TRUE(header.has_value()) << describe(header.error());
  change(*header);
  VARVE_ASSERT_OK(header->serialise(head));
  store_head(ground.path(), head);
}

void expect_check_clean(Image& image) {
  const Result<CheckReport> report = check(image);
  ASSERT_TRUE(report.has_value()) << describe(report.error());
  EXPECT_EQ(report->corruptions, 0u);
  EXPECT_EQ(report->leaks, 0u);
  EXPECT_EQ(report->failures, 0u);
}

// History: 4c2e5f8f46, cloud-hypervisor 53ee9ebb7.
TEST(DirtyImage, OfACrashedWriterIsSettledBeforeItIsWritten) {
  VARVE_NEED_QEMU();
  Ground ground(GroundKind::uring);
  qemu(
      {"qemu-img", "create", "-q", "-f", "qcow2", "-o", "lazy_refcounts=on", ground.path(), "64M"});
  {
    QemuIo writer("qemu-io", {"-f", "qcow2", ground.path()});
    ASSERT_THAT(writer.run("write -P 17 100000 3000000"), ::testing::HasSubstr("wrote"));
    ASSERT_THAT(writer.run("write -P 18 40M 70000"), ::testing::HasSubstr("wrote"));
    writer.run("flush");
    writer.run("abort");
  }
  ByteVector expected(64u << 20);
  std::fill_n(expected.begin() + 100000, 3000000, std::byte{17});
  std::fill_n(expected.begin() + (40 << 20), 70000, std::byte{18});
  OpenOptions options = ground.open_options(false);
  auto reader = Image::open(ground.engine(), ground.path(), options);
  ASSERT_TRUE(reader.has_value()) << describe(reader.error());
  EXPECT_TRUE((*reader)->facts().dirty);
  EXPECT_TRUE(read_all(**reader) == expected);
  VARVE_EXPECT_OK((*reader)->close());
  const std::unique_ptr<Image> image = ground.open(true);
  ASSERT_NE(image, nullptr);
  EXPECT_FALSE(image->facts().dirty);
  expect_check_clean(*image);
  VARVE_EXPECT_OK(image->write(1, pattern(200'000, 1)));
  std::ranges::copy(pattern(200'000, 1), expected.begin() + 1);
  EXPECT_TRUE(read_all(*image) == expected);
  VARVE_EXPECT_OK(image->close());
  expect_qemu_clean(ground.path());
}

TEST(CorruptImage, IsReadButNotWritten) {
  Ground ground(GroundKind::uring);
  ground.create(disk_of(1u << 20));
  rewrite_header(ground, [](Header& header) { header.incompatible |= kIncompatibleCorrupt; });
  const auto refused = Image::open(ground.engine(), ground.path(), ground.open_options(true));
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::corrupt) << describe(refused.error());
  EXPECT_EQ(refused.error().corruption, Corruption::corrupt_bit_set);
  const std::unique_ptr<Image> image = ground.open(false);
  ASSERT_NE(image, nullptr);
  EXPECT_TRUE(image->facts().corrupt);
  EXPECT_TRUE(read_all(*image) == ByteVector(1u << 20));
  VARVE_EXPECT_OK(image->close());
  OpenOptions options = ground.open_options(true);
  options.allow_corrupt = true;
  auto repaired = Image::open(ground.engine(), ground.path(), options);
  ASSERT_TRUE(repaired.has_value()) << describe(repaired.error());
  VARVE_EXPECT_OK((*repaired)->close());
}

TEST(UnknownFeature, IncompatibleIsRefusedWithTheImagesOwnName) {
  Ground ground(GroundKind::uring);
  ground.create(disk_of(1u << 20));
  rewrite_header(ground, [](Header& header) {
    header.incompatible |= std::uint64_t{1} << 40;
    HeaderExtension names;
    names.type = kExtensionFeatureNames;
    names.data.resize(48);
    names.data[1] = std::byte{40};
    std::ranges::copy(std::as_bytes(std::span("time travel", 11)), names.data.begin() + 2);
    std::erase_if(header.extensions,
                  [](const HeaderExtension& e) { return e.type == kExtensionFeatureNames; });
    header.extensions.push_back(names);
  });
  for (const bool writable : {false, true}) {
    const auto refused = Image::open(ground.engine(), ground.path(), ground.open_options(writable));
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code, ErrorCode::unsupported) << describe(refused.error());
    EXPECT_EQ(refused.error().offset, offsetof(RawHeader, incompatible_features));
    EXPECT_EQ(std::string(refused.error().detail), "time travel (bit 40)");
    EXPECT_NE(describe(refused.error()).find("time travel"), std::string::npos);
  }
  EXPECT_EQ(Header::describe_unknown_features(head_of(ground.path())), "time travel (bit 40)");
}

TEST(UnknownFeature, CompatibleIsKeptAndAutoclearIsClearedBeforeTheFirstWrite) {
  const std::unique_ptr<Engine> engine = make_engine(AioBackend::threads, 256, 0);
  sim::SimDisk disk;
  ByteVector head(kCluster);
  {
    sim::SimStorage storage(*engine, disk);
    VARVE_ASSERT_OK(create_image_in(storage, nullptr, disk_of(1u << 20)));
  }
  disk.content.read(0, head);
  Header header = std::move(*Header::parse(head));
  header.compatible |= std::uint64_t{1} << 33;
  header.autoclear |= std::uint64_t{1} << 50;
  VARVE_ASSERT_OK(header.serialise(head));
  disk.content.write(0, head);
  const auto bits = [&] {
    disk.content.read(0, head);
    const Header now = std::move(*Header::parse(head));
    EXPECT_EQ(now.compatible, std::uint64_t{1} << 33);
    return now.autoclear;
  };
  sim::Trace trace;
  OpenOptions options;
  options.writable = true;
  for (const bool writes : {false, true}) {
    auto image = Image::open(std::make_unique<sim::TraceStorage>(
                                 std::make_unique<sim::SimStorage>(*engine, disk), trace),
                             "", options);
    ASSERT_TRUE(image.has_value()) << describe(image.error());
    trace.clear();
    if (writes) {
      VARVE_EXPECT_OK((*image)->write(0, pattern(4096, 1)));
      const sim::TraceEntry* cleared = trace.find(StorageOperation::write, IoTag::header);
      const sim::TraceEntry* written = trace.find(StorageOperation::write, IoTag::guest_data);
      ASSERT_TRUE(cleared != nullptr && written != nullptr) << trace.text();
      EXPECT_TRUE(trace.is_durable_before(*cleared, written->submitted)) << trace.text();
    }
    VARVE_EXPECT_OK((*image)->close());
    EXPECT_EQ(bits(), writes ? 0 : std::uint64_t{1} << 50);
  }
}

// History: e4603fe139.
TEST(UnknownExtension, IsKeptByteForByte) {
  for (const bool grows : {false, true}) {
    Ground ground(GroundKind::uring);
    ground.create(disk_of(1u << 20));
    rewrite_header(ground, [](Header& header) {
      header.unknown_header_fields.assign(16, std::byte{0x5a});
      header.header_bytes = 128;
      for (const std::size_t length : {std::size_t{13}, std::size_t{0}, std::size_t{64}}) {
        header.extensions.push_back({0x76617276, pattern(length, 4)});
      }
    });
    ByteVector before = head_of(ground.path());
    const std::unique_ptr<Image> image = ground.open(true);
    ASSERT_NE(image, nullptr);
    VARVE_EXPECT_OK(image->write(1000, pattern(500'000, 1)));
    VARVE_EXPECT_OK(image->flush());
    if (grows) {
      VARVE_EXPECT_OK(image->grow(std::uint64_t{8} << 30));  // Moves the L1 table too.
    }
    VARVE_EXPECT_OK(image->close());
    ByteVector after = head_of(ground.path());
    if (grows) {
      // Only the size and the place of the L1 table.
      for (ByteVector* head : {&before, &after}) {
        std::fill_n(head->begin() + offsetof(RawHeader, virtual_size), 8, std::byte{0});
        std::fill_n(head->begin() + offsetof(RawHeader, l1_entries), 12, std::byte{0});
      }
    }
    EXPECT_TRUE(before == after);
    expect_qemu_clean(ground.path());
  }
}

// History: a505475b95.
TEST(Bitmaps, EnabledOnesAreMarkedInUseDisabledOnesAreNot) {
  VARVE_NEED_QEMU();
  Ground ground(GroundKind::uring);
  qemu({"qemu-img", "create", "-q", "-f", "qcow2", ground.path(), "4M"});
  qemu({"qemu-img", "bitmap", "--add", "-f", "qcow2", ground.path(), "tracking"});
  qemu({"qemu-img", "bitmap", "--add", "--disable", "-f", "qcow2", ground.path(), "resting"});
  const ByteVector before = head_of(ground.path());
  std::unique_ptr<Image> image = ground.open(true);
  ASSERT_NE(image, nullptr);
  VARVE_EXPECT_OK(image->close());
  EXPECT_EQ(info_of(ground.path()).find("in-use"), std::string::npos) << "nothing was written";
  image = ground.open(true);
  ASSERT_NE(image, nullptr);
  VARVE_EXPECT_OK(image->write(70'000, pattern(10'000, 1)));
  EXPECT_NE(info_of(ground.path()).find("in-use"), std::string::npos) << "before the write ends";
  VARVE_EXPECT_OK(image->write(0, pattern(10'000, 1)));
  VARVE_EXPECT_OK(image->close());
  const std::string info = info_of(ground.path());
  const std::size_t resting = info.find("name: resting");
  const std::size_t tracking = info.find("name: tracking");
  ASSERT_TRUE(resting != std::string::npos && tracking != std::string::npos) << info;
  EXPECT_EQ(info.find("in-use"), info.rfind("in-use")) << info;
  // Flags stand before the name of their bitmap.
  const std::size_t in_use = info.find("in-use");
  EXPECT_TRUE(in_use < tracking && (resting > tracking || resting < in_use)) << info;
  EXPECT_TRUE(head_of(ground.path()) == before) << "the header names the bitmaps as before";
  expect_qemu_clean(ground.path());
}

TEST(SecondOpener, IsRefusedWhileSomebodyWrites) {
  Ground ground(GroundKind::uring);
  ground.create(disk_of(1u << 20));
  const std::unique_ptr<Image> writer = ground.open(true);
  ASSERT_NE(writer, nullptr);
  for (const bool writable : {false, true}) {
    const auto second = Image::open(ground.engine(), ground.path(), ground.open_options(writable));
    ASSERT_FALSE(second.has_value());
    EXPECT_EQ(second.error().code, ErrorCode::busy) << describe(second.error());
  }
  OpenOptions options = ground.open_options(false);
  options.force_share = true;
  auto shared = Image::open(ground.engine(), ground.path(), options);
  ASSERT_TRUE(shared.has_value()) << describe(shared.error());
  VARVE_EXPECT_OK((*shared)->close());
  options.writable = true;
  const auto contradiction = Image::open(ground.engine(), ground.path(), options);
  ASSERT_FALSE(contradiction.has_value());
  EXPECT_EQ(contradiction.error().code, ErrorCode::invalid_argument);
  const Result<void> overwritten = create_image(ground.engine(), ground.path(), disk_of(1u << 20));
  expect_error(overwritten, ErrorCode::busy);
  VARVE_EXPECT_OK(writer->close());
  const std::unique_ptr<Image> next = ground.open(true);
  ASSERT_NE(next, nullptr);
  VARVE_EXPECT_OK(next->close());
}

TEST(SecondOpener, QemuAndVarveRefuseEachOther) {
  VARVE_NEED_QEMU();
  Ground ground(GroundKind::uring);
  ground.create(disk_of(1u << 20));
  {
    const std::unique_ptr<Image> writer = ground.open(true);
    ASSERT_NE(writer, nullptr);
    const model::CommandResult refused =
        model::run_command({"qemu-io", "-f", "qcow2", "-c", "read 0 512", ground.path()});
    EXPECT_NE(refused.output.find("lock"), std::string::npos) << refused.output;
    const model::CommandResult shared = model::run_command(
        {"qemu-io", "-U", "-r", "-f", "qcow2", "-c", "read 0 512", ground.path()});
    EXPECT_EQ(shared.status, 0) << shared.output;
    VARVE_EXPECT_OK(writer->close());
  }
  QemuIo writer("qemu-io", {"-f", "qcow2", ground.path()});
  ASSERT_THAT(writer.run("write -P 3 0 65536"), ::testing::HasSubstr("wrote"));
  for (const bool writable : {false, true}) {
    const auto refused = Image::open(ground.engine(), ground.path(), ground.open_options(writable));
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code, ErrorCode::busy) << describe(refused.error());
  }
  OpenOptions options = ground.open_options(false);
  options.force_share = true;
  auto shared = Image::open(ground.engine(), ground.path(), options);
  ASSERT_TRUE(shared.has_value()) << describe(shared.error());
  VARVE_EXPECT_OK((*shared)->close());
}

TEST(SharedClusters, OfAQemuSnapshotAreCopiedBeforeTheyChange) {
  VARVE_NEED_QEMU();
  Ground ground(GroundKind::uring);
  qemu({"qemu-img", "create", "-q", "-f", "qcow2", ground.path(), "4M"});
  qemu({"qemu-io", "-f", "qcow2", "-c", "write -P 5 0 2M", ground.path()});
  qemu({"qemu-img", "snapshot", "-c", "kept", ground.path()});
  const std::unique_ptr<Image> image = ground.open(true);
  ASSERT_NE(image, nullptr);
  ByteVector expected(4u << 20);
  std::fill_n(expected.begin(), 2 << 20, std::byte{5});
  const ByteVector bytes = pattern(100'000, 2);
  VARVE_EXPECT_OK(image->write(3'000, bytes));
  std::ranges::copy(bytes, expected.begin() + 3'000);
  VARVE_EXPECT_OK(image->write_zeroes(1u << 20, 65536, false));
  std::fill_n(expected.begin() + (1 << 20), 65536, std::byte{0});
  EXPECT_TRUE(read_all(*image) == expected);
  VARVE_EXPECT_OK(image->close());
  expect_qemu_clean(ground.path());
  const std::string kept = ground.file("kept.raw");
  qemu({"qemu-img", "convert", "-l", "kept", "-O", "raw", ground.path(), kept});
  ByteVector old(4u << 20);
  std::fill_n(old.begin(), 2 << 20, std::byte{5});
  EXPECT_TRUE(head_of(kept, old.size()) == old);
}

}  // namespace
}  // namespace varve::test
