// Disk snapshots: create, list, apply, delete, rename, and reading one beside the writer.
//
// Threads: as Image. All calls block in this version; each runs an operation that works beside
// guest I/O. Durability: when a call returns success its effect is durable; when it returns an
// error, or the process dies inside it, the image holds the state before or after, never a mixture,
// and no snapshot is harmed.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <varve/image.h>
#include <varve/result.h>
#include <varve/uuid.h>

namespace varve {

class StateWriter;

struct SnapshotInfo {
  std::string id;
  std::string name;
  std::uint64_t disk_size = 0;      // Bytes; the disk's size then.
  std::uint64_t vm_state_size = 0;  // Bytes of saved machine state; 0: a disk snapshot.
  std::uint32_t date_seconds = 0;   // Unix time.
  std::uint32_t date_nanoseconds = 0;
  std::uint64_t vm_clock_nanoseconds = 0;
  std::int64_t icount = -1;  // -1: not recorded.

  // What Varve keeps with its own snapshots, in extra data that QEMU preserves. Null and empty
  // where another program made the snapshot, or dropped it: missing facts are told, not guessed.
  Uuid uuid;
  Uuid parent;           // The snapshot the disk stood on then; null: none, or not known.
  Uuid group;            // The group snapshot it belongs to; null: none.
  bool pending = false;  // Of a group snapshot that is not committed (see group.h).
  std::string settings;  // The embedder's own values, as given at creation.
  bool has_state_digest = false;
  std::array<std::uint8_t, 16> state_digest{};  // XXH3-128 over the state's chunk sums.
};

// How to find a snapshot. QEMU's own verbs take the first match by name or id; Varve's refuse
// ambiguity.
struct SnapshotReference {
  std::string_view text;  // An id or a name; by id_or_name, where neither fits, a UUID.
  enum class By : std::uint8_t { id_or_name, id, name } by = By::id_or_name;
};

struct SnapshotCreateOptions {
  std::string name;                // At most 65,535 bytes; empty: the id.
  std::uint32_t date_seconds = 0;  // The caller's clock; the library has none.
  std::uint32_t date_nanoseconds = 0;
  std::uint64_t vm_clock_nanoseconds = 0;
  std::int64_t icount = -1;      // -1: not recorded.
  Uuid uuid;                     // Null: the library makes one.
  std::string settings;          // Kept with the snapshot; at most kSnapshotSettingsBytesMax.
  StateWriter* state = nullptr;  // The machine state, finished by the time of publishing (state.h).
};
inline constexpr std::size_t kSnapshotSettingsBytesMax = 768;

struct SnapshotCreated {
  std::string id;
  Uuid uuid;
  std::uint64_t pause_nanoseconds = 0;  // Time inside freeze.
};

// The snapshots in table order. No I/O.
[[nodiscard]] Result<std::vector<SnapshotInfo>> list_snapshots(const Image& image);

// Index into list_snapshots. Errors: not_found; invalid_argument when several share the name (by
// id_or_name and name: an id match wins).
[[nodiscard]] Result<std::size_t> find_snapshot(const Image& image,
                                                const SnapshotReference& reference);

// Errors of all: unsupported (raw image, external data file, 1-bit refcounts), read_only, busy (a
// control operation runs, or the snapshot is open), not_found, out_of_range (a refcount would
// overflow: everything is undone; no room in the table), no_space, corrupt, io, no_memory,
// poisoned.
Result<SnapshotCreated> create_snapshot(Image& image,
                                        const SnapshotCreateOptions& options) noexcept;
Result<void> apply_snapshot(Image& image, std::size_t index) noexcept;
Result<void> delete_snapshot(Image& image, std::size_t index) noexcept;
Result<void> rename_snapshot(Image& image, std::size_t index, std::string_view new_name) noexcept;

// A read-only image of the snapshot's disk, sharing the open file of `image`, which must outlive
// it. While it is open the snapshot cannot be deleted (busy).
[[nodiscard]] Result<std::unique_ptr<Image>> open_snapshot(Image& image,
                                                           std::size_t index) noexcept;

// Reads the snapshot's saved machine state. Errors: out_of_range beyond vm_state_size.
Result<void> read_vm_state(Image& image, std::size_t index, std::uint64_t offset,
                           std::span<std::byte> target) noexcept;

}  // namespace varve
