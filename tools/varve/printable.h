// Names read out of images are somebody else's text: what they may do to a terminal is taken out.
#pragma once

#include <string>
#include <string_view>

namespace varve::tool {

// `text` on one line: control characters, bytes that are not UTF-8, and the marks that turn the
// direction of text become \xNN for each byte; everything else stays as it is.
[[nodiscard]] std::string printable(std::string_view text);

}  // namespace varve::tool
