// Walking the header's extension area. Private to the files of Header.
#pragma once

#include <optional>

#include <varve/result.h>

#include "base/bytes.h"
#include "format/header.h"

namespace varve {

// One extension as found: its data still in the header cluster.
struct ExtensionView {
  std::uint32_t type = 0;
  std::uint64_t offset = 0;  // Of the extension's own head, in the file.
  ConstBytes data;
};

// Yields the extensions of [begin, end) of cluster 0 one by one until the end marker, the end of
// the area, or an error. REQUIRES: begin <= end <= cluster0.size().
class ExtensionReader {
 public:
  ExtensionReader(ConstBytes cluster0, std::uint64_t begin, std::uint64_t end) noexcept
      : cluster0_(cluster0), at_(begin), end_(end) {}

  // Nothing at the end. Errors: corrupt (extension_beyond_header).
  [[nodiscard]] Result<std::optional<ExtensionView>> next() noexcept;

 private:
  ConstBytes cluster0_;
  std::uint64_t at_;
  std::uint64_t end_;
};

inline constexpr std::uint64_t kExtensionHeadBytes = 8;
inline constexpr std::uint64_t kFeatureNameEntryBytes = 48;

// The rules of the known extensions, of one and of all together.
[[nodiscard]] Result<void> validate_extension(const Header& header,
                                              const ExtensionView& extension) noexcept;
[[nodiscard]] Result<void> validate_extension_set(const Header& header) noexcept;

// The names in a feature-name table; entries of an unknown kind or bit are left out, a cut-off last
// one too. Bytes that do not print become '?'.
[[nodiscard]] std::vector<FeatureName> decode_feature_names(ConstBytes table);

// "flux capacitor (bit 7), bit 9" for the bits of `unknown`.
[[nodiscard]] std::string name_features(std::uint64_t unknown,
                                        const std::vector<FeatureName>& names);

}  // namespace varve
