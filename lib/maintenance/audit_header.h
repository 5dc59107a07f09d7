// The first cluster of an image as an audit sees it: read whatever it says, so that what it names
// is told even where nobody can open it. Rules of the format are not judged here: opening does
// that.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <varve/result.h>
#include <varve/storage.h>

#include "base/buffer.h"
#include "format/header.h"
#include "format/header_extensions.h"
#include "maintenance/audit_findings.h"

namespace varve {

struct AuditHeader {
  Buffer cluster0;
  RawHeader raw{};
  std::uint32_t version = 0;
  // Of version 3; 0 before.
  std::uint64_t incompatible = 0;
  std::uint64_t compatible = 0;
  std::uint64_t autoclear = 0;
  std::uint64_t header_bytes = kHeaderBytesV2;
  std::vector<ExtensionView> extensions;  // In cluster0.
  // Extensions and backing name stand where they should, so that what is between them is known.
  bool is_shape_known = false;
  std::string backing_name;    // Empty: none, or it does not lie in the cluster.
  std::string backing_format;  // Empty: not named.
  std::string data_file_name;

  [[nodiscard]] const ExtensionView* find(std::uint32_t type) const noexcept;
  [[nodiscard]] bool has_data_file() const noexcept {
    return (incompatible & kIncompatibleDataFile) != 0;
  }

  // Errors: corrupt (bad_magic), unsupported (version), io, no_memory.
  [[nodiscard]] static Result<AuditHeader> read(Storage& file);
};

void judge_features(const AuditHeader& header, AuditFindings& findings);
// Fields that other programs read differently, and bytes nobody should have put there.
void judge_header_bytes(const AuditHeader& header, AuditFindings& findings);
void judge_named_files(const AuditHeader& header, AuditFindings& findings);
// A text of the image's own that people are shown; `whose` is "the snapshot's name".
void judge_characters(const char* whose, AuditPlace place, std::string_view text,
                      AuditFindings& findings);

}  // namespace varve
