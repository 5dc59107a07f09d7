// A fuzzer's bytes as text, and how it says that something is wrong.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

namespace varve::fuzz {

inline std::string text_of(const std::uint8_t* data, std::size_t size) {
  return std::string(data, data + size);
}

inline void must(bool holds) {
  if (!holds) {
    std::abort();
  }
}

}  // namespace varve::fuzz
