// The one loop for transfers the system cuts short: which call comes next, and what its result
// means. Pure: no I/O here, so that every length and every error can be tested.
//
// A transfer's state is request.internal.done_bytes. A call starts at that position rounded down to
// a device block, because O_DIRECT refuses to go on from the middle of one.
#pragma once

#include <cstdint>

#include <varve/storage.h>

#include "io/system_call.h"

namespace varve {

// Linux moves at most this much per call (MAX_RW_COUNT with 4 KiB pages).
inline constexpr std::uint64_t kCallBytesMax = 0x7ffff000;
// IOV_MAX.
inline constexpr std::uint32_t kCallVectorsMax = 1024;

// The next read or write of `request`; write_zeroes becomes a write from a shared run of zeros.
// REQUIRES: done_bytes < size_bytes(); for block > 1, offset and vectors are multiples of it.
[[nodiscard]] SystemCall next_transfer_call(const StorageRequest& request,
                                            std::uint64_t block) noexcept;

enum class TransferStep : std::uint8_t {
  again,     // Issue next_transfer_call().
  complete,  // All bytes moved; a read that met the end of the file got zeros for the rest.
  failed,    // The result's errno stands, or ENOSPC where a write made no progress.
};

// Accounts for the result (bytes, or -errno) of next_transfer_call(). `known_size` is the file's
// size as far as known: a short read that ends exactly there saves asking again.
[[nodiscard]] TransferStep account_transfer(StorageRequest& request, std::uint64_t block,
                                            std::int64_t result, std::uint64_t known_size) noexcept;

// Whether the call is to be repeated as it was.
[[nodiscard]] bool is_transient(std::int64_t result) noexcept;

}  // namespace varve
