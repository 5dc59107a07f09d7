// What a query found: instances of WMI classes as names and values.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <varve/c/service.h>

namespace varve::capi {

struct Property {
  const char* name;
  std::variant<std::string, std::uint64_t, std::vector<std::string>> value;
};

using Instance = std::vector<Property>;

}  // namespace varve::capi

struct varve_instances {
  std::vector<varve::capi::Instance> instances;
};
