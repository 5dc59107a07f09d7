// JSON in the layout qemu-img prints: four spaces per level, empty lists and objects on two lines,
// keys in the order they were added. This is the one file that includes nlohmann's library.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

namespace varve::tool {

using Json = nlohmann::ordered_json;

// Without a line end.
[[nodiscard]] std::string format_json(const Json& value);

// An object's members as a list, as qemu-img's options spell them: members of objects in it with
// dotted keys, truth values as on and off.
[[nodiscard]] std::vector<std::pair<std::string, std::string>> key_values_of(const Json& object);

}  // namespace varve::tool
