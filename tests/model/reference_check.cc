// The checking half of ReferenceQcow2: counts every reference by walking from the header, then
// compares with the counts the image keeps.
#include <algorithm>

#include "base/units.h"
#include "model/reference_qcow2.h"

namespace varve::model {

namespace {
constexpr std::uint64_t kOffsetBits = 0x00ff'ffff'ffff'fe00;
constexpr std::uint64_t kCopiedBit = std::uint64_t{1} << 63;
constexpr std::uint64_t kCompressedBit = std::uint64_t{1} << 62;
constexpr std::size_t kCorruptionsKept = 20;
constexpr std::uint64_t kStretchEntries = 64;  // Eight bytes each: a table has whole stretches.
}  // namespace

std::string ReferenceReport::text() const {
  std::string text;
  for (const std::string& line : corruptions) {
    text += "corruption: " + line + "\n";
  }
  for (const std::string& line : mismatches) {
    text += "mismatch: " + line + "\n";
  }
  return text + std::to_string(leaks) + " leaks";
}

class ReferenceChecker {
 public:
  ReferenceChecker(const ReferenceQcow2& image, bool sectors)
      : image_(image),
        wants_sectors_(sectors),
        clusters_((image.file_.size() + image.cluster_bytes_ - 1) / image.cluster_bytes_),
        uses_(static_cast<std::size_t>(clusters_)) {}

  ReferenceReport run() {
    if (wants_sectors_) {
      report_.reachable.resize(
          static_cast<std::size_t>(clusters_ * image_.cluster_bytes_ / kSectorBytes));
    }
    use(0, image_.cluster_bytes_, Kind::header, "header");
    walk_refcounts();
    walk_tree(image_.l1_offset_, image_.l1_entries_, true, "active");
    if (image_.snapshot_count_ > 0) {
      use(image_.snapshot_table_offset_, image_.snapshot_table_bytes_, Kind::snapshot_table,
          "snapshot table");
    }
    for (const ReferenceSnapshot& snapshot : image_.snapshots_) {
      walk_tree(snapshot.l1_offset, snapshot.l1_entries, false, "snapshot " + snapshot.id);
    }
    walk_bitmaps();
    compare();
    return std::move(report_);
  }

 private:
  using Kind = ReferenceUse;
  struct Name {
    const std::string& table;
    std::uint64_t index;
    [[nodiscard]] std::string text() const { return table + "[" + std::to_string(index) + "]"; }
  };
  struct Use {
    std::uint32_t references = 0;
    std::uint16_t kinds = 0;
  };

  void corrupt(const std::string& what) {
    if (report_.corruptions.size() < kCorruptionsKept) {
      report_.corruptions.push_back(what);
    }
  }

  void reach(std::uint64_t offset, std::uint64_t length) {
    const std::uint64_t end = (offset + length + kSectorBytes - 1) / kSectorBytes;
    for (std::uint64_t i = offset / kSectorBytes; i < end && i < report_.reachable.size(); ++i) {
      report_.reachable[static_cast<std::size_t>(i)] = true;
    }
  }

  static std::string text_of(const std::string& name) { return name; }
  static std::string text_of(const Name& name) { return name.text(); }

  template <class AnyName>
  void use(std::uint64_t offset, std::uint64_t length, Kind kind, const AnyName& name) {
    if (kind != Kind::compressed && offset % image_.cluster_bytes_ != 0) {
      corrupt(text_of(name) + " at " + std::to_string(offset) + " is not aligned");
      return;
    }
    if (length == 0) {
      return;
    }
    const std::uint64_t first = offset >> image_.cluster_bits_;
    std::uint64_t last = (offset + length - 1) >> image_.cluster_bits_;
    if (kind == Kind::compressed && last >= clusters_ && last > first) {
      last = std::max(first, clusters_ - 1);  // A descriptor may name sectors past the end.
    }
    if (last >= clusters_) {
      corrupt(text_of(name) + " at " + std::to_string(offset) + " lies past the end of the file");
      return;
    }
    if (wants_sectors_ && kind != Kind::data) {
      reach(offset, length);
    }
    for (std::uint64_t cluster = first; cluster <= last; ++cluster) {
      Use& used = uses_[static_cast<std::size_t>(cluster)];
      used.references += 1;
      used.kinds = static_cast<std::uint16_t>(used.kinds | static_cast<std::uint16_t>(kind));
    }
  }

  template <class AnyName>
  void check_copied(std::uint64_t raw, const AnyName& name) {
    const std::uint64_t count = image_.refcount((raw & kOffsetBits) >> image_.cluster_bits_);
    const bool copied = (raw & kCopiedBit) != 0;
    if (copied != (count == 1) && report_.mismatches.size() < kCorruptionsKept) {
      report_.mismatches.push_back(text_of(name) + " at " + std::to_string(raw & kOffsetBits) +
                                   ": COPIED " + (copied ? "set" : "clear") + ", count " +
                                   std::to_string(count));
    }
  }

