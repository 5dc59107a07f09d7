// Backing chains: whose bytes are read where, how names are found, and what is refused.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>

#include "base/endian.h"
#include "image/ground.h"

namespace varve::test {
namespace {

constexpr std::uint32_t kCluster = 65536;

struct Below {
  const char* name;
  const char* format;
  std::uint64_t size;  // Against a disk of 20 clusters.
  std::uint32_t cluster_bytes;
};

constexpr std::uint64_t kDisk = 20 * kCluster + 512;

class Chain : public ::testing::TestWithParam<Below> {};
INSTANTIATE_TEST_SUITE_P(
    Backings, Chain,
    ::testing::Values(Below{"raw_short", "raw", 7 * kCluster + 1024, 0},
                      Below{"raw_long", "raw", kDisk + 3 * kCluster, 0},
                      Below{"raw_cut_inside_a_sector", "raw", 7 * kCluster + 100, 0},
                      Below{"raw_empty", "raw", 0, 0},
                      Below{"qcow2_short", "qcow2", 7 * kCluster + 1024, kCluster},
                      Below{"qcow2_long", "qcow2", kDisk + 3 * kCluster, kCluster},
                      Below{"qcow2_smaller_clusters", "qcow2", 9 * kCluster + 512, 4096},
                      Below{"qcow2_larger_clusters", "qcow2", 9 * kCluster + 512, 2u << 20}),
    [](const auto& parameter) { return std::string(parameter.param.name); });

void write_raw(const std::string& path, const ByteVector& bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(static_cast<const char*>(static_cast<const void*>(bytes.data())),
             static_cast<std::streamsize>(bytes.size()));
  ASSERT_TRUE(file.flush().good());
}

void make_image(Engine& engine, const std::string& path, const CreateOptions& options,
                const ByteVector& content = {}) {
  VARVE_ASSERT_OK(create_image(engine, path, options));
  if (!content.empty()) {
    OpenOptions open_options;
    open_options.writable = true;
    open_options.open_backing = false;
    auto image = Image::open(engine, path, open_options);
    ASSERT_TRUE(image.has_value()) << describe(image.error());
    VARVE_ASSERT_OK((*image)->write(0, content));
    VARVE_ASSERT_OK((*image)->close());
  }
}

CreateOptions over(const std::string& name, const std::string& format, std::uint64_t size = kDisk) {
  CreateOptions options;
  options.size_bytes = size;
  options.cluster_bytes = kCluster;
  options.backing_name = name;
  options.backing_format = format;
  return options;
}

// Makes the file below and the image over it; what the disk holds.
ByteVector make_chain(Ground& ground, const Below& below) {
  ByteVector content = pattern(below.size, 5);
  if (below.format == std::string_view("raw")) {
    write_raw(ground.file("below"), content);
  } else {
    CreateOptions options;
    options.size_bytes = below.size;
    options.cluster_bytes = below.cluster_bytes;
    make_image(ground.engine(), ground.file("below"), options, content);
  }
  ground.create(over("below", below.format));
  content.resize(kDisk);
  return content;
}

TEST_P(Chain, ReadsThroughAndEndsWhereTheBackingEnds) {
  Ground ground(GroundKind::uring);
  const ByteVector expected = make_chain(ground, GetParam());
  const std::unique_ptr<Image> image = ground.open(false);
  ASSERT_NE(image, nullptr);
  ASSERT_NE(image->backing(), nullptr);
  EXPECT_TRUE(read_all(*image) == expected);
  const std::uint64_t end = std::min<std::uint64_t>(GetParam().size, kDisk - 2000);
  for (const std::uint64_t offset : {end, end > 1500 ? end - 1500 : end, end > 7 ? end - 7 : end}) {
    ByteVector bytes(1999);
    VARVE_EXPECT_OK(image->read(offset, bytes));
    EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(),
                           expected.begin() + static_cast<std::ptrdiff_t>(offset)))
        << "across the backing file's end, at " << offset;
  }
  VARVE_EXPECT_OK(image->close());
}

