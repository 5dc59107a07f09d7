// Where the parts of an image stand, as far as its bytes still lead there. Reads what it finds
// without judging it, within bounds of its own, and shares no parser with the library.
//
// Threads: none. Lifetime: the bytes outlive it.
#pragma once

#include <cstdint>
#include <vector>

#include "sim/sparse_bytes.h"

namespace varve::fuzz {

// What damage may be done to.
enum class Part : std::uint8_t {
  header,
  extensions,
  l1,
  l2,
  refcount_table,
  refcounts,
  snapshots,
  snapshot_l1,
  snapshot_l2,
  bitmap_directory,
  bitmap_table,
  payload,  // Compressed bytes.
  states,   // Of machines: their tables, their bytes, and what the entries know of them.
};
inline constexpr unsigned kPartCount = 13;

struct Place {
  std::uint64_t offset = 0;
  unsigned size = 0;  // Bytes; at most 8.
};

class Anatomy {
 public:
  explicit Anatomy(const sim::SparseBytes& bytes);

  [[nodiscard]] std::uint64_t get(std::uint64_t offset, unsigned size) const;
  [[nodiscard]] std::uint64_t cluster_bytes() const noexcept { return cluster_bytes_; }
  [[nodiscard]] unsigned refcount_bits() const noexcept { return refcount_bits_; }
  // Behind the last extension, where the next would stand; 0 where there is no end.
  [[nodiscard]] std::uint64_t extensions_end() const;
  // The place of the count of the cluster at `offset`; 0 where no block has it. For counts of a
  // byte or more.
  [[nodiscard]] std::uint64_t count_place(std::uint64_t offset) const;

  [[nodiscard]] std::vector<Place> places(Part part) const;
  // Offsets of everything there is: what an entry may be made to point at.
  [[nodiscard]] std::vector<std::uint64_t> landmarks() const;
  // Whether a range touches the header, a table the header names, or one that such a table names.
  [[nodiscard]] bool is_table(std::uint64_t offset, std::uint64_t length) const;

 private:
  struct Snapshot {
    std::uint64_t offset = 0;  // Of its entry.
    std::uint64_t bytes = 0;
    std::uint64_t l1_offset = 0;
    std::uint64_t l1_entries = 0;
    std::uint64_t disk_size = 0;
  };
  [[nodiscard]] std::vector<Snapshot> snapshots() const;
  [[nodiscard]] std::vector<std::uint64_t> tables_in(std::uint64_t offset,
                                                     std::uint64_t entries) const;
  void add_entries(std::vector<Place>& places, std::uint64_t table, std::uint64_t entries,
                   unsigned entry_bytes) const;
  void add_l2_entries(std::vector<Place>& places, std::uint64_t l1_offset,
                      std::uint64_t l1_entries) const;
  void add_extensions(std::vector<Place>& places) const;
  void add_counts(std::vector<Place>& places) const;
  void add_snapshot_fields(std::vector<Place>& places) const;
  void add_payload(std::vector<Place>& places) const;
  void add_state(std::vector<Place>& places, const Snapshot& snapshot) const;
  [[nodiscard]] std::uint64_t bitmap_directory() const;

  const sim::SparseBytes& bytes_;
  std::uint64_t cluster_bytes_ = 512;
  bool is_extended_ = false;
  unsigned refcount_bits_ = 16;
  std::uint64_t l1_offset_ = 0;
  std::uint64_t l1_entries_ = 0;
  std::uint64_t refcount_table_ = 0;
  std::uint64_t refcount_entries_ = 0;
  std::uint64_t header_bytes_ = 72;
};

}  // namespace varve::fuzz
