// ReferenceQcow2: a second opinion. A small, slow, independent reader and checker of qcow2, written
// from the format's specification and sharing nothing with lib/format, so that a misreading there
// shows. It looks at bytes in memory and never writes.
//
// Threads: none. Lifetime: the bytes outlive the reader.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "codec/codec.h"
#include "sim/sparse_bytes.h"

namespace varve::model {

struct ReferenceSnapshot {
  std::string id;
  std::string name;
  std::uint64_t l1_offset = 0;
  std::uint64_t l1_entries = 0;
  std::uint64_t disk_size = 0;
  std::uint64_t vm_state_size = 0;
};

// A cluster of the file and the things it is used for.
enum class ReferenceUse : std::uint16_t {
  none = 0,
  header = 1,
  refcount_table = 2,
  refcount_block = 4,
  l1 = 8,
  l2 = 16,
  data = 32,
  compressed = 64,
  snapshot_table = 128,
  bitmap = 256,
};

struct ReferenceReport {
  std::vector<std::uint32_t> references;  // For each cluster how many there are.
  std::vector<bool> reachable;            // For each 512-byte sector, when asked for.
  std::vector<std::uint16_t> uses;        // For each cluster the ReferenceUse bits.
  std::vector<std::string> corruptions;   // Counts below references, pointers astray, overlaps.
  std::vector<std::string> mismatches;    // COPIED flags that disagree with the counts.
  std::uint64_t leaks = 0;                // Clusters counted higher than referenced.
  [[nodiscard]] std::string text() const;
};

class ReferenceQcow2 {
 public:
  // Not copied: a copy of the bytes would stand elsewhere.
  ReferenceQcow2(ReferenceQcow2&&) noexcept = default;
  ReferenceQcow2& operator=(ReferenceQcow2&&) noexcept = default;

  // Another file: what unallocated ranges show, or the data file. It fills the whole target. Unset:
  // zeros.
  using Backing = std::function<void(std::uint64_t offset, Bytes target)>;

  // Nothing, and `why`, when the header makes no sense.
  [[nodiscard]] static std::optional<ReferenceQcow2> open(ConstBytes file, std::string& why);
  // The same, on a copy of its own in one piece. REQUIRES: small.
  [[nodiscard]] static std::optional<ReferenceQcow2> open(const sim::SparseBytes& file,
                                                          std::string& why);

  [[nodiscard]] std::uint64_t virtual_size() const noexcept { return virtual_size_; }
  [[nodiscard]] std::uint64_t cluster_bytes() const noexcept { return cluster_bytes_; }
  [[nodiscard]] std::uint32_t version() const noexcept { return version_; }
  [[nodiscard]] bool is_dirty() const noexcept { return (incompatible_ & 1) != 0; }
  [[nodiscard]] const std::vector<ReferenceSnapshot>& snapshots() const noexcept {
    return snapshots_;
  }
  // Whether an enabled bitmap claims to know every change of the disk.
  [[nodiscard]] bool has_trusted_bitmap() const;
  void set_backing(Backing backing) { backing_ = std::move(backing); }
  // Where the image keeps guest data in a file of its own.
  void set_data_file(Backing data_file) { data_file_ = std::move(data_file); }
  [[nodiscard]] bool has_data_file() const noexcept { return (incompatible_ & 4) != 0; }
  // The data file is, without the image, a raw disk.
  [[nodiscard]] bool is_data_file_raw() const noexcept { return (autoclear_ & 2) != 0; }

  // Where one unit of a disk (a cluster; a subcluster with extended entries) comes from.
  struct Source {
    enum class Kind : std::uint8_t { zero, backing, file, data_file, compressed } kind = Kind::zero;
    std::uint64_t offset = 0;  // In that file; for compressed: where the packed data begins.
    std::uint64_t length = 0;  // For compressed: of the packed data.
    std::uint64_t descriptor = 0;
  };
  [[nodiscard]] std::uint64_t unit_bytes() const noexcept {
    return extended_ ? cluster_bytes_ / 32 : cluster_bytes_;
  }
  // `offset` lies anywhere in the unit; source.offset is the unit's first byte. The active disk's,
  // or a snapshot's.
  [[nodiscard]] Source source_at(std::uint64_t offset) const;
  [[nodiscard]] Source source_at(const ReferenceSnapshot& snapshot, std::uint64_t offset) const;
  // All of a compressed cluster.
  [[nodiscard]] bool unpack(std::uint64_t descriptor, Bytes cluster, std::string& why) const;

