#include "object_option.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "json_text.h"
#include "options.h"

namespace varve::tool {

namespace {

// The kinds QEMU 10's qemu-img takes.
constexpr std::array<std::string_view, 11> kKinds = {
    "authz-list",    "authz-list-file", "authz-simple",     "main-loop",
    "secret",        "secret_keyring",  "throttle-group",   "tls-creds-anon",
    "tls-creds-psk", "tls-creds-x509",  "tls-cipher-suites"};

constexpr std::array<std::string_view, 7> kSecretKeys = {"qom-type", "id",    "data", "file",
                                                         "format",   "keyid", "iv"};

std::string missing(std::string_view key) {
  return fmt::format("Parameter '{}' is missing", key);
}

KeyValueList read_definition(std::string_view text) {
  if (!text.starts_with('{')) {
    return parse_key_values(text, "qom-type");
  }
  return key_values_of(Json::parse(text, nullptr, false));
}

}  // namespace

std::string object_refusal(std::string_view text) {
  const KeyValueList list = read_definition(text);
  const std::optional<std::string> kind = find_value(list, "qom-type");
  if (!kind) {
    return missing("qom-type");
  }
  if (std::find(kKinds.begin(), kKinds.end(), *kind) == kKinds.end()) {
    return fmt::format("Parameter 'qom-type' does not accept value '{}'", *kind);
  }
  if (!find_value(list, "id")) {
    return missing("id");
  }
  if (*kind != "secret") {
    return {};
  }
  for (const auto& [key, value] : list) {
    if (std::find(kSecretKeys.begin(), kSecretKeys.end(), key) == kSecretKeys.end()) {
      return fmt::format("Parameter '{}' is unexpected", key);
    }
  }
  return find_value(list, "data") || find_value(list, "file")
             ? std::string()
             : "Either 'file' or 'data' must be provided";
}

}  // namespace varve::tool