  void walk_tree(std::uint64_t l1_offset, std::uint64_t l1_entries, bool active,
                 const std::string& name) {
    use(l1_offset, l1_entries * 8, Kind::l1, name + " L1");
    if (l1_offset + l1_entries * 8 > clusters_ * image_.cluster_bytes_) {
      return;
    }
    for (std::uint64_t i = 0; i < l1_entries; ++i) {
      const std::uint64_t raw = image_.be(l1_offset + i * 8, 8);
      if (raw == 0) {
        continue;
      }
      const std::string entry_name = name + " L1[" + std::to_string(i) + "]";
      if ((raw & ~(kOffsetBits | kCopiedBit)) != 0) {
        corrupt(entry_name + " has reserved bits");
      }
      if ((raw & kOffsetBits) == 0) {
        corrupt(entry_name + " has flags and no table");
        continue;
      }
      use(raw & kOffsetBits, image_.cluster_bytes_, Kind::l2, entry_name);
      if (active) {
        check_copied(raw, entry_name);
      }
      if (((raw & kOffsetBits) >> image_.cluster_bits_) < clusters_) {
        walk_table(raw & kOffsetBits, i * image_.l2_entries() * image_.cluster_bytes_, active,
                   entry_name);
      }
    }
  }

  // `name` is put together only where something is wrong: most images are fine.
  void walk_table(std::uint64_t table, std::uint64_t guest, bool active, const std::string& name) {
    std::vector<std::byte> room;
    const ConstBytes bytes = image_.bytes_at(table, image_.cluster_bytes_, room);
    constexpr std::size_t kStretch = 512;  // Most of a small disk's table is empty.
    for (std::uint64_t i = 0; i < image_.l2_entries(); ++i) {
      const auto at = static_cast<std::size_t>(i * image_.l2_entry_bytes());
      if (at % kStretch == 0 && is_all_zero(bytes.subspan(at, kStretch))) {
        i += kStretch / image_.l2_entry_bytes() - 1;
        continue;
      }
      ReferenceQcow2::Entry entry;
      entry.descriptor = load_be<std::uint64_t>(bytes, at);
      entry.bitmap = image_.extended_ ? load_be<std::uint64_t>(bytes, at + 8) : 0;
      if (entry.descriptor != 0 || entry.bitmap != 0) {
        walk_entry(entry, guest + i * image_.cluster_bytes_, active, Name{name, i});
      }
    }
  }

  void walk_entry(const ReferenceQcow2::Entry& entry, std::uint64_t guest, bool active,
                  const Name& name) {
    const std::uint64_t raw = entry.descriptor;
    if ((raw & kCompressedBit) != 0) {
      if ((raw & kCopiedBit) != 0) {
        corrupt(name.text() + " is compressed and has COPIED set");
      }
      if (entry.bitmap != 0) {
        corrupt(name.text() + " is compressed and has subclusters");
      }
      if (image_.has_data_file()) {
        corrupt(name.text() + " is compressed beside a data file");
      }
      const auto [offset, length] = image_.compressed_place(raw);
      use(offset, length, Kind::compressed, name);
      return;
    }
    const bool zero_allowed = image_.version_ == 3 && !image_.extended_;
    if ((raw & ~(kOffsetBits | kCopiedBit | (zero_allowed ? 1u : 0u))) != 0) {
      corrupt(name.text() + " has reserved bits");
    }
    const auto allocated = static_cast<std::uint32_t>(entry.bitmap);
    const auto zeros = static_cast<std::uint32_t>(entry.bitmap >> 32);
    if ((allocated & zeros) != 0) {
      corrupt(name.text() + " has subclusters both zero and allocated");
    }
    if (!image_.has_cluster(raw)) {
      if (allocated != 0) {
        corrupt(name.text() + " has subclusters without a cluster");
      }
      if ((raw & kCopiedBit) != 0) {
        corrupt(name.text() + " has COPIED set without a cluster");
      }
      return;
    }
    if (image_.has_data_file()) {
      // Nothing counts them there, and each stands where the disk has it.
      if ((raw & kCopiedBit) == 0 || (raw & kOffsetBits) != guest) {
        corrupt(name.text() + " names " + std::to_string(raw & kOffsetBits) + " of the data file");
      }
      return;
    }
    use(raw & kOffsetBits, image_.cluster_bytes_, Kind::data, name);
    // A cluster kept for a range of zeros is not shown.
    const bool is_zero = zero_allowed && (raw & 1) != 0;
    for (std::uint64_t i = 0; wants_sectors_ && i < image_.cluster_bytes_ / image_.unit_bytes();
         ++i) {
      if (image_.extended_ ? ((allocated >> i) & 1) != 0 : !is_zero) {
        reach((raw & kOffsetBits) + i * image_.unit_bytes(), image_.unit_bytes());
      }
    }
    if (active) {
      check_copied(raw, name);
    }
  }