  // Reads the active disk, or a snapshot's. False, and `why`, where the tables are broken.
  [[nodiscard]] bool read(std::uint64_t offset, Bytes target, std::string& why) const;
  [[nodiscard]] bool read_snapshot(std::size_t index, std::uint64_t offset, Bytes target,
                                   std::string& why) const;
  // Where a snapshot's machine state begins, in offsets of its disk.
  [[nodiscard]] std::uint64_t state_begin(const ReferenceSnapshot& snapshot) const noexcept {
    const std::uint64_t coverage = cluster_bytes_ * l2_entries();
    return (snapshot.disk_size + coverage - 1) / coverage * coverage;
  }

  // With `sectors`, also which sectors of the file something refers to.
  [[nodiscard]] ReferenceReport check(bool sectors = false) const;

  // The count kept for a cluster, however it is referenced.
  [[nodiscard]] std::uint64_t refcount(std::uint64_t cluster) const;

 private:
  friend class ReferenceChecker;
  struct Entry {
    std::uint64_t descriptor = 0;
    std::uint64_t bitmap = 0;
  };

  explicit ReferenceQcow2(ConstBytes file) : file_(file) {}
  [[nodiscard]] bool parse_header(std::string& why);
  [[nodiscard]] bool parse_extensions(std::string& why);
  [[nodiscard]] bool parse_snapshots(std::string& why);

  [[nodiscard]] std::uint64_t be(std::uint64_t offset, unsigned bytes) const;
  // Past the end: zeros. `room` is used where the range leaves the file.
  [[nodiscard]] ConstBytes bytes_at(std::uint64_t offset, std::uint64_t length,
                                    std::vector<std::byte>& room) const;
  [[nodiscard]] std::uint64_t l2_entry_bytes() const noexcept { return extended_ ? 16 : 8; }
  [[nodiscard]] std::uint64_t l2_entries() const noexcept {
    return cluster_bytes_ / l2_entry_bytes();
  }
  [[nodiscard]] Entry entry_at(std::uint64_t table, std::uint64_t index) const;
  [[nodiscard]] bool read_disk(std::uint64_t l1_offset, std::uint64_t l1_entries,
                               std::uint64_t offset, Bytes target, std::string& why) const;
  static void read_other(const Backing& file, std::uint64_t offset, Bytes target);
  // Whether an entry names a cluster: in a data file the first one has offset 0.
  [[nodiscard]] bool has_cluster(std::uint64_t descriptor) const noexcept;
  // First byte and length of a compressed cluster.
  [[nodiscard]] std::pair<std::uint64_t, std::uint64_t> compressed_place(
      std::uint64_t descriptor) const noexcept;
  [[nodiscard]] Source source_in(std::uint64_t l1_offset, std::uint64_t l1_entries,
                                 std::uint64_t offset) const;

  ConstBytes file_;
  std::vector<std::byte> own_;  // What file_ shows, when it is a copy.
  std::uint32_t version_ = 0;
  std::uint32_t cluster_bits_ = 0;
  std::uint64_t cluster_bytes_ = 0;
  std::uint64_t virtual_size_ = 0;
  std::uint64_t l1_offset_ = 0;
  std::uint64_t l1_entries_ = 0;
  std::uint64_t refcount_table_offset_ = 0;
  std::uint64_t refcount_table_clusters_ = 0;
  std::uint64_t snapshot_table_offset_ = 0;
  std::uint64_t snapshot_table_bytes_ = 0;
  std::uint64_t snapshot_count_ = 0;
  std::uint64_t incompatible_ = 0;
  std::uint64_t autoclear_ = 0;
  std::uint32_t refcount_order_ = 4;
  std::uint64_t header_bytes_ = 72;
  Compression compression_ = Compression::zlib;
  bool extended_ = false;
  std::uint64_t bitmap_count_ = 0;
  std::uint64_t bitmap_directory_offset_ = 0;
  std::uint64_t bitmap_directory_bytes_ = 0;
  std::vector<ReferenceSnapshot> snapshots_;
  Backing backing_;
  Backing data_file_;
};

}  // namespace varve::model
