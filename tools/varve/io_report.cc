#include "io_report.h"

#include <array>
#include <cctype>
#include <cinttypes>
#include <cstdio>

namespace varve::tool {

namespace {

constexpr std::size_t kDumpWidth = 16;

// The unit of a size, from the largest on.
struct Unit {
  double bytes;
  const char* name;
};
constexpr std::array<Unit, 6> kUnits = {{
    {0x1p60, " EiB"},
    {0x1p50, " PiB"},
    {0x1p40, " TiB"},
    {0x1p30, " GiB"},
    {0x1p20, " MiB"},
    {0x1p10, " KiB"},
}};

template <class... Arguments>
std::string make_text(const char* format, Arguments... arguments) {
  std::array<char, 256> text{};
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-security"
  std::snprintf(text.data(), text.size(), format, arguments...);
#pragma GCC diagnostic pop
  return text.data();
}

double per_second(double amount, std::chrono::nanoseconds elapsed) {
  return amount / std::chrono::duration<double>(elapsed).count();
}

}  // namespace

std::string io_size_text(double bytes) {
  std::string text;
  const char* unit_name = " bytes";
  for (const Unit& unit : kUnits) {
    if (bytes >= unit.bytes) {
      text = make_text("%.3f", bytes / unit.bytes);
      unit_name = unit.name;
      break;
    }
  }
  if (text.empty()) {
    text = make_text("%f", bytes);
  }
  const std::size_t zeros = text.find(".000");
  if (zeros != std::string::npos) {
    text.resize(zeros);
  }
  return text + unit_name;
}

std::string io_duration_text(std::chrono::nanoseconds elapsed, bool full) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(elapsed).count();
  const double fraction = std::chrono::duration<double>(elapsed % std::chrono::seconds(1)).count();
  if (!full && seconds == 0) {
    return make_text("%05.2f sec", fraction);
  }
  return make_text("%" PRIu64 ":%02" PRIu64 ":%05.2f", static_cast<std::uint64_t>(seconds / 3600),
                   static_cast<std::uint64_t>(seconds / 60 % 60),
                   static_cast<double>(seconds % 60) + fraction);
}

std::string io_report_text(const IoReport& report, bool machine_readable) {
  const auto done = static_cast<double>(report.done);
  const double bytes_rate = per_second(done, report.elapsed);
  const double operations_rate = per_second(1, report.elapsed);
  const std::string duration = io_duration_text(report.elapsed, machine_readable);
  if (machine_readable) {
    return make_text("%" PRIu64 ",1,%s,%.3f,%.3f\n", report.done, duration.c_str(), bytes_rate,
                     operations_rate);
  }
  return make_text("%s %" PRIu64 "/%" PRIu64 " bytes at offset %" PRIu64 "\n", report.operation,
                   report.done, report.requested, report.offset) +
         make_text("%s, 1 ops; %s (%s/sec and %.4f ops/sec)\n", io_size_text(done).c_str(),
                   duration.c_str(), io_size_text(bytes_rate).c_str(), operations_rate);
}

std::string io_dump_text(std::span<const std::byte> data, std::uint64_t offset) {
  std::string text;
  for (std::size_t start = 0; start < data.size(); start += kDumpWidth) {
    text += make_text("%08" PRIx64 ":  ", offset + start);
    std::string letters;
    for (const std::byte byte : data.subspan(start, std::min(kDumpWidth, data.size() - start))) {
      const auto value = static_cast<unsigned char>(byte);
      text += make_text("%02x ", unsigned{value});
      letters += std::isalnum(value) != 0 ? static_cast<char>(value) : '.';
    }
    text += ' ' + letters + '\n';
  }
  return text;
}

std::string io_extent_text(std::uint64_t offset, std::uint64_t length, bool allocated) {
  return make_text("%s (0x%" PRIx64 ") bytes %s at offset %s (0x%" PRIx64 ")\n",
                   io_size_text(static_cast<double>(length)).c_str(), length,
                   allocated ? "    allocated" : "not allocated",
                   io_size_text(static_cast<double>(offset)).c_str(), offset);
}

}  // namespace varve::tool
