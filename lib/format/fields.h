// Field tables: the layout of an on-disk structure as data, checked against the structure at
// compile time. Checks name a field by its row, messages take its value from there, and tests loop
// over the rows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/bytes.h"
#include "base/checked.h"

namespace varve {

struct Field {
  const char* name;
  std::size_t offset;
  std::size_t size;  // 1, 2, 4 or 8 for integers; anything else is bytes.
};

#define VARVE_FIELD(Structure, member)                              \
  ::varve::Field {                                                  \
#member, offsetof(Structure, member), sizeof(Structure::member) \
  }

// Whether the rows cover [0, total) in order, without gap or overlap.
[[nodiscard]] constexpr bool fields_tile(std::span<const Field> fields,
                                         std::size_t total) noexcept {
  std::size_t at = 0;
  for (const Field& field : fields) {
    if (field.offset != at || field.size == 0) {
      return false;
    }
    at += field.size;
  }
  return at == total;
}

// The integer a row names, in bytes that begin with its structure. REQUIRES: room; an integer row.
[[nodiscard]] inline std::uint64_t load_field(ConstBytes structure, const Field& field) noexcept {
  VARVE_ASSERT(range_fits(field.offset, field.size, structure.size()) && field.size <= 8);
  std::uint64_t value = 0;
  for (const std::byte byte : structure.subspan(field.offset, field.size)) {
    value = value << 8 | std::to_integer<std::uint64_t>(byte);
  }
  return value;
}

}  // namespace varve
