// One step of damage to an image: a field takes another value, one that leads somewhere else in
// the image most of all, or bytes and ends of the file change.
#pragma once

#include "input.h"
#include "sim/sparse_bytes.h"

namespace varve::fuzz {

// The ways, in the order of the low bits of a record's code.
enum class Damage : std::uint8_t {
  point_keeping_flags,  // The field's offset bits lead to a landmark.
  point_with_flags,     // The same, flags of the record's choice.
  flip_bit,
  extreme,
  add,
  copy_place,  // The value of another place of the same part.
  raw_value,
  raw_bytes,  // Anywhere in the file.
  resize_file,
  copy_cluster,
  fill_cluster,
  fill_entries,  // Every entry of a cluster leads to the same place.
  set_count,
  add_extension,
};
inline constexpr unsigned kDamageCount = 14;

void inflict(sim::SparseBytes& image, const Record& record);

}  // namespace varve::fuzz
