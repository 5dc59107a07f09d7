// UTF-8: whether bytes are well formed, and how many characters they are.
//
// Threads: none.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace varve {

// Characters (code points). Nothing: overlong forms, surrogates, beyond U+10FFFF or cut short.
[[nodiscard]] std::optional<std::size_t> count_utf8(std::string_view text) noexcept;

// The longest prefix of well-formed `text` within both limits that ends between characters.
[[nodiscard]] std::string_view cut_utf8(std::string_view text, std::size_t characters_max,
                                        std::size_t bytes_max) noexcept;

}  // namespace varve
