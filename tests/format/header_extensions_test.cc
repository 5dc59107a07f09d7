// Header extensions: what is known is checked, what is not is carried along.
#include <cstdint>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "format/header.h"
#include "format/header_builder.h"

namespace varve {
namespace {

using test::good_header;
using test::Memory;
using test::serialised;
using test::set_field;
using test::to_memory;

Corruption reason_of(const Header& header) {
  const Result<Header> parsed = Header::parse(serialised(header));
  if (parsed) {
    return Corruption::none;
  }
  EXPECT_EQ(parsed.error().code, ErrorCode::corrupt);
  return parsed.error().corruption;
}

Memory bitmaps_data(std::uint32_t count, std::uint32_t reserved, std::uint64_t bytes,
                    std::uint64_t offset) {
  Memory data(24);
  store_be(data, 0, count);
  store_be(data, 4, reserved);
  store_be(data, 8, bytes);
  store_be(data, 16, offset);
  return data;
}

Header with_bitmaps(const Memory& data, bool consistent = true) {
  Header header = good_header();
  header.autoclear = consistent ? kAutoclearBitmaps : 0;
  header.extensions.push_back({kExtensionBitmaps, data});
  return header;
}

TEST(HeaderExtension, ReadsTheStrings) {
  Header header = good_header();
  header.incompatible = kIncompatibleDataFile;
  header.extensions = {{kExtensionBackingFormat, to_memory("qcow2")},
                       {kExtensionDataFile, to_memory("disk.data")}};
  header.backing_name = "base";
  const Result<Header> parsed = Header::parse(serialised(header));
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->backing_format(), "qcow2");
  EXPECT_EQ(parsed->data_file_name(), "disk.data");
  EXPECT_EQ(parsed->backing_name, "base");
}

TEST(HeaderExtension, NamesNoDataFileWithoutItsFeatureBit) {
  Header header = good_header();
  header.extensions = {{kExtensionDataFile, to_memory("/etc/passwd")}};
  const Result<Header> parsed = Header::parse(serialised(header));
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->data_file_name(), std::nullopt);
}

TEST(HeaderExtension, RefusesBadStrings) {
  for (const std::uint32_t type : {kExtensionBackingFormat, kExtensionDataFile}) {
    const Corruption reason = type == kExtensionBackingFormat ? Corruption::backing_format_invalid
                                                              : Corruption::data_file_name_invalid;
    const std::size_t longest = type == kExtensionBackingFormat ? 15 : 1023;
    for (const Memory& data : {Memory(), Memory(longest + 1, std::byte{'a'}), Memory(3)}) {
      Header header = good_header();
      header.extensions = {{type, data}};
      EXPECT_EQ(reason_of(header), reason) << data.size();
    }
    Header header = good_header();
    header.extensions = {{type, Memory(longest, std::byte{'a'})}};
    EXPECT_EQ(reason_of(header), Corruption::none);
  }
}

TEST(HeaderExtension, RefusesKnownOnesTwice) {
  Header header = good_header();
  header.extensions = {{kExtensionFeatureNames, {}}, {kExtensionFeatureNames, {}}};
  EXPECT_EQ(reason_of(header), Corruption::extension_duplicate);
  header.extensions = {{0x11111111, {}}, {0x11111111, {}}};
  EXPECT_EQ(reason_of(header), Corruption::none);
}

TEST(HeaderExtension, RefusesAnEncryptionHeaderWithoutEncryption) {
  Header header = good_header();
  header.extensions = {{kExtensionEncryption, Memory(16)}};
  EXPECT_EQ(reason_of(header), Corruption::encryption_extension_without_encryption);
}

TEST(HeaderExtension, ReadsBitmapsOnlyWhileTheyAreConsistent) {
  const Memory data = bitmaps_data(2, 0, 96, 0x90000);
  const Result<Header> parsed = Header::parse(serialised(with_bitmaps(data)));
  ASSERT_TRUE(parsed);
  ASSERT_TRUE(parsed->bitmaps());
  EXPECT_EQ(parsed->bitmaps()->count, 2u);
  EXPECT_EQ(parsed->bitmaps()->directory_bytes, 96u);
  EXPECT_EQ(parsed->bitmaps()->directory_offset, HostOffset(0x90000));
  // Another program wrote to the disk and cleared the bit: the data is out of date, and kept.
  const Result<Header> stale = Header::parse(serialised(with_bitmaps(Memory(3), false)));
  ASSERT_TRUE(stale);
  EXPECT_FALSE(stale->bitmaps());
  EXPECT_EQ(stale->extensions.at(0).data, Memory(3));
}

