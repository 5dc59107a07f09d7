// What a header may not say where the image's maker is not trusted: names of other files, and
// fields that contradict each other, which other programs resolve differently: whoever examines
// such an image and whoever uses it afterwards could see two.
#pragma once

#include <span>

#include <varve/result.h>

#include "format/header.h"

namespace varve {

struct UntrustedRule {
  Corruption reason;  // none: legal qcow2 that is refused all the same.
  const char* field;  // Of the header's fixed part.
  const char* what;
  bool (*is_kept)(const Header& header);
};

// In the order in which they are told.
[[nodiscard]] std::span<const UntrustedRule> untrusted_rules() noexcept;

[[nodiscard]] Error untrusted_error(const UntrustedRule& rule) noexcept;

// Errors: unsupported (another file is named), corrupt; no_memory.
[[nodiscard]] Result<void> validate_untrusted(const Header& header) noexcept;

}  // namespace varve