TEST_P(Chain, PartialWritesKeepWhatIsAround) {
  Ground ground(GroundKind::uring);
  ByteVector expected = make_chain(ground, GetParam());
  const std::unique_ptr<Image> image = ground.open(true);
  ASSERT_NE(image, nullptr);
  for (const auto& [offset, length] : {std::pair<std::uint64_t, std::uint64_t>{100, 50},
                                       {3 * kCluster - 10, 20},
                                       {7 * kCluster + 500, 3000},
                                       {9 * kCluster, 1},
                                       {12 * kCluster, 2 * kCluster},
                                       {kDisk - 3, 3}}) {
    const ByteVector bytes = pattern(length, 8);
    VARVE_EXPECT_OK(image->write(offset, bytes));
    std::ranges::copy(bytes, expected.begin() + static_cast<std::ptrdiff_t>(offset));
  }
  VARVE_EXPECT_OK(image->write_zeroes(5 * kCluster + 1, kCluster, true));
  std::fill_n(expected.begin() + 5 * kCluster + 1, kCluster, std::byte{0});
  VARVE_EXPECT_OK(image->discard(2 * kCluster - 5, 2 * kCluster));
  std::fill_n(expected.begin() + 2 * kCluster, kCluster, std::byte{0});
  EXPECT_TRUE(read_all(*image) == expected);
  VARVE_EXPECT_OK(image->close());
  const std::unique_ptr<Image> again = ground.open(false);
  ASSERT_NE(again, nullptr);
  EXPECT_TRUE(read_all(*again) == expected);
  VARVE_EXPECT_OK(again->close());
  expect_qemu_clean(ground.path());
}

// History: a5675f3901.
TEST_P(Chain, GrowthShowsZerosNotTheBacking) {
  Ground ground(GroundKind::uring);
  ByteVector expected = make_chain(ground, GetParam());
  const std::unique_ptr<Image> image = ground.open(true);
  ASSERT_NE(image, nullptr);
  VARVE_EXPECT_OK(image->grow(kDisk + 10 * kCluster));
  expected.resize(kDisk + 10 * kCluster);
  EXPECT_TRUE(read_all(*image) == expected);
  VARVE_EXPECT_OK(image->close());
  expect_qemu_clean(ground.path());
}

// History: cloud-hypervisor 59b72c51c.
TEST(BackingName, IsRelativeToTheImageNotToTheWorkingFolder) {
  Ground ground(GroundKind::uring);
  std::filesystem::create_directories(ground.file("a/b"));
  std::filesystem::create_directories(ground.file("c"));
  write_raw(ground.file("a/base.raw"), pattern(kDisk, 1));
  make_image(ground.engine(), ground.file("a/b/middle"), over("../base.raw", "raw"));
  make_image(ground.engine(), ground.file("c/top"), over("../a/b/middle", "qcow2"));
  const std::filesystem::path before = std::filesystem::current_path();
  for (const auto& [folder, name] :
       {std::pair<std::string, std::string>{"a", "../c/top"}, {"c", "top"}, {"", "c/top"}}) {
    std::filesystem::current_path(ground.file(folder));
    auto image = Image::open(ground.engine(), name, {});
    ASSERT_TRUE(image.has_value()) << describe(image.error());
    EXPECT_TRUE(read_all(**image) == pattern(kDisk, 1));
    VARVE_EXPECT_OK((*image)->close());
    std::filesystem::current_path(before);
  }
}

