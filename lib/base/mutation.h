// The rules of docs/INVARIANTS.md, to be broken on purpose one at a time: a build with
// VARVE_MUTATIONS breaks the one that the environment names, and the tests must find it
// (tests/mutations.sh). In every other build nothing of this is left.
#pragma once

#ifdef VARVE_MUTATIONS
#include <cstdlib>
#include <string_view>
#endif

namespace varve {

enum class Rule : unsigned char {
  none,
  o1,
  o2,
  o3,
  o4,
  o5,
  o6,
  o7,
  o8,
  o9,
  o10,
  o11,
  o12,
  h1,
  h2,
  h3_slot,
  h3_growth,
  h4,
  h5,
};

#ifdef VARVE_MUTATIONS

inline constexpr bool kHasMutations = true;
inline constexpr const char* kRuleNames[] = {
    "none", "O1",  "O2",  "O3", "O4", "O5",      "O6",        "O7", "O8", "O9",
    "O10",  "O11", "O12", "H1", "H2", "H3-slot", "H3-growth", "H4", "H5"};

inline Rule rule_from_environment() noexcept {
  const char* name = std::getenv("VARVE_BREAK_RULE");
  for (unsigned char i = 0; name != nullptr && i < sizeof(kRuleNames) / sizeof(*kRuleNames); ++i) {
    if (std::string_view(kRuleNames[i]) == name) {
      return static_cast<Rule>(i);
    }
  }
  return Rule::none;
}

inline const Rule broken_rule = rule_from_environment();

[[nodiscard]] inline bool is_broken(Rule rule) noexcept {
  return rule == broken_rule;
}

#else

inline constexpr bool kHasMutations = false;
[[nodiscard]] constexpr bool is_broken(Rule) noexcept {
  return false;
}

#endif

}  // namespace varve
