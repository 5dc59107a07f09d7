// Images to audit: made by Varve, and changed byte by byte into what somebody may hand over.
#pragma once

#include <algorithm>
#include <functional>

#include <varve/audit.h>

#include "format/snapshot_table.h"
#include "maintenance/check_fixture.h"

namespace varve::test {

class AuditTest : public CheckTest {
 protected:
  Result<AuditReport> try_audit(const AuditOptions& options = {}) {
    return audit(std::move(*open_file(*engine_, path_, FileOptions())), options);
  }
  AuditReport look(const AuditOptions& options = {}) {
    Result<AuditReport> report = try_audit(options);
    EXPECT_TRUE(report.has_value()) << describe(report.error());
    if (!report) {
      return {};
    }
    EXPECT_FALSE(report->stopped.has_value()) << describe(*report->stopped);
    return std::move(*report);
  }

  void make_with(const std::function<void(CreateOptions&)>& change) {
    CreateOptions options = small();
    change(options);
    make(options);
  }
  // An image without data that stands on `name`.
  void make_on(const std::string& name, const std::string& format = "qcow2") {
    CreateOptions options = small();
    options.backing_name = name;
    options.backing_format = format;
    ASSERT_TRUE(create_image(*engine_, path_, options).has_value());
    cluster_ = options.cluster_bytes;
  }

  [[nodiscard]] Header header() const {
    Result<Header> parsed = Header::parse(read_bytes(path_, 0, cluster_));
    EXPECT_TRUE(parsed.has_value());
    return parsed ? std::move(*parsed) : Header();
  }
  // Writes cluster 0 anew.
  void put_header(const Header& header) const {
    std::vector<std::byte> bytes(cluster_);
    ASSERT_TRUE(header.serialise(bytes).has_value());
    patch_bytes(path_, 0, bytes);
  }
  void set_extension(std::uint32_t type, const std::string& text) const {
    Header changed = header();
    std::erase_if(changed.extensions, [type](const auto& old) { return old.type == type; });
    HeaderExtension extension;
    extension.type = type;
    for (const char character : text) {
      extension.data.push_back(static_cast<std::byte>(character));
    }
    changed.extensions.push_back(std::move(extension));
    put_header(changed);
  }
  void set_bits(std::uint64_t field, std::uint64_t bits) const { put(field, get(field) | bits); }
  // The place of a field of the first snapshot's entry; its extra data begins at 40.
  [[nodiscard]] std::uint64_t snapshot_field(std::uint64_t at) const {
    return get(offsetof(RawHeader, snapshot_table_offset)) + at;
  }

  static const AuditFinding* find(const AuditReport& report, AuditKind kind) {
    const auto found = std::ranges::find(report.findings, kind, &AuditFinding::kind);
    return found == report.findings.end() ? nullptr : &*found;
  }
  static std::string words(const AuditReport& report) {
    std::string lines;
    for (const AuditFinding& finding : report.findings) {
      lines += std::string("  ") + audit_severity_name(finding.severity) + " " +
               audit_kind_name(finding.kind) + " '" + finding.subject + "' " +
               io_tag_name(finding.table) + " " + std::to_string(finding.offset) + ": " +
               finding.message + "\n";
    }
    return lines;
  }
};

}  // namespace varve::test
