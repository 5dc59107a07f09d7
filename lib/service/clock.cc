#include "service/clock.h"

#include <array>
#include <chrono>
#include <cstdio>
#include <ctime>

#include "service/settings_text.h"
#include "service/utf8.h"

namespace varve {
namespace {

struct Moment {
  std::tm fields{};
  unsigned microseconds = 0;
};

Moment moment_of(std::uint64_t calendar_nanoseconds) noexcept {
  Moment moment;
  const auto seconds = static_cast<std::time_t>(calendar_nanoseconds / kNanosecondsPerSecond);
  gmtime_r(&seconds, &moment.fields);
  moment.microseconds = static_cast<unsigned>(calendar_nanoseconds % kNanosecondsPerSecond / 1000);
  return moment;
}

}  // namespace

std::uint64_t SystemClock::calendar_nanoseconds() const noexcept {
  return static_cast<std::uint64_t>(
      std::chrono::nanoseconds(std::chrono::system_clock::now().time_since_epoch()).count());
}

std::uint64_t SystemClock::steady_nanoseconds() const noexcept {
  return static_cast<std::uint64_t>(
      std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count());
}

std::string cim_datetime(std::uint64_t calendar_nanoseconds) {
  const Moment moment = moment_of(calendar_nanoseconds);
  std::array<char, 64> text{};
  const std::size_t size = std::strftime(text.data(), text.size(), "%Y%m%d%H%M%S", &moment.fields);
  std::array<char, 32> fraction{};
  std::snprintf(fraction.data(), fraction.size(), ".%06u+000", moment.microseconds % 1'000'000);
  return std::string(text.data(), size) + fraction.data();
}

std::string default_element_name(std::string_view system_name, std::uint64_t calendar_nanoseconds) {
  const Moment moment = moment_of(calendar_nanoseconds);
  std::array<char, 64> text{};
  const std::size_t size =
      std::strftime(text.data(), text.size(), " - (%Y-%m-%d - %H:%M:%S)", &moment.fields);
  std::string name(
      cut_utf8(system_name, kElementNameCharactersMax - size, kElementNameBytesMax - size));
  return name.append(text.data(), size);
}

}  // namespace varve