TEST(BackingLoop, IsRefusedHoweverItIsMade) {
  Ground ground(GroundKind::uring);
  // Itself, each other, through a symbolic link, through a hard link.
  make_image(ground.engine(), ground.file("self"), over("self", "qcow2"));
  make_image(ground.engine(), ground.file("one"), over("two", "qcow2"));
  make_image(ground.engine(), ground.file("two"), over("one", "qcow2"));
  make_image(ground.engine(), ground.file("linked"), over("symbolic", "qcow2"));
  std::filesystem::create_symlink("linked", ground.file("symbolic"));
  make_image(ground.engine(), ground.file("twice"), over("hard", "qcow2"));
  std::filesystem::create_hard_link(ground.file("twice"), ground.file("hard"));
  for (const char* name : {"self", "one", "two", "linked", "symbolic", "twice", "hard"}) {
    const auto image = Image::open(ground.engine(), ground.file(name), {});
    ASSERT_FALSE(image.has_value()) << name;
    EXPECT_EQ(image.error().corruption, Corruption::backing_loop) << describe(image.error());
  }
}

TEST(BackingDepth, IsLimited) {
  Ground ground(GroundKind::uring);
  write_raw(ground.file("0"), pattern(kDisk, 1));
  for (int i = 1; i <= 5; ++i) {
    make_image(ground.engine(), ground.file(std::to_string(i)),
               over(std::to_string(i - 1), i == 1 ? "raw" : "qcow2"));
  }
  OpenOptions options;
  options.chain_depth_max = 5;
  auto image = Image::open(ground.engine(), ground.file("5"), options);
  ASSERT_TRUE(image.has_value()) << describe(image.error());
  EXPECT_TRUE(read_all(**image) == pattern(kDisk, 1));
  VARVE_EXPECT_OK((*image)->close());
  options.chain_depth_max = 4;
  const auto refused = Image::open(ground.engine(), ground.file("5"), options);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().corruption, Corruption::backing_too_deep) << describe(refused.error());
  options.chain_depth_max = 0;
  options.open_backing = false;
  image = Image::open(ground.engine(), ground.file("5"), options);
  ASSERT_TRUE(image.has_value()) << describe(image.error());
  EXPECT_TRUE(read_all(**image) == ByteVector(kDisk)) << "no backing was to be opened";
  VARVE_EXPECT_OK((*image)->close());
}

TEST(BackingFormat, IsNeverGuessed) {
  Ground ground(GroundKind::uring);
  write_raw(ground.file("below"), pattern(kDisk, 1));
  ground.create(over("below", "raw"));
  {
    // The extension that names the format becomes one nobody knows.
    std::fstream file(ground.path(), std::ios::binary | std::ios::in | std::ios::out);
    ByteVector head(4096);
    file.read(static_cast<char*>(static_cast<void*>(head.data())), 4096);
    bool is_found = false;
    for (std::size_t i = 104; i + 4 <= head.size() && !is_found; i += 8) {
      is_found = load_be<std::uint32_t>(head, i) == 0xe2792aca;
      if (is_found) {
        file.seekp(static_cast<std::streamoff>(i));
        file.write("abcd", 4);
      }
    }
    ASSERT_TRUE(is_found);
  }
  const auto refused = Image::open(ground.engine(), ground.path(), {});
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::invalid_argument) << describe(refused.error());
  OpenOptions options;
  options.backing_format = Format::raw;
  auto image = Image::open(ground.engine(), ground.path(), options);
  ASSERT_TRUE(image.has_value()) << describe(image.error());
  EXPECT_TRUE(read_all(**image) == pattern(kDisk, 1));
  VARVE_EXPECT_OK((*image)->close());
}

TEST(BackingFormat, UnknownIsRefused) {
  Ground ground(GroundKind::uring);
  write_raw(ground.file("below"), pattern(kDisk, 1));
  ground.create(over("below", "vmdk"));
  const auto refused = Image::open(ground.engine(), ground.path(), {});
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::unsupported) << describe(refused.error());
}

TEST(BackingName, IsAFileNameWhateverItLooksLike) {
  // Neither a protocol nor JSON: a name that does not exist.
  Ground ground(GroundKind::uring);
  for (const char* name : {"json:{\"driver\":\"qcow2\"}", "nbd://localhost/x", "fat:/",
                           ""
                           "file:below"}) {
    write_raw(ground.file("below"), pattern(kDisk, 1));
    ground.create(over(name, "raw"));
    const auto refused = Image::open(ground.engine(), ground.path(), {});
    ASSERT_FALSE(refused.has_value()) << name;
    EXPECT_EQ(refused.error().code, ErrorCode::not_found) << describe(refused.error());
  }
}

