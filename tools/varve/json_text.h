// JSON in the layout qemu-img prints: four spaces per level, empty lists and objects on two lines,
// keys in the order they were added. This is the one file that includes nlohmann's library.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

namespace varve::tool {

using Json = nlohmann::ordered_json;

// Without a line end.
[[nodiscard]] std::string format_json(const Json& value);

}  // namespace varve::tool
