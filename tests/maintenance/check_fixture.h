// Images to check: made by Varve or by QEMU, damaged byte by byte, and checked beside qemu-img.
#pragma once

#include <array>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <varve/check.h>
#include <varve/create.h>
#include <varve/engine.h>
#include <varve/image.h>
#include <varve/snapshot.h>

#include "format/header.h"
#include "format/qemu_img.h"

namespace varve::test {

class CheckTest : public ::testing::Test {
 protected:
  CheckTest() : engine_(std::move(Engine::create().value())), path_(folder_.file("disk.qcow2")) {}

  // An image with clusters 0 to 5 and 8 written, one after the other.
  void make(const CreateOptions& options) {
    ASSERT_TRUE(create_image(*engine_, path_, options).has_value());
    cluster_ = options.cluster_bytes;
    const auto image = open(true);
    write(*image, 0, 6);
    write(*image, 8, 1);
    ASSERT_TRUE(image->close().has_value());
  }
  static CreateOptions small(std::uint32_t cluster_bytes = 4096) {
    CreateOptions options;
    options.size_bytes = 16 * kMiB;
    options.cluster_bytes = cluster_bytes;
    return options;
  }

  std::unique_ptr<Image> open(bool writable) {
    OpenOptions options;
    options.writable = writable;
    auto image = Image::open(*engine_, path_, options);
    EXPECT_TRUE(image.has_value()) << describe(image.error());
    return image ? std::move(*image) : nullptr;
  }
  // Writes whole clusters.
  void write(Image& image, std::uint64_t first, std::uint64_t count) const {
    std::vector<std::byte> bytes(count * cluster_, std::byte{0x5a});
    const Result<void> written = image.write(first * cluster_, bytes);
    ASSERT_TRUE(written.has_value()) << describe(written.error());
  }

  CheckReport run(const CheckOptions& options = {}) {
    const auto image = open(false);
    if (image == nullptr) {
      return {};
    }
    Result<CheckReport> report = check(*image, options);
    EXPECT_TRUE(report.has_value()) << describe(report.error());
    EXPECT_TRUE(image->close().has_value());
    return report ? std::move(*report) : CheckReport();
  }

  // --- bytes of the file
  [[nodiscard]] std::uint64_t get(std::uint64_t offset, std::size_t size = 8) const {
    std::uint64_t value = 0;
    for (const std::byte byte : read_bytes(path_, offset, size)) {
      value = value << 8 | std::to_integer<std::uint64_t>(byte);
    }
    return value;
  }
  void put(std::uint64_t offset, std::uint64_t value, std::size_t size = 8) const {
    std::vector<std::byte> bytes(size);
    for (std::size_t i = size; i-- > 0; value >>= 8) {
      bytes[i] = static_cast<std::byte>(value & 0xff);
    }
    patch_bytes(path_, offset, bytes);
  }
  [[nodiscard]] std::uint64_t l1(std::uint64_t index = 0) const {
    return get(offsetof(RawHeader, l1_offset)) + index * 8;
  }
  static constexpr std::uint64_t kOffset = 0x00ff'ffff'ffff'fe00;
  static constexpr std::uint64_t kCopied = std::uint64_t{1} << 63;
  // The place of an entry of the first L2 table, and the cluster it names.
  [[nodiscard]] std::uint64_t l2(std::uint64_t index, std::size_t entry_bytes = 8) const {
    return (get(l1()) & kOffset) + index * entry_bytes;
  }
  [[nodiscard]] std::uint64_t host(std::uint64_t index) const { return get(l2(index)) & kOffset; }
  [[nodiscard]] std::uint64_t refcount_table() const {
    return get(offsetof(RawHeader, refcount_table_offset));
  }
  // The place of a 16-bit count.
  [[nodiscard]] std::uint64_t count_of(std::uint64_t host_offset) const {
    return get(refcount_table()) + host_offset / cluster_ * 2;
  }
  void add_snapshot(const std::string& name) {
    const auto image = open(true);
    SnapshotCreateOptions options;
    options.name = name;
    const auto made = create_snapshot(*image, options);
    ASSERT_TRUE(made.has_value()) << describe(made.error());
    ASSERT_TRUE(image->close().has_value());
  }

