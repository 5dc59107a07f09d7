#include "interop/matrix.h"

#include <algorithm>
#include <iterator>

#include "base/units.h"
#include "sim/random.h"

namespace varve::interop {
namespace {

const char* kind_name(Kind kind) {
  switch (kind) {
    case Kind::plain:
      return "plain";
    case Kind::backing:
      return "backing";
    case Kind::extended_l2:
      return "extended_l2";
    case Kind::data_file:
      return "data_file";
    case Kind::zlib:
      return "zlib";
    case Kind::zstd:
      return "zstd";
    case Kind::lazy:
      return "lazy_refcounts";
  }
  return "";
}

std::string size_name(std::uint64_t bytes) {
  if (bytes >= kMiB) {
    return std::to_string(bytes / kMiB) + "M";
  }
  return bytes >= kKiB ? std::to_string(bytes / kKiB) + "K" : std::to_string(bytes);
}

constexpr std::uint32_t kVersions[] = {2, 3};
constexpr std::uint32_t kClusters[] = {512, 4096, 65536, 2u << 20};
constexpr std::uint32_t kBits[] = {1, 16, 64};

template <class Values, class Value>
std::size_t place_in(const Values& values, Value value) {
  return static_cast<std::size_t>(std::ranges::find(values, value) - std::begin(values));
}

// Cases that differ in one value follow each other: parts take turns whatever is held fixed.
std::size_t place_of(const Case& example) {
  return place_in(kVersions, example.version) + place_in(kClusters, example.cluster_bytes) +
         place_in(kBits, example.refcount_bits) + place_in(kKinds, example.kind);
}

const char* change_name(Change change) {
  switch (change) {
    case Change::writes:
      return "writes";
    case Change::discards:
      return "discards";
    case Change::zeros:
      return "zeros";
    case Change::growth:
      return "growth";
  }
  return "";
}

std::vector<Case> every_case() {
  std::vector<Case> cases;
  for (const std::uint32_t version : kVersions) {
    for (const std::uint32_t cluster : kClusters) {
      for (const std::uint32_t bits : kBits) {
        for (const Kind kind : kKinds) {
          cases.push_back({version, cluster, bits, kind});
        }
      }
    }
  }
  return cases;
}

}  // namespace

std::uint64_t Case::disk_bytes() const {
  switch (cluster_bytes) {
    case 512:
      return 512 * kKiB + 512;
    case 4096:
      return 2 * kMiB + 1536;
    case 65536:
      return 4 * kMiB + 512;
    default:
      return 16 * kMiB + 2560;
  }
}

std::uint64_t Case::backing_bytes() const {
  const bool is_short = cluster_bytes == 512 || cluster_bytes == 65536;
  return is_short ? 5 * std::uint64_t{cluster_bytes} + 512
                  : disk_bytes() + 2 * std::uint64_t{cluster_bytes} - 512;
}

std::string name_of(const Case& example) {
  return "v" + std::to_string(example.version) + "_" + size_name(example.cluster_bytes) + "_rc" +
         std::to_string(example.refcount_bits) + "_" + kind_name(example.kind);
}

void PrintTo(const Case& example, std::ostream* out) {
  *out << name_of(example);
}

std::string name_of(const ChangedCase& changed) {
  return name_of(changed.example) + "_" + change_name(changed.change);
}

void PrintTo(const ChangedCase& changed, std::ostream* out) {
  *out << name_of(changed);
}

std::size_t part_count() {
  return std::clamp<std::size_t>(sim::environment_number("VARVE_INTEROP_SHARE", 1), 1,
                                 kCasePartsMax);
}

std::vector<Case> part_of_cases(const std::vector<Case>& cases, std::size_t turn,
                                std::size_t parts) {
  std::vector<Case> part;
  std::ranges::copy_if(cases, std::back_inserter(part), [&](const Case& example) {
    return (place_of(example) + turn) % parts == 0;
  });
  return part;
}

std::vector<ChangedCase> part_of_changes(std::size_t turn, std::size_t parts) {
  std::vector<ChangedCase> part;
  for (const Case& example : legal_cases()) {
    for (const Change change : kChanges) {
      if ((place_of(example) + place_in(kChanges, change) + turn) % parts == 0) {
        part.push_back({example, change});
      }
    }
  }
  return part;
}

std::vector<std::string> illegal_options(const Case& example) {
  std::vector<std::string> options;
  if (example.version == 2 && example.refcount_bits != 16) {
    options.emplace_back("refcount_bits");
  }
  if (example.version == 2 && example.kind == Kind::lazy) {
    options.emplace_back("lazy_refcounts");
  }
  if (example.version == 2 && example.kind == Kind::data_file) {
    options.emplace_back("data_file");
  }
  if (example.version == 2 && example.kind == Kind::zstd) {
    options.emplace_back("compression_type");
  }
  if (example.kind == Kind::extended_l2 &&
      (example.version == 2 || example.cluster_bytes < 16 * kKiB)) {
    options.emplace_back("extended_l2");
  }
  return options;
}

std::vector<Case> legal_cases() {
  std::vector<Case> cases;
  for (const Case& example : every_case()) {
    if (illegal_options(example).empty()) {
      cases.push_back(example);
    }
  }
  return cases;
}

std::vector<Case> illegal_cases() {
  std::vector<Case> cases;
  for (const Case& example : every_case()) {
    if (!illegal_options(example).empty()) {
      cases.push_back(example);
    }
  }
  return cases;
}

CreateOptions create_options(const Case& example, const std::string& backing,
                             const std::string& data_file) {
  CreateOptions options;
  options.size_bytes = example.disk_bytes();
  options.version = example.version;
  options.cluster_bytes = example.cluster_bytes;
  options.refcount_bits = example.refcount_bits;
  options.lazy_refcounts = example.kind == Kind::lazy;
  options.extended_l2 = example.kind == Kind::extended_l2;
  options.compression = example.kind == Kind::zstd ? Compression::zstd : Compression::zlib;
  if (example.kind == Kind::backing) {
    options.backing_name = backing;
    options.backing_format = example.backing_format();
  }
  if (example.kind == Kind::data_file) {
    options.data_file_name = data_file;
  }
  return options;
}

std::string qemu_options(const Case& example, const std::string& backing,
                         const std::string& data_file) {
  std::string options = example.version == 2 ? "compat=0.10" : "compat=1.1";
  options += ",cluster_size=" + std::to_string(example.cluster_bytes);
  options += ",refcount_bits=" + std::to_string(example.refcount_bits);
  switch (example.kind) {
    case Kind::plain:
    case Kind::zlib:
      break;
    case Kind::backing:
      options += ",backing_file=" + backing + ",backing_fmt=" + example.backing_format();
      break;
    case Kind::extended_l2:
      options += ",extended_l2=on";
      break;
    case Kind::data_file:
      options += ",data_file=" + data_file;
      break;
    case Kind::zstd:
      options += ",compression_type=zstd";
      break;
    case Kind::lazy:
      options += ",lazy_refcounts=on";
      break;
  }
  return options;
}

}  // namespace varve::interop