TEST(HeaderExtension, NamesTheRuleABitmapsExtensionBreaks) {
  const auto reason = [](const Memory& data) { return reason_of(with_bitmaps(data)); };
  EXPECT_EQ(reason(Memory(23)), Corruption::bitmaps_extension_length);
  EXPECT_EQ(reason(Memory(25)), Corruption::bitmaps_extension_length);
  EXPECT_EQ(reason(bitmaps_data(1, 1, 24, 0x90000)), Corruption::bitmaps_extension_reserved);
  EXPECT_EQ(reason(bitmaps_data(0, 0, 24, 0x90000)), Corruption::bitmap_count_out_of_range);
  EXPECT_EQ(reason(bitmaps_data(65535, 0, 24, 0x90000)), Corruption::none);
  EXPECT_EQ(reason(bitmaps_data(65536, 0, 24, 0x90000)), Corruption::bitmap_count_out_of_range);
  EXPECT_EQ(reason(bitmaps_data(1, 0, 0, 0x90000)), Corruption::bitmap_directory_size_out_of_range);
  EXPECT_EQ(reason(bitmaps_data(1, 0, kBitmapDirectoryBytesMax + 1, 0x90000)),
            Corruption::bitmap_directory_size_out_of_range);
  EXPECT_EQ(reason(bitmaps_data(1, 0, 24, 0x90008)), Corruption::bitmap_directory_unaligned);
  EXPECT_EQ(reason(bitmaps_data(1, 0, 24, 0)), Corruption::bitmap_directory_out_of_range);
  EXPECT_EQ(reason(bitmaps_data(1, 0, 24, ~0ull << 16)), Corruption::bitmap_directory_out_of_range);
}

TEST(HeaderExtension, EndsBeforeTheClusterOrTheBackingName) {
  for (const std::uint32_t version : {2u, 3u}) {
    const std::size_t begin = version == 2 ? 72 : 112;
    for (const bool with_name : {false, true}) {
      Header header = good_header(version, 9);
      header.backing_name = with_name ? std::string(100, 'n') : "";
      header.extensions = {{0x22222222, Memory(32)}};
      Memory cluster = serialised(header);
      const std::size_t name_at = begin + 8 + 32 + 8;
      const std::uint32_t room =
          static_cast<std::uint32_t>((with_name ? name_at : cluster.size()) - begin - 8);
      store_be<std::uint32_t>(cluster, begin + 4, room);
      ASSERT_TRUE(Header::parse(cluster)) << room;
      for (const std::uint32_t length : {room + 1, 0x7fffffffu, 0xfffffff8u, 0xffffffffu}) {
        store_be<std::uint32_t>(cluster, begin + 4, length);
        const Result<Header> parsed = Header::parse(cluster);
        ASSERT_FALSE(parsed) << length;
        EXPECT_EQ(parsed.error().corruption, Corruption::extension_beyond_header);
        EXPECT_EQ(parsed.error().value, length);
        EXPECT_EQ(parsed.error().limit, room);
        EXPECT_EQ(parsed.error().offset, begin + 4);
      }
    }
  }
}

TEST(HeaderExtension, TakesAnAreaWithoutEndMarker) {
  // Old images put the backing name straight behind the fields.
  Header header = good_header(2, 9);
  header.backing_name = "old";
  Memory cluster = serialised(header);
  copy_bytes(Bytes(cluster).subspan(72, 3), to_memory("old"));
  set_field(cluster, "backing_name_offset", 72);
  const Result<Header> parsed = Header::parse(cluster);
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->backing_name, "old");
  EXPECT_TRUE(parsed->extensions.empty());
}

TEST(HeaderExtension, KeepsUnknownOnesInOrder) {
  Header header = good_header();
  header.extensions = {{0x33333333, to_memory("three")}, {0x11111111, {}}, {0x22222222, Memory(8)}};
  const Result<Header> parsed = Header::parse(serialised(header));
  ASSERT_TRUE(parsed);
  ASSERT_EQ(parsed->extensions.size(), 3u);
  EXPECT_EQ(parsed->extensions[0].type, 0x33333333u);
  EXPECT_EQ(parsed->extensions[0].data, to_memory("three"));
  EXPECT_EQ(parsed->extensions[2].data, Memory(8));
}

TEST(FeatureNames, NameWhatIsUnknown) {
  Header header = good_header();
  HeaderExtension names = Header::known_feature_names();
  Memory entry(48);
  entry[1] = std::byte{7};
  copy_bytes(Bytes(entry).subspan(2, 14), to_memory("flux capacitor"));
  names.data.insert(names.data.end(), entry.begin(), entry.end());
  header.extensions.push_back(names);
  header.incompatible = kIncompatibleDirty | 1u << 7 | 1u << 9;
  const Memory cluster = serialised(header);
  EXPECT_EQ(Header::parse(cluster).error().code, ErrorCode::unsupported);
  EXPECT_EQ(Header::describe_unknown_features(cluster), "flux capacitor (bit 7), bit 9");
}

TEST(FeatureNames, PrintNothingThatATerminalObeys) {
  Header header = good_header();
  Memory entry(48, std::byte{0x1b});
  entry[0] = std::byte{0};
  entry[1] = std::byte{40};
  header.extensions.push_back({kExtensionFeatureNames, entry});
  header.incompatible = 1ull << 40;
  EXPECT_EQ(Header::describe_unknown_features(serialised(header)),
            std::string(46, '?') + " (bit 40)");
}

TEST(FeatureNames, LeaveOutImpossibleEntries) {
  Header header = good_header();
  Memory table(48 * 3 + 20);
  table[0] = std::byte{3};
  table[48 + 1] = std::byte{64};
  table[96] = std::byte{2};
  table[98] = std::byte{'n'};
  header.extensions.push_back({kExtensionFeatureNames, table});
  const std::vector<FeatureName> names = Header::parse(serialised(header))->feature_names();
  ASSERT_EQ(names.size(), 1u);
  EXPECT_EQ(names[0].kind, FeatureName::Kind::autoclear);
  EXPECT_EQ(names[0].name, "n");
}

}  // namespace
}  // namespace varve
