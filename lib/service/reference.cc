#include "service/reference.h"

#include <algorithm>
#include <array>
#include <span>

#include "service/ascii.h"

namespace varve {
namespace {

constexpr std::string_view kNamespace = "root\\virtualization\\v2";
constexpr std::string_view kSystemClass = "Msvm_ComputerSystem";
constexpr std::string_view kInstancePrefix = "Microsoft:";

// Reads a path from left to right; every function answers false where the text leaves the grammar.
class PathReader {
 public:
  explicit PathReader(std::string_view text) noexcept : text_(text) {}

  bool read(ObjectPath& path) {
    return read_place(path) && read_word(path.class_name) && take('.') && read_keys(path.keys);
  }

 private:
  static bool is_separator(char c) noexcept { return c == '\\' || c == '/'; }
  [[nodiscard]] char peek() const noexcept { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool take(char c) noexcept {
    if (peek() != c) {
      return false;
    }
    ++at_;
    return true;
  }
  bool take_separator() noexcept {
    if (!is_separator(peek())) {
      return false;
    }
    ++at_;
    return true;
  }
  bool read_word(std::string& word) {
    while (is_identifier(peek())) {
      word += text_[at_++];
    }
    return !word.empty() && !is_digit(word.front());
  }

  // Host and namespace, as far as they are there.
  bool read_place(ObjectPath& path) {
    if (take_separator()) {
      return take_separator() && read_host(path.host) && take_separator() &&
             read_namespace(path.name_space);
    }
    // A namespace has a colon before the class's dot.
    const std::size_t end = text_.find_first_of(":.\"'");
    if (end != std::string_view::npos && text_[end] == ':') {
      return read_namespace(path.name_space);
    }
    return true;
  }
  bool read_host(std::string& host) {
    while (is_identifier(peek()) || peek() == '.' || peek() == '-') {
      host += text_[at_++];
    }
    return !host.empty();
  }
  bool read_namespace(std::string& name_space) {
    do {
      std::string word;
      if (!read_word(word)) {
        return false;
      }
      if (!name_space.empty()) {
        name_space += '\\';
      }
      name_space += word;
    } while (take_separator());
    return take(':');
  }

  bool read_keys(std::vector<ObjectPath::Key>& keys) {
    do {
      ObjectPath::Key key;
      if (!read_word(key.name) || !take('=') || !read_quoted(key.value)) {
        return false;
      }
      for (const ObjectPath::Key& other : keys) {
        if (equal_ignoring_case(other.name, key.name)) {
          return false;
        }
      }
      keys.push_back(std::move(key));
    } while (take(','));
    return at_ == text_.size();
  }
  bool read_quoted(std::string& value) {
    const char quote = peek();
    if (quote != '"' && quote != '\'') {
      return false;
    }
    ++at_;
    while (at_ < text_.size()) {
      char c = text_[at_++];
      if (c == quote) {
        return true;
      }
      if (c == '\\') {
        c = peek();
        if (c != '\\' && c != '"' && c != '\'') {
          return false;
        }
        ++at_;
      }
      value += c;
    }
    return false;
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

// What a path of each kind looks like: the class first is the one printed.
struct Shape {
  std::array<std::string_view, 3> classes;
  std::string_view key;
  std::string_view value_prefix;
};

const Shape& shape_of(ReferenceKind kind) noexcept {
  static constexpr Shape kShapes[] = {
      {{kSystemClass, "CIM_ComputerSystem", ""}, "Name", ""},
      {{"Msvm_VirtualSystemSettingData", "CIM_VirtualSystemSettingData", "CIM_SettingData"},
       "InstanceID",
       kInstancePrefix},
      {{"Msvm_ConcreteJob", "CIM_ConcreteJob", ""}, "InstanceID", ""},
      {{"Msvm_VirtualSystemCollection", "CIM_CollectionOfMSEs", "CIM_Collection"},
       "CollectionID",
       ""},
      {{"Msvm_SnapshotCollection", "CIM_CollectionOfMSEs", "CIM_Collection"}, "CollectionID", ""},
  };
  return kShapes[static_cast<std::size_t>(kind)];
}

bool is_named(const Shape& shape, std::string_view class_name) noexcept {
  return std::ranges::any_of(shape.classes, [&](std::string_view name) {
    return !name.empty() && equal_ignoring_case(name, class_name);
  });
}

const std::string* find_key(const ObjectPath& path, std::string_view name) noexcept {
  for (const ObjectPath::Key& key : path.keys) {
    if (equal_ignoring_case(key.name, name)) {
      return &key.value;
    }
  }
  return nullptr;
}

}  // namespace

std::optional<ObjectPath> parse_object_path(std::string_view text) {
  ObjectPath path;
  if (text.size() > kReferenceBytesMax || !PathReader(text).read(path)) {
    return std::nullopt;
  }
  return path;
}

std::string guid_text(const Uuid& id) {
  std::string text = id.text();
  std::ranges::transform(text, text.begin(), [](char c) {
    return c >= 'a' && c <= 'f' ? static_cast<char>(c - 'a' + 'A') : c;
  });
  return text;
}

std::string References::print(ReferenceKind kind, const Uuid& id) const {
  const Shape& shape = shape_of(kind);
  std::string text = "\\\\" + host_ + "\\";
  text += kNamespace;
  text += ':';
  text += shape.classes[0];
  text += '.';
  if (kind == ReferenceKind::system) {
    text += "CreationClassName=\"";
    text += kSystemClass;
    text += "\",";
  }
  text += shape.key;
  text += "=\"";
  text += shape.value_prefix;
  text += guid_text(id);
  text += '"';
  return text;
}

std::optional<Uuid> References::parse(ReferenceKind kind,
                                      std::optional<std::string_view> text) const {
  if (!text) {
    return std::nullopt;
  }
  const std::optional<ObjectPath> path = parse_object_path(*text);
  const Shape& shape = shape_of(kind);
  if (!path || !is_named(shape, path->class_name)) {
    return std::nullopt;
  }
  if (!path->host.empty() && path->host != "." && !equal_ignoring_case(path->host, host_)) {
    return std::nullopt;
  }
  if (!path->name_space.empty() && !equal_ignoring_case(path->name_space, kNamespace)) {
    return std::nullopt;
  }
  if (kind == ReferenceKind::system) {
    const std::string* creator = find_key(*path, "CreationClassName");
    if (creator == nullptr || !equal_ignoring_case(*creator, kSystemClass)) {
      return std::nullopt;
    }
  }
  const std::size_t keys = kind == ReferenceKind::system ? 2 : 1;
  const std::string* value = find_key(*path, shape.key);
  if (value == nullptr || path->keys.size() != keys ||
      !starts_ignoring_case(*value, shape.value_prefix)) {
    return std::nullopt;
  }
  const std::optional<Uuid> id =
      Uuid::parse(std::string_view(*value).substr(shape.value_prefix.size()));
  return id && !id->is_null() ? id : std::nullopt;
}

}  // namespace varve