  // --- judging
  static std::string text(const CheckReport& report) {
    std::string lines;
    for (const Finding& f : report.findings) {
      std::array<char, 256> line{};
      std::snprintf(
          line.data(), line.size(),
          "  severity %d %s in %s at 0x%llx, cluster 0x%llx, found 0x%llx, expected "
          "0x%llx\n",
          static_cast<int>(f.severity), corruption_name(f.reason), io_tag_name(f.table),
          static_cast<unsigned long long>(f.offset), static_cast<unsigned long long>(f.host_offset),
          static_cast<unsigned long long>(f.found), static_cast<unsigned long long>(f.expected));
      lines += line.data();
    }
    return lines;
  }
  static void expect_clean(const CheckReport& report) {
    EXPECT_TRUE(report.findings.empty()) << text(report);
    EXPECT_EQ(report.leaks + report.corruptions + report.failures, 0u);
  }
  // The findings are exactly these.
  static void expect_findings(const CheckReport& report, const std::vector<Finding>& expected) {
    ASSERT_EQ(report.findings.size(), expected.size()) << text(report);
    for (std::size_t i = 0; i < expected.size(); ++i) {
      const Finding& found = report.findings[i];
      EXPECT_EQ(found.severity, expected[i].severity) << text(report);
      EXPECT_EQ(found.reason, expected[i].reason) << text(report);
      EXPECT_EQ(found.table, expected[i].table) << text(report);
      EXPECT_EQ(found.offset, expected[i].offset) << text(report);
      EXPECT_EQ(found.host_offset, expected[i].host_offset) << text(report);
      EXPECT_EQ(found.found, expected[i].found) << text(report);
      EXPECT_EQ(found.expected, expected[i].expected) << text(report);
    }
  }

  // What qemu-img check says of a number; nothing where it says nothing.
  [[nodiscard]] std::optional<std::string> qemu_words() const {
    if (!has_qemu_img()) {
      return std::nullopt;
    }
    // Exit codes 2 and 3 tell of findings.
    (void)folder_.run("{ qemu-img check --output=json -U disk.qcow2 2>/dev/null >said.json; }");
    std::string said;
    for (const std::byte byte : read_bytes(folder_.file("said.json"), 0, 1024)) {
      said += static_cast<char>(byte);
    }
    return said;
  }
  static std::uint64_t number(const std::string& json, const std::string& key) {
    const std::size_t at = json.find("\"" + key + "\": ");
    return at == std::string::npos ? 0
                                   : std::strtoull(json.c_str() + at + key.size() + 4, nullptr, 10);
  }
  void expect_as_qemu(const CheckReport& report) const {
    const std::optional<std::string> said = qemu_words();
    if (!said) {
      return;
    }
    ASSERT_NE(said->find("check-errors"), std::string::npos) << *said;
    EXPECT_EQ(report.image_end_offset, number(*said, "image-end-offset"));
    EXPECT_EQ(report.total_clusters, number(*said, "total-clusters"));
    EXPECT_EQ(report.allocated_clusters, number(*said, "allocated-clusters"));
    EXPECT_EQ(report.fragmented_clusters, number(*said, "fragmented-clusters"));
    EXPECT_EQ(report.compressed_clusters, number(*said, "compressed-clusters"));
    EXPECT_EQ(report.corruptions, number(*said, "corruptions")) << text(report);
    EXPECT_EQ(report.leaks, number(*said, "leaks")) << text(report);
  }

  TemporaryFolder folder_;
  std::unique_ptr<Engine> engine_;
  std::string path_;
  std::uint64_t cluster_ = 4096;
};

}  // namespace varve::test
