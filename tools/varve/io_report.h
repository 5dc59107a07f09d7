// What qemu-io says about a finished request: sizes, durations, throughput, and the dump of read
// -v. Pure functions that make text.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace varve::tool {

using IoClock = std::chrono::steady_clock;

// "64 KiB", "3.938 MiB", "512 bytes": three decimals, none when they are all zero.
[[nodiscard]] std::string io_size_text(double bytes);

// "00.01 sec", or hours, minutes and seconds ("0:00:01.50") from one second on or when `full`.
[[nodiscard]] std::string io_duration_text(std::chrono::nanoseconds elapsed, bool full);

struct IoReport {
  const char* operation = "";  // "wrote", "read", "discard".
  std::uint64_t offset = 0;
  std::uint64_t requested = 0;
  std::uint64_t done = 0;
  std::chrono::nanoseconds elapsed{0};
};

// Two lines for people, or one of five figures between commas: bytes, operations, time, bytes per
// second, operations per second.
[[nodiscard]] std::string io_report_text(const IoReport& report, bool machine_readable);

// Sixteen bytes a line, the first at `offset`: offset, hexadecimal, and the letters and digits.
[[nodiscard]] std::string io_dump_text(std::span<const std::byte> data, std::uint64_t offset);

// One line of map: "7 KiB (0x1c00) bytes     allocated at offset ...".
[[nodiscard]] std::string io_extent_text(std::uint64_t offset, std::uint64_t length,
                                         bool allocated);

}  // namespace varve::tool
