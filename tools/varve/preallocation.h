#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string_view>

#include <varve/image.h>

namespace varve::tool {

// The mode that qemu-img's options call `name`.
inline std::optional<Preallocation> preallocation_by_name(std::string_view name) {
  constexpr std::array<const char*, 4> kNames = {"off", "metadata", "falloc", "full"};
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    if (name == kNames[i]) {
      return static_cast<Preallocation>(i);
    }
  }
  return std::nullopt;
}

}  // namespace varve::tool
