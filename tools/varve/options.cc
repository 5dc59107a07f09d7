#include "options.h"

#include <cstdlib>

#include "object_option.h"
#include "size_text.h"

namespace varve::tool {

OptionParser::OptionParser(const Context& context, std::string_view verb, int argc, char** argv,
                           const char* letters, const option* long_options)
    : context_(context),
      name_(fmt::format("{} {}", context.program, verb)),
      arguments_(argv, argv + argc),
      letters_(letters),
      long_options_(long_options) {
  arguments_[0] = name_.data();
  arguments_.push_back(nullptr);
  // Zero makes the GNU getopt start afresh, its hidden state included.
  optind = 0;
}

int OptionParser::next() {
  const int letter = getopt_long(static_cast<int>(arguments_.size()) - 1, arguments_.data(),
                                 letters_, long_options_, nullptr);
  if (letter == kOptionObject) {
    refuse_bad_object(context_, optarg);
  }
  return letter;
}

void refuse_bad_object(const Context& context, std::string_view definition) {
  const std::string refusal = object_refusal(definition);
  if (!refusal.empty()) {
    context.print_error(refusal);
    std::exit(1);  // As qemu-img does, before anything else of the command line is looked at.
  }
}

const char* OptionParser::value() const {
  return optarg;
}

std::string_view OptionParser::peek() const {
  const char* next = arguments_[static_cast<std::size_t>(optind)];
  return next == nullptr ? std::string_view() : next;
}

const char* OptionParser::take() {
  return arguments_[static_cast<std::size_t>(optind++)];
}

std::vector<std::string> OptionParser::operands() const {
  std::vector<std::string> result;
  for (auto i = static_cast<std::size_t>(optind); i + 1 < arguments_.size(); ++i) {
    result.emplace_back(arguments_[i]);
  }
  return result;
}

namespace {

// Takes one element off the front of `text`; commas in it come doubled.
std::string take_element(std::string_view& text) {
  std::string element;
  while (!text.empty()) {
    if (text.front() == ',') {
      text.remove_prefix(1);
      if (text.empty() || text.front() != ',') {
        break;
      }
    }
    element += text.front();
    text.remove_prefix(1);
  }
  return element;
}

}  // namespace

KeyValueList parse_key_values(std::string_view text, std::string_view implied_key) {
  KeyValueList list;
  bool first = true;
  while (!text.empty()) {
    const std::string element = take_element(text);
    const std::size_t equals = element.find('=');
    if (equals != std::string::npos) {
      list.emplace_back(element.substr(0, equals), element.substr(equals + 1));
    } else if (first && !implied_key.empty()) {
      list.emplace_back(implied_key, element);
    } else if (element.starts_with("no") && element != "nocow") {
      list.emplace_back(element.substr(2), "off");
    } else {
      list.emplace_back(element, "on");
    }
    first = false;
  }
  return list;
}

bool is_option_list(std::string_view text) {
  return !text.empty() && text.front() != ',' && text.back() != ',';
}

bool asks_for_help(const KeyValueList& list) {
  for (const auto& [key, value] : list) {
    if ((key == "help" || key == "?") && value == "on") {
      return true;
    }
  }
  return false;
}

std::optional<std::string> find_value(const KeyValueList& list, std::string_view key) {
  // The last of a repeated key wins.
  std::optional<std::string> value;
  for (const auto& [name, text] : list) {
    if (name == key) {
      value = text;
    }
  }
  return value;
}

std::optional<CacheMode> parse_cache_mode(std::string_view text) {
  if (text == "none" || text == "off") {
    return CacheMode{.direct = true};
  }
  if (text == "directsync") {
    return CacheMode{.direct = true, .write_through = true};
  }
  if (text == "writeback") {
    return CacheMode{};
  }
  if (text == "unsafe") {
    return CacheMode{.flush_ignored = true};
  }
  if (text == "writethrough") {
    return CacheMode{.write_through = true};
  }
  return std::nullopt;
}

std::optional<std::uint64_t> parse_number(const Context& context, std::string_view what,
                                          const std::string& text, std::uint64_t minimum,
                                          std::uint64_t maximum) {
  const ParsedSize parsed = parse_size(text);
  if (parsed.status == SizeStatus::malformed) {
    context.error("Invalid {} specified: '{}'.", what, text);
    return std::nullopt;
  }
  if (parsed.status == SizeStatus::out_of_range || parsed.bytes < minimum ||
      parsed.bytes > maximum) {
    context.error("Invalid {} specified. Must be between {} and {}.", what, minimum, maximum);
    return std::nullopt;
  }
  return parsed.bytes;
}

bool parse_output(const Context& context, std::string_view verb, const std::string& text,
                  bool& json) {
  if (text != "human" && text != "json") {
    context.usage_error(verb, "--output expects 'human' or 'json' not '{}'", text);
    return false;
  }
  json = text == "json";
  return true;
}

}  // namespace varve::tool
