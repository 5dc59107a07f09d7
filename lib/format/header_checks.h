// The rules of the header's fixed part, as a table. Private to the files of Header.
#pragma once

#include <cstdint>

#include <varve/result.h>

#include "base/bytes.h"
#include "format/header.h"

namespace varve {

// A header being parsed: what goes into Header, and the fields that do not.
struct HeaderDraft {
  Header header;
  std::uint64_t backing_offset = 0;
  std::uint32_t backing_bytes = 0;
  std::uint32_t encryption_method = 0;
  std::uint8_t compression_type = 0;
  std::uint64_t refcount_table_bytes = 0;
  std::uint64_t l1_bytes = 0;
};

// REQUIRES: magic, version and cluster_bits are good, cluster0 is one cluster, and the draft was
// decoded from it. Runs every check in the table's order; the first that fails is the answer.
[[nodiscard]] Result<void> validate_fields(const HeaderDraft& draft, ConstBytes cluster0) noexcept;

}  // namespace varve
