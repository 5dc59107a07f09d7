// Reading an embedded instance with pugixml, and the checks it leaves to its user.
#include <algorithm>

#include "service/ascii.h"
#include "service/cim_xml.h"
#include "service/utf8.h"

#include <pugixml.hpp>

namespace varve {
namespace {

constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

bool is_white(std::string_view text) noexcept {
  return text.find_first_not_of(" \t\r\n") == std::string_view::npos;
}

bool has_control_character(std::string_view text) noexcept {
  return std::ranges::any_of(text, [](char c) {
    return static_cast<unsigned char>(c) < 0x20 && c != '\t' && c != '\n' && c != '\r';
  });
}

// `name` of "&name;". pugixml knows the predefined ones and numbers, and keeps others as text.
bool is_known_entity(std::string_view name) noexcept {
  if (name == "amp" || name == "lt" || name == "gt" || name == "quot" || name == "apos") {
    return true;
  }
  if (name.size() < 2 || name[0] != '#') {
    return false;
  }
  const bool is_hexadecimal = name[1] == 'x';
  const std::string_view digits = name.substr(is_hexadecimal ? 2 : 1);
  std::uint32_t value = 0;
  for (const char c : digits) {
    const char lower = ascii_lower(c);
    const bool is_letter_digit = is_hexadecimal && lower >= 'a' && lower <= 'f';
    if (!is_digit(c) && !is_letter_digit) {
      return false;
    }
    const auto digit = static_cast<std::uint32_t>(is_letter_digit ? lower - 'a' + 10 : c - '0');
    value = std::min(value * (is_hexadecimal ? 16 : 10) + digit, 0x110000u);
  }
  const bool is_surrogate = value >= 0xd800 && value <= 0xdfff;
  const bool is_control = value < 0x20 && value != 9 && value != 10 && value != 13;
  return !digits.empty() && value < 0x110000 && !is_surrogate && !is_control;
}

// Every & outside CDATA, comments and processing instructions begins a known entity.
bool are_entities_known(std::string_view text) noexcept {
  constexpr std::string_view kOpaque[][2] = {{"<![CDATA[", "]]>"}, {"<!--", "-->"}, {"<?", "?>"}};
  while (true) {
    text.remove_prefix(std::min(text.find_first_of("&<"), text.size()));
    if (text.empty()) {
      return true;
    }
    std::size_t skipped = 1;
    if (text[0] == '&') {
      const std::size_t end = text.find(';');
      if (end == std::string_view::npos || !is_known_entity(text.substr(1, end - 1))) {
        return false;
      }
    }
    for (const auto& [opening, closing] : kOpaque) {
      if (text.starts_with(opening)) {
        skipped = std::min(text.find(closing, opening.size()), text.size());
      }
    }
    text.remove_prefix(skipped);
  }
}

bool has_attribute_twice(const pugi::xml_node& node) {
  for (const pugi::xml_attribute& each : node.attributes()) {
    if (node.attribute(each.name()) != each) {
      return true;
    }
  }
  return false;
}

// Walks what has the shape of an instance; every function answers false where it has not.
class InstanceReader {
 public:
  explicit InstanceReader(CimInstance& instance) noexcept : instance_(&instance) {}

  bool read(const pugi::xml_node& root) {
    if (std::string_view(root.name()) != "INSTANCE" || has_attribute_twice(root)) {
      return false;
    }
    instance_->class_name = root.attribute("CLASSNAME").value();
    return !instance_->class_name.empty() &&
           for_each_element(root, [&](const pugi::xml_node& node) { return read_member(node); });
  }

 private:
  // Comments are skipped; text between elements is an error.
  template <class Visit>
  static bool for_each_element(const pugi::xml_node& node, Visit&& visit) {
    for (const pugi::xml_node& child : node.children()) {
      switch (child.type()) {
        case pugi::node_element:
          if (has_attribute_twice(child) || !visit(child)) {
            return false;
          }
          break;
        case pugi::node_comment:
          break;
        default:
          if (!is_white(child.value()) || child.type() != pugi::node_pcdata) {
            return false;
          }
          break;
      }
    }
    return true;
  }

  bool read_member(const pugi::xml_node& node) {
    const std::string_view element = node.name();
    if (element == "QUALIFIER") {
      return true;
    }
    CimProperty property;
    property.is_array = element == "PROPERTY.ARRAY";
    if (element != "PROPERTY" && !property.is_array) {
      return false;
    }
    property.name = node.attribute("NAME").value();
    property.type = node.attribute("TYPE").value();
    if (property.name.empty() || property.type.empty() || !read_property(node, property)) {
      return false;
    }
    if (!property.name.starts_with("__")) {
      instance_->properties.push_back(std::move(property));
    }
    return true;
  }

  static bool read_property(const pugi::xml_node& node, CimProperty& property) {
    return for_each_element(node, [&](const pugi::xml_node& child) {
      const std::string_view element = child.name();
      if (element == "QUALIFIER") {
        return true;
      }
      if (element != (property.is_array ? "VALUE.ARRAY" : "VALUE") || !property.is_null) {
        return false;
      }
      property.is_null = false;
      if (!property.is_array) {
        return read_value(child, property.values.emplace_back());
      }
      return for_each_element(child, [&](const pugi::xml_node& item) {
        return std::string_view(item.name()) == "VALUE" &&
               read_value(item, property.values.emplace_back());
      });
    });
  }

  static bool read_value(const pugi::xml_node& node, std::string& value) {
    for (const pugi::xml_node& child : node.children()) {
      switch (child.type()) {
        case pugi::node_pcdata:
        case pugi::node_cdata:
          value += child.value();
          break;
        case pugi::node_comment:
          break;
        default:
          return false;
      }
    }
    return true;
  }

  CimInstance* instance_;
};

// The one element of a document that otherwise holds a declaration, comments and white space.
pugi::xml_node root_of(const pugi::xml_document& document) {
  pugi::xml_node root;
  for (const pugi::xml_node& node : document.children()) {
    switch (node.type()) {
      case pugi::node_element:
        if (root) {
          return {};
        }
        root = node;
        break;
      case pugi::node_declaration:
        if (node.previous_sibling()) {
          return {};
        }
        break;
      case pugi::node_comment:
        break;
      default:  // A document type, a processing instruction, text.
        if (node.type() != pugi::node_pcdata || !is_white(node.value())) {
          return {};
        }
        break;
    }
  }
  return root;
}

}  // namespace

std::optional<CimInstance> parse_cim_instance(std::string_view text) {
  if (text.size() > kEmbeddedInstanceBytesMax) {
    return std::nullopt;
  }
  if (text.starts_with(kByteOrderMark)) {
    text.remove_prefix(kByteOrderMark.size());
  }
  if (has_control_character(text) || !count_utf8(text) || !are_entities_known(text)) {
    return std::nullopt;
  }
  constexpr unsigned kOptions = pugi::parse_cdata | pugi::parse_escapes | pugi::parse_eol |
                                pugi::parse_wconv_attribute | pugi::parse_declaration |
                                pugi::parse_doctype | pugi::parse_pi | pugi::parse_comments |
                                pugi::parse_ws_pcdata | pugi::parse_fragment;
  pugi::xml_document document;
  if (!document.load_buffer(text.data(), text.size(), kOptions, pugi::encoding_utf8)) {
    return std::nullopt;
  }
  const pugi::xml_node root = root_of(document);
  CimInstance instance;
  if (!root || !InstanceReader(instance).read(root)) {
    return std::nullopt;
  }
  return instance;
}

}  // namespace varve
