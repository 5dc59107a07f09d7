// What the format does not allow is refused by both programs, and by Varve with the option's name.
#include <filesystem>

#include <gtest/gtest.h>

#include "interop/workbench.h"

namespace varve::interop {
namespace {

bool names_one_of(const char* text, const std::vector<std::string>& options) {
  for (const std::string& option : options) {
    if (std::string_view(text).find(option) != std::string_view::npos) {
      return true;
    }
  }
  return false;
}

class Refused : public ::testing::TestWithParam<Case> {};

TEST_P(Refused, ByVarveWithTheOptionsName) {
  Workbench bench(GetParam());
  const CreateOptions options = create_options(GetParam(), "backing", "data.raw");
  const Result<void> valid = validate(options);
  ASSERT_FALSE(valid.has_value());
  EXPECT_TRUE(names_one_of(valid.error().what, illegal_options(GetParam())))
      << describe(valid.error());
  const Result<void> created = create_image(bench.engine(), bench.image_path(), options);
  ASSERT_FALSE(created.has_value());
  EXPECT_EQ(created.error().code, valid.error().code);
  EXPECT_FALSE(std::filesystem::exists(bench.image_path()));
  EXPECT_FALSE(std::filesystem::exists(bench.path("data.raw")));
}

TEST_P(Refused, ByQemu) {
  VARVE_NEED_PEERS();
  const Workbench bench(GetParam());
  for (const Peer& peer : peers()) {
    const model::CommandResult result =
        peer.img({"create", "-q", "-f", "qcow2", "-o",
                  qemu_options(GetParam(), "backing", bench.path("data.raw")), bench.image_path(),
                  std::to_string(GetParam().disk_bytes())});
    EXPECT_NE(result.status, 0) << peer.name() << " makes what the format does not allow";
  }
}

INSTANTIATE_TEST_SUITE_P(Matrix, Refused, ::testing::ValuesIn(illegal_cases()),
                         [](const auto& parameter) { return name_of(parameter.param); });

TEST(RefusedCompression, IntoADataFile) {
  VARVE_NEED_PEERS();
  Workbench bench({3, 65536, 16, Kind::data_file});
  bench.create_by_varve();
  const std::unique_ptr<Image> image = bench.open(true);
  ASSERT_NE(image, nullptr);
  const Result<void> written = image->write_compressed(0, filled(1, 65536));
  ASSERT_FALSE(written.has_value());
  EXPECT_EQ(written.error().code, ErrorCode::unsupported) << describe(written.error());
  EXPECT_TRUE(names_one_of(written.error().what, {"data file", "data_file"}))
      << describe(written.error());
  VARVE_EXPECT_OK(image->close());
  for (const Peer& peer : peers()) {
    const model::CommandResult result =
        peer.io({"-f", "qcow2", "-c", "write -c 0 64k", bench.image_path()});
    EXPECT_TRUE(result.status != 0 || result.output.find("failed") != std::string::npos)
        << result.output;
    bench.expect_clean_by(peer);
  }
}

TEST(RefusedValues, OfSingleOptionsAreNamed) {
  struct Example {
    const char* option;
    CreateOptions options;
  };
  std::vector<Example> examples;
  for (const std::uint32_t bytes : {0u, 256u, 1000u, 4u << 20}) {
    examples.push_back({"cluster_size", {}});
    examples.back().options.cluster_bytes = bytes;
  }
  for (const std::uint32_t bits : {0u, 3u, 128u}) {
    examples.push_back({"refcount_bits", {}});
    examples.back().options.refcount_bits = bits;
  }
  for (const std::uint32_t version : {0u, 1u, 4u}) {
    examples.push_back({"version", {}});
    examples.back().options.version = version;
  }
  examples.push_back({"backing_fmt", {}});
  examples.back().options.backing_name = "below";
  examples.push_back({"backing_file", {}});
  examples.back().options.backing_name = std::string(1024, 'x');
  examples.back().options.backing_format = "raw";
  examples.push_back({"data_file_raw", {}});
  examples.back().options.data_file_raw = true;
  examples.push_back({"size", {}});
  examples.back().options.cluster_bytes = 512;
  examples.back().options.size_bytes = std::uint64_t{1} << 40;
  for (const Example& example : examples) {
    const Result<void> valid = validate(example.options);
    ASSERT_FALSE(valid.has_value()) << example.option;
    EXPECT_TRUE(names_one_of(valid.error().what, {example.option}))
        << example.option << ": " << describe(valid.error());
  }
}

}  // namespace
}  // namespace varve::interop
