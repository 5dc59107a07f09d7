// The system's clocks, and moments as CIM writes them.
#pragma once

#include <cstdint>
#include <string>

#include <varve/service.h>

namespace varve {

inline constexpr std::uint64_t kNanosecondsPerSecond = 1'000'000'000;

class SystemClock final : public Clock {
 public:
  [[nodiscard]] std::uint64_t calendar_nanoseconds() const noexcept override;
  [[nodiscard]] std::uint64_t steady_nanoseconds() const noexcept override;
};

// "yyyymmddhhmmss.mmmmmm+000", UTC.
[[nodiscard]] std::string cim_datetime(std::uint64_t calendar_nanoseconds);
// "SYSTEM - (YYYY-MM-DD - HH:MM:SS)", UTC, the system's name cut to what a snapshot's may be.
[[nodiscard]] std::string default_element_name(std::string_view system_name,
                                               std::uint64_t calendar_nanoseconds);

}  // namespace varve
