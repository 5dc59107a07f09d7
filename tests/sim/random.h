// Seeded randomness for simulations and randomised tests: small, fast, the same on every machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <vector>

namespace varve::sim {

class Random {
 public:
  explicit Random(std::uint64_t seed) noexcept : state_(seed) {}

  std::uint64_t next() noexcept {
    state_ += 0x9e3779b97f4a7c15u;
    return mix(state_);
  }
  // A number in [0, limit); 0 when limit is 0.
  std::uint64_t below(std::uint64_t limit) noexcept { return limit == 0 ? 0 : next() % limit; }
  // A number in [low, high].
  std::uint64_t between(std::uint64_t low, std::uint64_t high) noexcept {
    return low + below(high - low + 1);
  }
  bool chance(unsigned percent) noexcept { return below(100) < percent; }
  template <class T>
  T& pick(std::vector<T>& items) noexcept {
    return items[static_cast<std::size_t>(below(items.size()))];
  }
  // A generator of its own for a part of the work, so that parts do not disturb each other.
  Random fork() noexcept { return Random(next()); }

  static constexpr std::uint64_t mix(std::uint64_t value) noexcept {
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
    return value ^ (value >> 31);
  }

 private:
  std::uint64_t state_;
};

// A number from the environment, or `otherwise`: VARVE_SEED, VARVE_MODEL_OPERATIONS ...
inline std::uint64_t environment_number(const char* name, std::uint64_t otherwise) noexcept {
  const char* text = std::getenv(name);
  return text == nullptr || *text == '\0' ? otherwise : std::strtoull(text, nullptr, 0);
}

// The seed of this run: VARVE_SEED, else a fixed one, so that ordinary runs repeat.
inline std::uint64_t seed_from_environment() noexcept {
  return environment_number("VARVE_SEED", 1);
}

// One of every N of `all`, at least one, for the number N in the environment; all without it. A
// seed takes others than the one before, so that N of them take all.
template <class T>
std::vector<T> share_of(const std::vector<T>& all, const char* name) {
  const auto parts = static_cast<std::size_t>(environment_number(name, 1));
  if (parts <= 1 || all.empty()) {
    return all;
  }
  std::vector<T> share;
  const auto first = static_cast<std::size_t>(seed_from_environment() - 1) % parts;
  for (std::size_t i = first % all.size(); i < all.size(); i += parts) {
    share.push_back(all[i]);
  }
  return share;
}

// Whether a combination takes part, given the sum of its values' places: one of VARVE_CASE_SHARE
// does (all, unless it is set), dealt so that every value meets some of the others.
inline bool is_in_share(std::uint64_t places) noexcept {
  const std::uint64_t parts = environment_number("VARVE_CASE_SHARE", 1);
  return parts <= 1 || places % parts == (seed_from_environment() - 1) % parts;
}

}  // namespace varve::sim
