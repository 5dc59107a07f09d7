// Memory of a request: alignment, patterns, files.

#include "io_buffer.h"

#include <bit>
#include <cstdint>
#include <fstream>

#include <gtest/gtest.h>

#include "model/qemu_img.h"

namespace varve::tool {
namespace {

std::uintptr_t address_bits(const IoBuffer& buffer) {
  return std::bit_cast<std::uintptr_t>(buffer.bytes().data()) % 4096;
}

TEST(IoBuffer, IsAlignedUnlessToldOtherwise) {
  EXPECT_EQ(address_bits(IoBuffer(1, false)), 0U);
  EXPECT_EQ(address_bits(IoBuffer(65536, false)), 0U);
  EXPECT_EQ(address_bits(IoBuffer(1, true)), 16U);
  EXPECT_EQ(IoBuffer(4096, true).bytes().size(), 4096U);
  EXPECT_TRUE(IoBuffer(0, false).bytes().empty());
}

TEST(IoBuffer, HoldsAPattern) {
  const IoBuffer buffer(1000, true);
  buffer.fill(0x41);
  EXPECT_TRUE(matches_pattern(buffer.bytes(), 0x41));
  EXPECT_FALSE(matches_pattern(buffer.bytes(), 0x42));
  buffer.bytes()[999] = std::byte{0};
  EXPECT_FALSE(matches_pattern(buffer.bytes(), 0x41));
  EXPECT_TRUE(matches_pattern({}, 1));
}

TEST(IoBuffer, RepeatsAFile) {
  const model::TemporaryFolder folder;
  std::ofstream(folder.file("abc")) << "abc";
  const IoBuffer buffer(8, false);
  EXPECT_EQ(buffer.fill_from_file(folder.file("abc")), std::nullopt);
  std::string text;
  for (const std::byte byte : buffer.bytes()) {
    text += static_cast<char>(byte);
  }
  EXPECT_EQ(text, "abcabcab");
}

TEST(IoBuffer, SaysWhatIsWrongWithAFile) {
  const IoBuffer buffer(8, false);
  EXPECT_EQ(buffer.fill_from_file("/nowhere/at/all"), "/nowhere/at/all: No such file or directory");
  EXPECT_EQ(buffer.fill_from_file("/dev/null"), "/dev/null: file is empty");
}

}  // namespace
}  // namespace varve::tool
