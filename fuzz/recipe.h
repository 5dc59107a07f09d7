// What an input about images says: how the image is made, how it is damaged, and what is done with
// it afterwards. The first record is the geometry; records from 0x80 on are damage, and those
// behind the first of them are what is done.
#pragma once

#include <cstdint>
#include <vector>

#include <varve/create.h>

#include "input.h"

namespace varve::fuzz {

// The names an image made here may give; every other name is not found.
inline constexpr const char* kBelowName = "below";
inline constexpr const char* kDataName = "data";

struct Recipe {
  CreateOptions create;
  bool has_bitmaps = false;
  std::uint32_t bitmap_flags = 0;
  bool has_tiny_caches = false;
  bool punches = false;             // Discards reach the file.
  bool repairs_leaks_only = false;  // Where it is repaired.
  unsigned operations_max = 4;
  unsigned budget_number = 0;  // Of those it is checked on.
  std::vector<Record> making;
  std::vector<Record> damage;
  std::vector<Record> use;

  [[nodiscard]] bool is_sound() const noexcept { return damage.empty(); }
  // The first bytes of the disk, in which all requests are and whose content is judged.
  [[nodiscard]] std::uint64_t window_bytes() const noexcept;
};

inline constexpr std::uint8_t kDamage = 0x80;

[[nodiscard]] Recipe read_recipe(const std::uint8_t* data, std::size_t size);

}  // namespace varve::fuzz
