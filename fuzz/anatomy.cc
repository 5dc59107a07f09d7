#include "anatomy.h"

#include <algorithm>
#include <array>

#include "base/bytes.h"

namespace varve::fuzz {
namespace {

constexpr std::uint64_t kOffsetBits = 0x00ff'ffff'ffff'fe00;
constexpr std::uint64_t kCopiedBit = std::uint64_t{1} << 63;
constexpr std::uint64_t kCompressedBit = std::uint64_t{1} << 62;
constexpr std::uint64_t kBitmapsMagic = 0x23852875;
// Of every kind of thing, so that damaged counts cost nothing.
constexpr std::uint64_t kEntriesMax = 2048;
constexpr std::uint64_t kPlacesMax = 256;
constexpr std::uint64_t kSnapshotsMax = 16;

constexpr std::array<Place, 19> kHeaderFields = {{{0, 4},
                                                  {4, 4},
                                                  {8, 8},
                                                  {16, 4},
                                                  {20, 4},
                                                  {24, 8},
                                                  {32, 4},
                                                  {36, 4},
                                                  {40, 8},
                                                  {48, 8},
                                                  {56, 4},
                                                  {60, 4},
                                                  {64, 8},
                                                  {72, 8},
                                                  {80, 8},
                                                  {88, 8},
                                                  {96, 4},
                                                  {100, 4},
                                                  {104, 1}}};

}  // namespace

Anatomy::Anatomy(const sim::SparseBytes& bytes) : bytes_(bytes) {
  const std::uint64_t bits = std::clamp<std::uint64_t>(get(20, 4), 9, 21);
  cluster_bytes_ = std::uint64_t{1} << bits;
  l1_entries_ = std::min<std::uint64_t>(get(36, 4), kEntriesMax);
  l1_offset_ = get(40, 8);
  refcount_table_ = get(48, 8);
  refcount_entries_ = std::min(get(56, 4) * cluster_bytes_ / 8, kEntriesMax);
  if (get(4, 4) == 3) {
    is_extended_ = (get(72, 8) & 16) != 0;
    refcount_bits_ = 1u << std::min<std::uint64_t>(get(96, 4), 6);
    header_bytes_ = get(100, 4);
  }
}

std::uint64_t Anatomy::get(std::uint64_t offset, unsigned size) const {
  std::array<std::byte, 8> room{};
  const Bytes target = Bytes(room).first(size);
  if (offset < bytes_.size()) {
    bytes_.read(offset, target);
  }
  std::uint64_t value = 0;
  for (const std::byte byte : target) {
    value = value << 8 | std::to_integer<std::uint64_t>(byte);
  }
  return value;
}

std::uint64_t Anatomy::extensions_end() const {
  std::uint64_t at = header_bytes_;
  while (at + 8 <= cluster_bytes_ && get(at, 4) != 0) {
    at += 8 + (get(at + 4, 4) + 7) / 8 * 8;
  }
  return at + 8 <= cluster_bytes_ ? at : 0;
}

std::uint64_t Anatomy::count_place(std::uint64_t offset) const {
  const std::uint64_t cluster = offset / cluster_bytes_;
  const std::uint64_t per_block = cluster_bytes_ * 8 / refcount_bits_;
  const std::uint64_t index = cluster / per_block;
  const std::uint64_t block =
      index < refcount_entries_ ? get(refcount_table_ + index * 8, 8) & kOffsetBits : 0;
  return block == 0 || refcount_bits_ < 8 ? 0 : block + cluster % per_block * refcount_bits_ / 8;
}

std::vector<std::uint64_t> Anatomy::tables_in(std::uint64_t offset, std::uint64_t entries) const {
  std::vector<std::uint64_t> tables;
  for (std::uint64_t i = 0; i < std::min(entries, kEntriesMax); ++i) {
    const std::uint64_t table = get(offset + i * 8, 8) & kOffsetBits;
    if (table != 0 && table < bytes_.size() && tables.size() < kPlacesMax) {
      tables.push_back(table);
    }
  }
  return tables;
}

// Those in use, and the first ones that are not.
void Anatomy::add_entries(std::vector<Place>& places, std::uint64_t table, std::uint64_t entries,
                          unsigned entry_bytes) const {
  unsigned unused = 0;
  for (std::uint64_t i = 0; i < std::min(entries, kEntriesMax); ++i) {
    const std::uint64_t at = table + i * entry_bytes;
    if ((get(at, 8) != 0 || ++unused <= 4) && places.size() < kPlacesMax) {
      for (unsigned part = 0; part < entry_bytes; part += 8) {
        places.push_back({at + part, 8});
      }
    }
  }
}

void Anatomy::add_l2_entries(std::vector<Place>& places, std::uint64_t l1_offset,
                             std::uint64_t l1_entries) const {
  const unsigned entry_bytes = is_extended_ ? 16 : 8;
  for (const std::uint64_t table : tables_in(l1_offset, l1_entries)) {
    add_entries(places, table, std::min<std::uint64_t>(cluster_bytes_ / entry_bytes, 256),
                entry_bytes);
  }
}

void Anatomy::add_extensions(std::vector<Place>& places) const {
  std::uint64_t at = header_bytes_;
  while (at + 8 <= cluster_bytes_ && places.size() < kPlacesMax) {
    places.push_back({at, 4});
    places.push_back({at + 4, 4});
    if (get(at, 4) == 0) {
      return;
    }
    const std::uint64_t length = get(at + 4, 4);
    for (std::uint64_t i = 0; i < std::min<std::uint64_t>(length, 24); i += 8) {
      places.push_back({at + 8 + i, 8});
    }
    at += 8 + (length + 7) / 8 * 8;
  }
}

void Anatomy::add_payload(std::vector<Place>& places) const {
  std::vector<Place> entries;
  add_l2_entries(entries, l1_offset_, l1_entries_);
  unsigned bits = 0;
  while ((std::uint64_t{1} << bits) < cluster_bytes_) {
    ++bits;
  }
  for (const Place& entry : entries) {
    const std::uint64_t raw = get(entry.offset, 8);
    if ((raw & kCompressedBit) != 0) {
      const std::uint64_t at = raw & ((std::uint64_t{1} << (62 - (bits - 8))) - 1);
      for (std::uint64_t i = 0; i < 24 && places.size() < kPlacesMax; ++i) {
        places.push_back({at + i, 1});
      }
    }
  }
}

std::vector<Anatomy::Snapshot> Anatomy::snapshots() const {
  std::vector<Snapshot> found;
  std::uint64_t at = get(64, 8);
  for (std::uint64_t i = 0; i < std::min<std::uint64_t>(get(60, 4), kSnapshotsMax); ++i) {
    const std::uint64_t bytes = 40 + get(at + 36, 4) + get(at + 12, 2) + get(at + 14, 2);
    found.push_back({at, bytes, get(at, 8), get(at + 8, 4), get(at + 48, 8)});
    at += (bytes + 7) / 8 * 8;
    if (at >= bytes_.size()) {
      break;
    }
  }
  return found;
}

// A state begins in the first L1 entry the disk does not need; its sums are the last of it.
void Anatomy::add_state(std::vector<Place>& places, const Snapshot& snapshot) const {
  const std::uint64_t entry_bytes = is_extended_ ? 16 : 8;
  const std::uint64_t coverage = cluster_bytes_ * (cluster_bytes_ / entry_bytes);
  const std::uint64_t first =
      snapshot.disk_size / coverage + (snapshot.disk_size % coverage != 0 ? 1 : 0);
  if (first >= snapshot.l1_entries || first >= kEntriesMax) {
    return;
  }
  // Its size twice, the record of what is known of it, the digest of its sums.
  for (const Place& field : std::initializer_list<Place>{
           {32, 4}, {40, 8}, {48, 8}, {64, 4}, {70, 2}, {72, 4}, {160, 8}, {168, 8}}) {
    places.push_back({snapshot.offset + field.offset, field.size});
  }
  std::vector<Place> entries;
  add_entries(entries, snapshot.l1_offset + first * 8, snapshot.l1_entries - first, 8);
  add_l2_entries(entries, snapshot.l1_offset + first * 8, snapshot.l1_entries - first);
  for (const Place& entry : entries) {
    const std::uint64_t cluster = get(entry.offset, 8) & kOffsetBits;
    places.push_back(entry);
    if (cluster != 0) {
      places.push_back({cluster, 8});
      places.push_back({cluster + cluster_bytes_ - 8, 8});
    }
  }
}

std::uint64_t Anatomy::bitmap_directory() const {
  for (std::uint64_t at = header_bytes_; at + 32 <= cluster_bytes_ && get(at, 4) != 0;
       at += 8 + (get(at + 4, 4) + 7) / 8 * 8) {
    if (get(at, 4) == kBitmapsMagic) {
      return get(at + 24, 8);
    }
  }
  return 0;
}

void Anatomy::add_counts(std::vector<Place>& places) const {
  const unsigned bytes = std::max(refcount_bits_ / 8, 1u);
  for (const std::uint64_t block : tables_in(refcount_table_, refcount_entries_)) {
    for (std::uint64_t i = 0; i < cluster_bytes_ / bytes && places.size() < kPlacesMax; ++i) {
      places.push_back({block + i * bytes, bytes});
    }
  }
}

void Anatomy::add_snapshot_fields(std::vector<Place>& places) const {
  for (const Snapshot& snapshot : snapshots()) {
    for (const Place& field : std::initializer_list<Place>{
             {0, 8}, {8, 4}, {12, 2}, {14, 2}, {32, 4}, {36, 4}, {40, 8}, {48, 8}, {56, 8}}) {
      places.push_back({snapshot.offset + field.offset, field.size});
    }
  }
}

std::vector<Place> Anatomy::places(Part part) const {
  std::vector<Place> places;
  switch (part) {
    case Part::header:
      places.assign(kHeaderFields.begin(), kHeaderFields.end());
      break;
    case Part::extensions:
      add_extensions(places);
      break;
    case Part::l1:
      add_entries(places, l1_offset_, l1_entries_, 8);
      break;
    case Part::l2:
      add_l2_entries(places, l1_offset_, l1_entries_);
      break;
    case Part::refcount_table:
      add_entries(places, refcount_table_, refcount_entries_, 8);
      break;
    case Part::refcounts:
      add_counts(places);
      break;
    case Part::snapshots:
      add_snapshot_fields(places);
      break;
    case Part::snapshot_l1:
      for (const Snapshot& snapshot : snapshots()) {
        add_entries(places, snapshot.l1_offset, snapshot.l1_entries, 8);
      }
      break;
    case Part::snapshot_l2:
      for (const Snapshot& snapshot : snapshots()) {
        add_l2_entries(places, snapshot.l1_offset, snapshot.l1_entries);
      }
      break;
    case Part::bitmap_directory:
      for (std::uint64_t i = 0; bitmap_directory() != 0 && i < 8; ++i) {
        places.push_back({bitmap_directory() + 4 * i, 4});
      }
      break;
    case Part::bitmap_table:
      if (bitmap_directory() != 0) {
        add_entries(places, get(bitmap_directory(), 8), 4, 8);
      }
      break;
    case Part::payload:
      add_payload(places);
      break;
    case Part::states:
      for (const Snapshot& snapshot : snapshots()) {
        add_state(places, snapshot);
      }
      break;
  }
  return places;
}

std::vector<std::uint64_t> Anatomy::landmarks() const {
  std::vector<std::uint64_t> marks = {0, cluster_bytes_, l1_offset_, refcount_table_, get(64, 8)};
  const auto add = [&](const std::vector<std::uint64_t>& more) {
    marks.insert(marks.end(), more.begin(), more.end());
  };
  add(tables_in(refcount_table_, refcount_entries_));
  add(tables_in(l1_offset_, l1_entries_));
  for (const Snapshot& snapshot : snapshots()) {
    marks.push_back(snapshot.l1_offset);
    add(tables_in(snapshot.l1_offset, snapshot.l1_entries));
  }
  if (bitmap_directory() != 0) {
    marks.push_back(bitmap_directory());
    marks.push_back(get(bitmap_directory(), 8));
    marks.push_back(get(get(bitmap_directory(), 8), 8) & kOffsetBits);
  }
  std::vector<Place> entries = places(Part::l2);
  for (std::size_t i = 0; i < std::min<std::size_t>(entries.size(), 32); ++i) {
    marks.push_back(get(entries[i].offset, 8) & kOffsetBits);
  }
  const std::uint64_t end = (bytes_.size() + cluster_bytes_ - 1) / cluster_bytes_ * cluster_bytes_;
  add({end - cluster_bytes_, end, end + cluster_bytes_, std::uint64_t{1} << 40,
       (std::uint64_t{1} << 56) - cluster_bytes_});
  return marks;
}

bool Anatomy::is_table(std::uint64_t offset, std::uint64_t length) const {
  const auto meets = [&](std::uint64_t at, std::uint64_t bytes) {
    return offset < at + bytes && at < offset + length;
  };
  if (meets(0, cluster_bytes_) || meets(l1_offset_, l1_entries_ * 8) ||
      meets(refcount_table_, refcount_entries_ * 8)) {
    return true;
  }
  // Entries with stray bits lead nowhere before they are repaired.
  const auto leads_there = [&](std::uint64_t table, std::uint64_t entries, std::uint64_t flags) {
    // In one piece: every write of guest data asks.
    std::vector<std::byte> bytes(static_cast<std::size_t>(entries * 8));
    if (table < bytes_.size()) {
      bytes_.read(table, bytes);
    }
    for (std::size_t i = 0; i < bytes.size(); i += 8) {
      const std::uint64_t entry = load_be<std::uint64_t>(bytes, i) & ~flags;
      if (entry != 0 && (entry & ~kOffsetBits) == 0 && entry % cluster_bytes_ == 0 &&
          meets(entry, cluster_bytes_)) {
        return true;
      }
    }
    return false;
  };
  return leads_there(l1_offset_, l1_entries_, kCopiedBit) ||
         leads_there(refcount_table_, refcount_entries_, 0);
}

}  // namespace varve::fuzz
