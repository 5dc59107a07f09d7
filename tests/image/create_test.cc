// Goal: what cannot be created is refused by the option's name before a file is touched; what is
// created opens as what it was asked to be. Method: every rule of every option, broken alone; every
// place a file can fail.
#include <cstring>
#include <filesystem>

#include "image/ground.h"
#include "sim/sim_disk.h"

namespace varve::test {
namespace {

struct Refusal {
  const char* name;
  void (*change)(CreateOptions& options);
  ErrorCode code;
  const char* words;  // What the message names.
};

constexpr auto kInvalid = ErrorCode::invalid_argument;
constexpr auto kUnsupported = ErrorCode::unsupported;
constexpr auto kRange = ErrorCode::out_of_range;

const Refusal kRefusals[] = {
    {"SizeBeyondEverything", [](CreateOptions& o) { o.size_bytes = ~std::uint64_t{0}; }, kRange,
     "size"},
    {"SizeBeyondTheL1",
     [](CreateOptions& o) {
       o.cluster_bytes = 512;
       o.size_bytes = std::uint64_t{1} << 40;
     },
     kRange, "size"},
    {"ClusterNoPower", [](CreateOptions& o) { o.cluster_bytes = 3 * 4096; }, kInvalid,
     "cluster_size"},
    {"ClusterZero", [](CreateOptions& o) { o.cluster_bytes = 0; }, kInvalid, "cluster_size"},
    {"ClusterTooSmall", [](CreateOptions& o) { o.cluster_bytes = 256; }, kInvalid, "cluster_size"},
    {"ClusterTooLarge", [](CreateOptions& o) { o.cluster_bytes = 4u << 20; }, kInvalid,
     "cluster_size"},
    {"RefcountNoPower", [](CreateOptions& o) { o.refcount_bits = 24; }, kInvalid, "refcount_bits"},
    {"RefcountTooWide", [](CreateOptions& o) { o.refcount_bits = 128; }, kInvalid, "refcount_bits"},
    {"ExtendedInSmallClusters",
     [](CreateOptions& o) {
       o.extended_l2 = true;
       o.cluster_bytes = 8192;
     },
     kUnsupported, "extended_l2"},
    {"VersionUnknown", [](CreateOptions& o) { o.version = 4; }, kInvalid, "version"},
    {"VersionOne", [](CreateOptions& o) { o.version = 1; }, kInvalid, "version"},
    {"Version2Refcount",
     [](CreateOptions& o) {
       o.version = 2;
       o.refcount_bits = 8;
     },
     kUnsupported, "refcount_bits"},
    {"Version2Lazy",
     [](CreateOptions& o) {
       o.version = 2;
       o.lazy_refcounts = true;
     },
     kUnsupported, "lazy_refcounts"},
    {"Version2Extended",
     [](CreateOptions& o) {
       o.version = 2;
       o.extended_l2 = true;
     },
     kUnsupported, "extended_l2"},
    {"Version2DataFile",
     [](CreateOptions& o) {
       o.version = 2;
       o.data_file_name = "data";
     },
     kUnsupported, "data_file"},
    {"Version2Zstd",
     [](CreateOptions& o) {
       o.version = 2;
       o.compression = Compression::zstd;
     },
     kUnsupported, "compression_type"},
    {"BackingNameTooLong",
     [](CreateOptions& o) {
       o.backing_name.assign(1024, 'b');
       o.backing_format = "raw";
     },
     kRange, "backing_file"},
    {"BackingWithoutFormat", [](CreateOptions& o) { o.backing_name = "below"; }, kInvalid,
     "backing_fmt"},
    {"BackingHidden",
     [](CreateOptions& o) {
       o.backing_name = "below";
       o.backing_format = "raw";
       o.preallocation = Preallocation::metadata;
     },
     kUnsupported, "preallocation"},
    {"RawWithoutDataFile", [](CreateOptions& o) { o.data_file_raw = true; }, kInvalid,
     "data_file_raw"},
    {"RawDataFileOverBacking",
     [](CreateOptions& o) {
       o.backing_name = "below";
       o.backing_format = "raw";
       o.data_file_name = "data";
       o.data_file_raw = true;
     },
     kInvalid, "data_file_raw"},
    {"RawBacking",
     [](CreateOptions& o) {
       o.format = Format::raw;
       o.backing_name = "below";
     },
     kUnsupported, "backing_file"},
    {"RawMetadata",
     [](CreateOptions& o) {
       o.format = Format::raw;
       o.preallocation = Preallocation::metadata;
     },
     kUnsupported, "preallocate"},
};

class CreateRefusals : public ::testing::TestWithParam<Refusal> {};
INSTANTIATE_TEST_SUITE_P(Options, CreateRefusals, ::testing::ValuesIn(kRefusals),
                         [](const auto& parameter) { return std::string(parameter.param.name); });

TEST_P(CreateRefusals, NameTheOptionAndTouchNoFile) {
  Ground ground(GroundKind::threads);
  CreateOptions options;
  options.size_bytes = 1 << 20;
  VARVE_EXPECT_OK(validate(options));
  GetParam().change(options);
  const Result<void> valid = validate(options);
  ASSERT_FALSE(valid.has_value());
  EXPECT_EQ(valid.error().code, GetParam().code) << describe(valid.error());
  EXPECT_NE(std::strstr(valid.error().what, GetParam().words), nullptr) << valid.error().what;
  const Result<void> created = create_image(ground.engine(), ground.path(), options);
  ASSERT_FALSE(created.has_value());
  EXPECT_STREQ(created.error().what, valid.error().what);
  EXPECT_FALSE(std::filesystem::exists(ground.path()));
  sim::SimDisk disk;
  sim::SimStorage storage(ground.engine(), disk);
  EXPECT_STREQ(create_image_in(storage, nullptr, options).error().what, valid.error().what);
  EXPECT_EQ(disk.content.size(), 0u);
}

CreateOptions with_data_file(const std::string& name) {
  CreateOptions options;
  options.size_bytes = 1 << 20;
  options.data_file_name = name;
  return options;
}

TEST(Create, SaysWhichFileItCannotMake) {
  Ground ground(GroundKind::threads);
  CreateOptions options;
  options.size_bytes = 1 << 20;
  expect_error(create_image(ground.engine(), ground.file("missing/image"), options),
               ErrorCode::not_found);
  expect_error(create_image(ground.engine(), ground.path(), with_data_file("missing/data")),
               ErrorCode::not_found);
}

TEST(Create, LeavesAFileAloneThatIsInUse) {
  Ground ground(GroundKind::threads);
  CreateOptions options;
  options.size_bytes = 1 << 20;
  ground.create(options);
  const auto user = ground.open(true);
  expect_error(create_image(ground.engine(), ground.path(), options), ErrorCode::busy);
  expect_error(create_image(ground.engine(), ground.file("other"), with_data_file(ground.path())),
               ErrorCode::busy);
  VARVE_EXPECT_OK(user->close());
  VARVE_EXPECT_OK(create_image(ground.engine(), ground.file("other"), with_data_file("data")));
  EXPECT_EQ(std::filesystem::file_size(ground.file("data")), 1u << 20);
}

TEST(Create, WantsAStorageForTheDataAndRoomOnDevices) {
  Ground ground(GroundKind::threads);
  sim::SimDisk disk;
  sim::SimStorage storage(ground.engine(), disk);
  expect_error(create_image_in(storage, nullptr, with_data_file("data")),
               ErrorCode::invalid_argument);
  sim::SimDisk device;
  device.capabilities.fixed_size = true;
  device.content.resize(128 << 10);
  sim::SimStorage small(ground.engine(), device);
  CreateOptions options;
  options.size_bytes = 1 << 20;
  const Result<void> created = create_image_in(small, nullptr, options);
  expect_error(created, ErrorCode::no_space);
  EXPECT_EQ(created.error().limit, 128u << 10);
  options.format = Format::raw;
  expect_error(create_image_in(small, nullptr, options), ErrorCode::no_space);
  // A data file that is too small leaves no image behind.
  expect_error(create_image_in(storage, &small, with_data_file("data")), ErrorCode::no_space);
  EXPECT_EQ(disk.content.size(), 0u);
}

// The tables of the largest disk, in small clusters, need several refcount blocks of their own.
TEST(Create, CountsItsOwnTablesHoweverManyTheyAre) {
  Ground ground(GroundKind::threads);
  CreateOptions options;
  options.cluster_bytes = 512;
  options.refcount_bits = 64;
  options.size_bytes = std::uint64_t{1} << 34;
  ground.create(options);
  const auto image = ground.open(false);
  EXPECT_EQ(image->size(), options.size_bytes);
  VARVE_EXPECT_OK(image->close());
  expect_qemu_clean(ground.path());
}

// There is nothing to map or to take space for.
TEST(Create, AnEmptyDiskIsOneHoweverItIsPreallocated) {
  Ground ground(GroundKind::threads);
  for (const Format format : {Format::raw, Format::qcow2}) {
    for (const Preallocation preallocation : {Preallocation::off, Preallocation::metadata,
                                              Preallocation::falloc, Preallocation::full}) {
      if (format == Format::raw && preallocation == Preallocation::metadata) {
        continue;
      }
      CreateOptions options;
      options.format = format;
      options.size_bytes = 0;
      options.preallocation = preallocation;
      ground.create(options);
      OpenOptions open = ground.open_options(true);
      open.format = format;
      const auto image = Image::open(ground.engine(), ground.path(), open);
      VARVE_ASSERT_OK(image);
      EXPECT_EQ((*image)->size(), 0u);
      VARVE_EXPECT_OK((*image)->grow(65536));
      VARVE_EXPECT_OK((*image)->write(0, pattern(65536, 1)));
      VARVE_EXPECT_OK((*image)->close());
    }
  }
}

TEST(Create, KeepsWhatASmallHeaderHasRoomFor) {
  Ground ground(GroundKind::threads);
  CreateOptions options;
  options.cluster_bytes = 512;
  options.size_bytes = 1 << 20;
  for (const std::size_t length : {40u, 120u, 300u}) {
    options.backing_name.assign(length, 'b');
    options.backing_format = "raw";
    ground.create(options);
    OpenOptions open_options = ground.open_options(false);
    open_options.open_backing = false;
    const auto image = Image::open(ground.engine(), ground.path(), open_options);
    ASSERT_TRUE(image.has_value()) << describe(image.error());
    EXPECT_EQ((*image)->facts().backing_name, options.backing_name);
    VARVE_EXPECT_OK((*image)->close());
  }
}

// Nothing is left to go that would make room: told before the old image is overwritten.
TEST(Create, LeavesTheOldImageWhereTheNewNameDoesNotFitTheHeader) {
  Ground ground(GroundKind::threads);
  CreateOptions options;
  options.cluster_bytes = 512;
  options.size_bytes = 1 << 20;
  ground.create(options);
  {
    const auto image = ground.open(true);
    VARVE_EXPECT_OK(image->write(0, ByteVector(4096, std::byte{7})));
    VARVE_EXPECT_OK(image->close());
  }
  options.backing_name.assign(380, 'b');
  options.backing_format = "raw";
  EXPECT_FALSE(validate(options).has_value());
  EXPECT_FALSE(create_image(ground.engine(), ground.path(), options).has_value());
  const auto image = ground.open(false);
  ASSERT_NE(image, nullptr);
  ByteVector bytes(4096);
  VARVE_EXPECT_OK(image->read(0, bytes));
  EXPECT_EQ(bytes, ByteVector(4096, std::byte{7}));
  VARVE_EXPECT_OK(image->close());
}

TEST(Probe, KnowsOtherFormatsByTheirFirstBytes) {
  Ground ground(GroundKind::threads);
  struct Start {
    std::uint64_t offset;
    std::string bytes;
    const char* format;
    bool found;
  };
  const std::string qcow("QFI\xfb", 4);
  const Start starts[] = {
      {0, "nothing that anybody knows", "raw", false},
      {0, qcow + std::string("\0\0\0\3", 4), "qcow2", true},
      {0, qcow + std::string("\0\0\0\1", 4), "qcow", true},
      {0, "KDMV", "vmdk", true},
      {0, "COWD", "vmdk", true},
      {0, "# Disk DescriptorFile\n", "vmdk", true},
      {0, "conectix", "vpc", true},
      {0, "vhdxfile", "vhdx", true},
      {0, std::string("QED\0", 4), "qed", true},
      {64, "\x7f\x10\xda\xbe", "vdi", true},
      {0, "LUKS\xba\xbe", "luks", true},
      {0, "WithoutFreeSpace", "parallels", true},
      {0, "WithouFreSpacExt", "parallels", true},
  };
  for (const Start& start : starts) {
    SCOPED_TRACE(start.format);
    sim::SimDisk disk;
    disk.content.resize(4096);
    disk.content.write(start.offset, std::as_bytes(std::span(start.bytes)));
    sim::SimStorage storage(ground.engine(), disk);
    const auto report = probe(storage);
    ASSERT_TRUE(report.has_value());
    EXPECT_EQ(report->format, start.format);
    EXPECT_EQ(report->magic_found, start.found);
    // Who may write a disk's first bytes must not choose how it is read.
    OpenOptions options;
    options.format = Format::raw;
    options.untrusted = true;
    const auto image =
        Image::open(std::make_unique<sim::SimStorage>(ground.engine(), disk), "/", options);
    EXPECT_EQ(image.has_value(), !start.found);
    if (image) {
      VARVE_EXPECT_OK((*image)->close());
    }
  }
}

}  // namespace
}  // namespace varve::test
