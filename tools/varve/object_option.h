// --object: what qemu-img lets its command line define. Varve has no use for any of it, but a
// script that defines a secret it then does not need goes on working, and a slip is still told.
#pragma once

#include <string>
#include <string_view>

namespace varve::tool {

// Why qemu-img refuses the definition `text` ("secret,id=s,data=x", or a JSON object), in its
// words; empty when it takes it.
[[nodiscard]] std::string object_refusal(std::string_view text);

}  // namespace varve::tool
