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

}  // namespace

std::string format_json(const Json& value) {
  std::string text;
  append_json(text, value, 0);
  return text;
}

}  // namespace varve::tool
