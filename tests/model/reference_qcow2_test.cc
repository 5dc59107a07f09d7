// Goal: the reference reader agrees with QEMU on images QEMU made, and its checker sees damage.
#include "model/reference_qcow2.h"

#include <gtest/gtest.h>

#include "model/missing.h"
#include "sim/random.h"

namespace varve::model {
namespace {

struct ImageCase {
  const char* name;
  const char* options;
  bool snapshots;
};
std::ostream& operator<<(std::ostream& stream, const ImageCase& image) {
  return stream << image.name;
}

class ReferenceReader : public ::testing::TestWithParam<ImageCase> {
 protected:
  void SetUp() override {
    if (!has_program("qemu-img") || !has_program("qemu-io")) {
      VARVE_MISSING("qemu-img or qemu-io is missing");
    }
    path_ = folder_.file("image.qcow2");
    must({"qemu-img", "create", "-f", "qcow2", "-o", GetParam().options, path_, "1536K"});
  }
  void must(const std::vector<std::string>& arguments) {
    const CommandResult result = run_command(arguments);
    ASSERT_EQ(result.status, 0) << result.output;
  }
  void io(const std::vector<std::string>& commands) {
    std::vector<std::string> arguments = {"qemu-io", "-f", "qcow2"};
    for (const std::string& command : commands) {
      arguments.insert(arguments.end(), {"-c", command});
    }
    arguments.push_back(path_);
    must(arguments);
  }
  std::vector<std::byte> converted(const std::vector<std::string>& more = {}) {
    const std::string raw = folder_.file("raw");
    std::vector<std::string> arguments = {"qemu-img", "convert", "-f", "qcow2", "-O", "raw"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    arguments.insert(arguments.end(), {path_, raw});
    must(arguments);
    const auto loaded = load_file(raw);
    return loaded ? loaded->flat() : std::vector<std::byte>();
  }

  TemporaryFolder folder_;
  std::string path_;
};

TEST_P(ReferenceReader, AgreesWithQemu) {
  io({"write -P 1 0 300K", "write -P 2 100001 5000", "write -z 64K 70K", "write -c -P 3 512K 64K",
      "write -P 4 900K 200K", "discard 960K 64K"});
  std::vector<std::byte> before;
  if (GetParam().snapshots) {
    before = converted();
    must({"qemu-img", "snapshot", "-c", "one", path_});
    io({"write -P 5 10K 40K", "write -P 6 520K 3K", "write -P 7 1400K 4K"});
  }
  const std::vector<std::byte> active = converted();
  const auto file = load_file(path_);
  ASSERT_TRUE(file);
  std::string why;
  const auto image = ReferenceQcow2::open(*file, why);
  ASSERT_TRUE(image) << why;
  std::vector<std::byte> found(static_cast<std::size_t>(image->virtual_size()));
  ASSERT_TRUE(image->read(0, found, why)) << why;
  EXPECT_EQ(found, active);
  if (GetParam().snapshots) {
    ASSERT_EQ(image->snapshots().size(), 1u);
    EXPECT_EQ(image->snapshots()[0].name, "one");
    EXPECT_EQ(image->snapshots()[0].disk_size, image->virtual_size());
    ASSERT_TRUE(image->read_snapshot(0, 0, found, why)) << why;
    EXPECT_EQ(found, before);
  }
  const ReferenceReport report = image->check();
  EXPECT_TRUE(report.corruptions.empty()) << report.text();
  EXPECT_TRUE(report.mismatches.empty()) << report.text();
  EXPECT_EQ(report.leaks, 0u);
}

TEST_P(ReferenceReader, SeesWhatQemuSeesInADamagedImage) {
  io({"write -P 1 0 200K", "write -P 2 900K 64K"});
  const auto file = load_file(path_);
  ASSERT_TRUE(file);
  const std::uint64_t seed = sim::seed_from_environment();
  SCOPED_TRACE("VARVE_SEED=" + std::to_string(seed));
  sim::Random random(seed);
  std::array<std::byte, 8> raw{};
  file->read(40, raw);
  const auto l1 = load_be<std::uint64_t>(raw, 0);
  file->read(l1, raw);
  const std::uint64_t l2 = load_be<std::uint64_t>(raw, 0) & 0x00ff'ffff'ffff'fe00;
  for (int i = 0; i < 20; ++i) {
    SCOPED_TRACE("damage " + std::to_string(i));
    sim::SparseBytes damaged(&*file);
    const std::uint64_t at = (random.chance(30) ? l1 : l2) + random.below(4) * 8 + 4;
    std::array<std::byte, 4> bytes{};
    damaged.read(at, bytes);
    bytes[random.below(3)] ^= static_cast<std::byte>(1u << random.below(8));
    damaged.write(at, bytes);
    const std::string path = folder_.file("damaged");
    ASSERT_TRUE(damaged.save(path));
    std::string why;
    const auto image = ReferenceQcow2::open(damaged, why);
    ASSERT_TRUE(image) << why;
    const ReferenceReport report = image->check();
    if (const auto complaint = qemu_check(path)) {
      EXPECT_FALSE(report.corruptions.empty() && report.mismatches.empty()) << *complaint;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Images, ReferenceReader,
    ::testing::Values(ImageCase{"Default", "compat=1.1", true},
                      ImageCase{"Old", "compat=0.10,cluster_size=4k", true},
                      ImageCase{"Tiny", "cluster_size=512,refcount_bits=64", true},
                      ImageCase{"OneBit", "cluster_size=4k,refcount_bits=1", false},
                      ImageCase{"EightBits", "cluster_size=8k,refcount_bits=8", true},
                      ImageCase{"FourBits", "cluster_size=8k,refcount_bits=4", false},
                      ImageCase{"Extended", "cluster_size=16k,extended_l2=on", true},
                      ImageCase{"Zstd", "compression_type=zstd", true}),
    [](const ::testing::TestParamInfo<ImageCase>& parameter) {
      return std::string(parameter.param.name);
    });

}  // namespace
}  // namespace varve::model
