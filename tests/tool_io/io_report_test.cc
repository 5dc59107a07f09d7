// The texts qemu-io prints about a finished request.

#include "io_report.h"

#include <vector>

#include <gtest/gtest.h>

namespace varve::tool {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

TEST(IoSizeText, KeepsThreeDecimalsUnlessTheyAreZero) {
  EXPECT_EQ(io_size_text(0), "0 bytes");
  EXPECT_EQ(io_size_text(512), "512 bytes");
  EXPECT_EQ(io_size_text(1023), "1023 bytes");
  EXPECT_EQ(io_size_text(53.714250), "53.714250 bytes");
  EXPECT_EQ(io_size_text(1024), "1 KiB");
  EXPECT_EQ(io_size_text(1501), "1.466 KiB");
  EXPECT_EQ(io_size_text(65536), "64 KiB");
  EXPECT_EQ(io_size_text(4128768), "3.938 MiB");
  EXPECT_EQ(io_size_text(0x1p30), "1 GiB");
  EXPECT_EQ(io_size_text(0x1p40), "1 TiB");
  EXPECT_EQ(io_size_text(0x1p50), "1 PiB");
  EXPECT_EQ(io_size_text(0x1p60 * 1.5), "1.500 EiB");
}

TEST(IoDurationText, IsShortBelowOneSecond) {
  EXPECT_EQ(io_duration_text(milliseconds(0), false), "00.00 sec");
  EXPECT_EQ(io_duration_text(milliseconds(120), false), "00.12 sec");
  EXPECT_EQ(io_duration_text(milliseconds(1500), false), "0:00:01.50");
  EXPECT_EQ(io_duration_text(std::chrono::hours(1) + std::chrono::minutes(2), false), "1:02:00.00");
  EXPECT_EQ(io_duration_text(milliseconds(120), true), "0:00:00.12");
}

TEST(IoReportText, SaysHowMuchAndHowFast) {
  const IoReport report{"wrote", 512, 65536, 65536, milliseconds(500)};
  EXPECT_EQ(io_report_text(report, false),
            "wrote 65536/65536 bytes at offset 512\n"
            "64 KiB, 1 ops; 00.50 sec (128 KiB/sec and 2.0000 ops/sec)\n");
  EXPECT_EQ(io_report_text(report, true), "65536,1,0:00:00.50,131072.000,2.000\n");
}

TEST(IoReportText, SurvivesNoTimeAtAll) {
  const IoReport report{"read", 0, 0, 0, nanoseconds(0)};
  EXPECT_NE(io_report_text(report, false).find("read 0/0 bytes at offset 0\n"), std::string::npos);
}

TEST(IoDumpText, ShowsSixteenBytesALine) {
  std::vector<std::byte> data(20, std::byte{'A'});
  data[1] = std::byte{'z'};
  data[2] = std::byte{0xcd};
  data[3] = std::byte{' '};
  EXPECT_EQ(io_dump_text(data, 5),
            "00000005:  41 7a cd 20 41 41 41 41 41 41 41 41 41 41 41 41  Az..AAAAAAAAAAAA\n"
            "00000015:  41 41 41 41  AAAA\n");
  EXPECT_EQ(io_dump_text({}, 0), "");
  EXPECT_EQ(io_dump_text(std::span(data).first(1), 0x123456789a), "123456789a:  41  A\n");
}

TEST(IoExtentText, NamesBothEnds) {
  EXPECT_EQ(io_extent_text(0, 65536, true),
            "64 KiB (0x10000) bytes     allocated at offset 0 bytes (0x0)\n");
  EXPECT_EQ(io_extent_text(65536, 4128768, false),
            "3.938 MiB (0x3f0000) bytes not allocated at offset 64 KiB (0x10000)\n");
}

}  // namespace
}  // namespace varve::tool
