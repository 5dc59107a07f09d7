// CIM-XML: reading one embedded instance, and writing instances.
//
// Reading knows the grammar of an INSTANCE element (CIM DTD 2.0 and WMI DTD 2.0) and nothing of
// classes: settings_text.h judges names, types and values. pugixml is lenient where XML is not, so
// what it would let pass is checked here: text beside the root, repeated attributes, undefined
// entities, control characters, bytes that are no UTF-8.
//
// Threads: plain values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace varve {

// Longer texts are refused before they are read.
inline constexpr std::size_t kEmbeddedInstanceBytesMax = 64u << 10;

struct CimProperty {
  std::string name;
  std::string type;
  bool is_array = false;
  bool is_null = true;              // No VALUE at all.
  std::vector<std::string> values;  // One, unless is_array.
};

struct CimInstance {
  std::string class_name;
  std::vector<CimProperty> properties;  // System properties ("__PATH") are left out.
};

// Nothing: the text is not one well-formed INSTANCE.
[[nodiscard]] std::optional<CimInstance> parse_cim_instance(std::string_view text);

// Writes an instance on one line, NAME first and no white space between PROPERTY and VALUE: widely
// used readers depend on both.
class CimWriter {
 public:
  explicit CimWriter(std::string_view class_name);

  CimWriter& text(std::string_view name, std::string_view value);
  CimWriter& number(std::string_view name, std::string_view type, std::uint64_t value);
  CimWriter& boolean(std::string_view name, bool value);
  CimWriter& datetime(std::string_view name, std::string_view value);
  CimWriter& texts(std::string_view name, const std::vector<std::string>& values);
  // A property without a value.
  CimWriter& null(std::string_view name, std::string_view type);

  // REQUIRES: once, last.
  [[nodiscard]] std::string take();

 private:
  void open(std::string_view name, std::string_view type, std::string_view element);
  void value(std::string_view value);

  std::string xml_;
};

}  // namespace varve
