#include "service/cim_xml.h"

namespace varve {
namespace {

// Control characters cannot stand in XML 1.0 at all; they are left out.
void append_escaped(std::string& xml, std::string_view text) {
  for (const char c : text) {
    switch (c) {
      case '&':
        xml += "&amp;";
        break;
      case '<':
        xml += "&lt;";
        break;
      case '>':
        xml += "&gt;";
        break;
      case '"':
        xml += "&quot;";
        break;
      case '\r':
        xml += "&#13;";
        break;
      default:
        if (static_cast<unsigned char>(c) >= 0x20 || c == '\n' || c == '\t') {
          xml += c;
        }
        break;
    }
  }
}

}  // namespace

CimWriter::CimWriter(std::string_view class_name) {
  xml_ = "<INSTANCE CLASSNAME=\"";
  append_escaped(xml_, class_name);
  xml_ += "\">";
}

void CimWriter::open(std::string_view name, std::string_view type, std::string_view element) {
  xml_ += '<';
  xml_ += element;
  xml_ += " NAME=\"";
  append_escaped(xml_, name);
  xml_ += "\" TYPE=\"";
  append_escaped(xml_, type);
  xml_ += "\">";
}

void CimWriter::value(std::string_view value) {
  xml_ += "<VALUE>";
  append_escaped(xml_, value);
  xml_ += "</VALUE>";
}

CimWriter& CimWriter::text(std::string_view name, std::string_view value_text) {
  open(name, "string", "PROPERTY");
  value(value_text);
  xml_ += "</PROPERTY>";
  return *this;
}

CimWriter& CimWriter::number(std::string_view name, std::string_view type,
                             std::uint64_t value_number) {
  open(name, type, "PROPERTY");
  value(std::to_string(value_number));
  xml_ += "</PROPERTY>";
  return *this;
}

CimWriter& CimWriter::boolean(std::string_view name, bool value_boolean) {
  open(name, "boolean", "PROPERTY");
  value(value_boolean ? "true" : "false");
  xml_ += "</PROPERTY>";
  return *this;
}

CimWriter& CimWriter::datetime(std::string_view name, std::string_view value_text) {
  open(name, "datetime", "PROPERTY");
  value(value_text);
  xml_ += "</PROPERTY>";
  return *this;
}

CimWriter& CimWriter::texts(std::string_view name, const std::vector<std::string>& values) {
  open(name, "string", "PROPERTY.ARRAY");
  xml_ += "<VALUE.ARRAY>";
  for (const std::string& each : values) {
    value(each);
  }
  xml_ += "</VALUE.ARRAY></PROPERTY.ARRAY>";
  return *this;
}

CimWriter& CimWriter::null(std::string_view name, std::string_view type) {
  open(name, type, "PROPERTY");
  xml_ += "</PROPERTY>";
  return *this;
}

std::string CimWriter::take() {
  xml_ += "</INSTANCE>";
  return std::move(xml_);
}

}  // namespace varve