  void walk_refcounts() {
    use(image_.refcount_table_offset_, image_.refcount_table_clusters_ * image_.cluster_bytes_,
        Kind::refcount_table, "refcount table");
    const std::uint64_t entries = image_.refcount_table_clusters_ * image_.cluster_bytes_ / 8;
    std::vector<std::byte> room;
    for (std::uint64_t i = 0; i < entries; ++i) {
      // Most of a small image's table is empty.
      const std::uint64_t place = image_.refcount_table_offset_ + i * 8;
      if (i % kStretchEntries == 0 &&
          is_all_zero(image_.bytes_at(place, kStretchEntries * 8, room))) {
        i += kStretchEntries - 1;
        continue;
      }
      const std::uint64_t block = image_.be(image_.refcount_table_offset_ + i * 8, 8);
      if (block != 0) {
        use(block, image_.cluster_bytes_, Kind::refcount_block,
            "refcount block " + std::to_string(i));
        count_past_end(i, block);
      }
    }
  }

  // Counts of clusters the file does not have are leaks.
  void count_past_end(std::uint64_t index, std::uint64_t block) {
    const std::uint64_t per_block = (image_.cluster_bytes_ * 8) >> image_.refcount_order_;
    const std::uint64_t first = index * per_block;
    const std::uint64_t from = std::max(first, clusters_);
    if (from >= first + per_block) {
      return;
    }
    const std::uint64_t skip = ((from - first) << image_.refcount_order_) / 8;
    std::vector<std::byte> room;
    if (is_all_zero(image_.bytes_at(block + skip, image_.cluster_bytes_ - skip, room))) {
      return;
    }
    for (std::uint64_t cluster = from; cluster < first + per_block; ++cluster) {
      report_.leaks += image_.refcount(cluster) != 0 ? 1 : 0;
    }
  }

  void walk_bitmaps() {
    std::uint64_t at = image_.bitmap_directory_offset_;
    if (image_.bitmap_count_ > 0) {
      use(at, image_.bitmap_directory_bytes_, Kind::bitmap, "bitmap directory");
    }
    for (std::uint64_t i = 0; i < image_.bitmap_count_; ++i) {
      const std::string name = "bitmap " + std::to_string(i);
      const std::uint64_t table = image_.be(at, 8);
      const std::uint64_t entries = image_.be(at + 8, 4);
      use(table, entries * 8, Kind::bitmap, name + " table");
      for (std::uint64_t j = 0; j < entries; ++j) {
        const std::uint64_t data = image_.be(table + j * 8, 8) & kOffsetBits;
        if (data != 0) {
          use(data, image_.cluster_bytes_, Kind::bitmap, name + " data");
        }
      }
      const std::uint64_t tail = image_.be(at + 18, 2) + image_.be(at + 20, 4);
      at += (24 + tail + 7) / 8 * 8;
    }
  }

  void compare() {
    report_.uses.resize(uses_.size());
    report_.references.resize(uses_.size());
    for (std::uint64_t cluster = 0; cluster < clusters_; ++cluster) {
      report_.uses[static_cast<std::size_t>(cluster)] =
          uses_[static_cast<std::size_t>(cluster)].kinds;
      const Use& used = uses_[static_cast<std::size_t>(cluster)];
      report_.references[static_cast<std::size_t>(cluster)] = used.references;
      const std::uint64_t count = image_.refcount(cluster);
      if (count < used.references) {
        corrupt("cluster " + std::to_string(cluster) + " has count " + std::to_string(count) +
                " and " + std::to_string(used.references) + " references (kinds " +
                std::to_string(used.kinds) + ")");
      } else if (count > used.references) {
        ++report_.leaks;
      }
      if ((used.kinds & (used.kinds - 1)) != 0) {
        corrupt("cluster " + std::to_string(cluster) + " is used for two things (kinds " +
                std::to_string(used.kinds) + ")");
      }
    }
  }

  const ReferenceQcow2& image_;
  bool wants_sectors_;
  std::uint64_t clusters_;
  std::vector<Use> uses_;
  ReferenceReport report_;
};

ReferenceReport ReferenceQcow2::check(bool sectors) const {
  return ReferenceChecker(*this, sectors).run();
}

}  // namespace varve::model