// Files that exist only here.
class Shelf final : public FileOpener {
 public:
  explicit Shelf(Engine& engine) : engine_(engine) {}
  void put(const std::string& name, const ByteVector& bytes) { files_[name] = bytes; }
  [[nodiscard]] const std::vector<std::string>& asked() const { return asked_; }

  Result<std::unique_ptr<Storage>> open(Engine& engine, const std::string& name,
                                        const FileOptions& options) override {
    EXPECT_EQ(&engine, &engine_);
    EXPECT_FALSE(options.create);
    asked_.push_back(name);
    const auto found = files_.find(name);
    if (found == files_.end()) {
      Error error;
      error.code = ErrorCode::not_found;
      return error;
    }
    Result<std::unique_ptr<Storage>> storage = make_memory_storage(engine, found->second.size());
    EXPECT_TRUE(storage.has_value());
    VARVE_EXPECT_OK(write(**storage, 0, found->second));
    return storage;
  }

 private:
  Engine& engine_;
  std::map<std::string, ByteVector> files_;
  std::vector<std::string> asked_;
};

ByteVector image_bytes(Engine& engine, const CreateOptions& options) {
  const std::unique_ptr<Storage> storage = std::move(*make_memory_storage(engine, 0));
  VARVE_EXPECT_OK(create_image_in(*storage, nullptr, options));
  return read(*storage, 0, storage->size());
}

TEST(CallersOpener, IsAskedForEveryFileAndNoPathIsOpened) {
  const std::unique_ptr<Engine> engine = make_engine(AioBackend::threads, 256, 0);
  Shelf shelf(*engine);
  shelf.put("/nowhere/top", image_bytes(*engine, over("sub/middle", "qcow2")));
  shelf.put("/nowhere/sub/middle", image_bytes(*engine, over("/else/base", "raw")));
  shelf.put("/else/base", pattern(kDisk, 3));
  OpenOptions options;
  options.opener = &shelf;
  auto image = Image::open(*engine, "/nowhere/top", options);
  ASSERT_TRUE(image.has_value()) << describe(image.error());
  EXPECT_TRUE(read_all(**image) == pattern(kDisk, 3));
  VARVE_EXPECT_OK((*image)->close());
  EXPECT_EQ(shelf.asked(),
            (std::vector<std::string>{"/nowhere/top", "/nowhere/sub/middle", "/else/base"}));
}

TEST(CallersStorage, WithoutAFolderRefusesRelativeNames) {
  const std::unique_ptr<Engine> engine = make_engine(AioBackend::threads);
  const ByteVector bytes = image_bytes(*engine, over("below", "raw"));
  auto storage = std::move(*make_memory_storage(*engine, bytes.size()));
  VARVE_ASSERT_OK(write(*storage, 0, bytes));
  const auto image = Image::open(std::move(storage), "", {});
  ASSERT_FALSE(image.has_value());
  EXPECT_EQ(image.error().code, ErrorCode::invalid_argument) << describe(image.error());
}

TEST(BackingOverride, ReplacesTheHeadersName) {
  Ground ground(GroundKind::uring);
  write_raw(ground.file("other"), pattern(kDisk, 6));
  ground.create(over("missing", "raw"));
  const auto refused = Image::open(ground.engine(), ground.path(), {});
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::not_found) << describe(refused.error());
  OpenOptions options;
  options.backing_override = "other";
  auto image = Image::open(ground.engine(), ground.path(), options);
  ASSERT_TRUE(image.has_value()) << describe(image.error());
  EXPECT_TRUE(read_all(**image) == pattern(kDisk, 6));
  VARVE_EXPECT_OK((*image)->close());
}

}  // namespace
}  // namespace varve::test
