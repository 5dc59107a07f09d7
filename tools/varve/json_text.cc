#include "json_text.h"

namespace varve::tool {

namespace {

void append_indent(std::string& text, int level) {
  text += '\n';
  text.append(static_cast<std::size_t>(level) * 4, ' ');
}

// Depth is that of the reports built in this program, not of anything read.
void append_json(std::string& text, const Json& value, int level) {
  if (!value.is_structured()) {
    text += value.dump(-1, ' ', true, Json::error_handler_t::replace);
    return;
  }
  const bool object = value.is_object();
  text += object ? '{' : '[';
  bool first = true;
  for (const auto& item : value.items()) {
    if (!first) {
      text += ',';
    }
    first = false;
    append_indent(text, level + 1);
    if (object) {
      text += Json(item.key()).dump(-1, ' ', true, Json::error_handler_t::replace);
      text += ": ";
    }
    append_json(text, item.value(), level + 1);
  }
  append_indent(text, level);
  text += object ? '}' : ']';
}

void flatten(const Json& value, const std::string& prefix,
             std::vector<std::pair<std::string, std::string>>& list) {
  for (const auto& item : value.items()) {
    const std::string key = prefix.empty() ? item.key() : prefix + "." + item.key();
    if (item.value().is_object()) {
      flatten(item.value(), key, list);
    } else if (item.value().is_string()) {
      list.emplace_back(key, item.value().get<std::string>());
    } else if (item.value().is_boolean()) {
      list.emplace_back(key, item.value().get<bool>() ? "on" : "off");
    } else {
      list.emplace_back(key, item.value().dump());
    }
  }
}

}  // namespace

std::string format_json(const Json& value) {
  std::string text;
  append_json(text, value, 0);
  return text;
}

std::vector<std::pair<std::string, std::string>> key_values_of(const Json& object) {
  std::vector<std::pair<std::string, std::string>> list;
  flatten(object, "", list);
  return list;
}

}  // namespace varve::tool
