// Good headers, and their fields by name, for tests that then break one.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "format/header.h"

namespace varve::test {

using Memory = std::vector<std::byte>;

// A 10 GiB disk, as small as its clusters allow, with tables where no two overlap.
inline Header good_header(std::uint32_t version = 3, std::uint32_t cluster_bits = 16) {
  Header header;
  header.version = version;
  header.geometry.cluster_bits = cluster_bits;
  header.header_bytes = version < 3 ? kHeaderBytesV2 : 112;
  header.virtual_size = 10 * kGiB;
  header.l1_entries =
      static_cast<std::uint32_t>(header.geometry.l1_entries_for(header.virtual_size));
  header.refcount_table_offset = HostOffset(header.geometry.cluster_bytes());
  header.refcount_table_clusters = 1;
  header.l1_offset = HostOffset(3 * header.geometry.cluster_bytes());
  return header;
}

inline Memory serialised(const Header& header) {
  Memory cluster(header.geometry.cluster_bytes(), std::byte{0xee});
  const Result<void> outcome = header.serialise(cluster);
  EXPECT_TRUE(outcome) << describe(outcome.error());
  return cluster;
}

inline const Field& field_of(std::string_view name) {
  for (const Field& field : kHeaderFields) {
    if (field.name == name) {
      return field;
    }
  }
  ADD_FAILURE() << "no field " << name;
  return kHeaderFields[0];
}

// Values too large for the field are cut.
inline void set_field(Memory& cluster, std::string_view name, std::uint64_t value) {
  const Field& field = field_of(name);
  for (std::size_t i = 0; i < field.size; ++i) {
    cluster[field.offset + field.size - 1 - i] = static_cast<std::byte>(value >> (8 * i));
  }
}

inline Memory to_memory(std::string_view text) {
  Memory bytes;
  for (const char character : text) {
    bytes.push_back(static_cast<std::byte>(character));
  }
  return bytes;
}

}  // namespace varve::test
