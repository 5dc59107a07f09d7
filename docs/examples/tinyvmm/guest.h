// The agreement between the machine and its guest: where things stand in RAM, what a port means.
// guest.S repeats these numbers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace tinyvmm {

inline constexpr std::size_t kRamBytes = 1 << 20;
inline constexpr std::size_t kProgramAddress = 0x1000;
inline constexpr std::size_t kStackAddress = 0x1000;  // It grows down from the program.
inline constexpr std::size_t kCommandAddress = 0x500;
inline constexpr std::size_t kCounterAddress = 0x600;

inline constexpr std::uint16_t kDiskPort = 0x10;
inline constexpr std::uint16_t kBrokenPort = 0x11;  // The guest found a sector it had not written.

inline constexpr std::size_t kSectorBytes = 512;
inline constexpr std::uint32_t kPlaces = 64;  // Number n stands in sector (n % 64) * 128.
inline constexpr std::uint32_t kSectorsApart = 128;

// One request of the guest, as a queue of virtio would hold many.
struct DiskCommand {
  std::uint8_t operation;  // 0 read, 1 write, 2 flush.
  std::uint8_t status;     // Set by the machine: 0, or something went wrong.
  std::uint16_t buffer;    // Address of a sector's bytes in RAM.
  std::uint32_t sector;
};
static_assert(sizeof(DiskCommand) == 8);

}  // namespace tinyvmm

extern "C" {
extern const std::byte guest_program[];
extern const std::byte guest_program_end[];
}
