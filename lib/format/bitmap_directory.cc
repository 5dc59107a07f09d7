#include "format/bitmap_directory.h"

#include <algorithm>
#include <new>
#include <string_view>

#include "base/checked.h"
#include "base/failure.h"
#include "base/try.h"

namespace varve {
namespace {

// One entry and where it stands.
struct EntryView {
  RawBitmapEntry raw;
  std::uint64_t at = 0;  // In the directory.
  ConstBytes name;
  ConstBytes padding;
};

struct Check {
  Corruption reason;
  std::size_t field;  // Row of kBitmapEntryFields.
  const char* what;
  bool (*holds)(const RawBitmapEntry&, const Geometry&) noexcept;
  std::uint64_t (*limit)(const Geometry&) noexcept;
};

constexpr std::uint32_t kFlagsKnown =
    BitmapEntry::kInUse | BitmapEntry::kAuto | BitmapEntry::kExtraDataCompatible;
constexpr std::uint8_t kDirtyTracking = 1;

constexpr Check kChecks[] = {
    {Corruption::bitmap_table_unaligned, 0, "bitmap: its table is not on a cluster boundary",
     [](const RawBitmapEntry& e, const Geometry& g) noexcept {
       return g.in_cluster(e.table_offset.value()) == 0;
     },
     [](const Geometry& g) noexcept { return g.cluster_bytes(); }},
    {Corruption::bitmap_table_too_large, 1, "bitmap: entries of its table",
     [](const RawBitmapEntry& e, const Geometry&) noexcept {
       return e.table_entries.value() <= kBitmapTableEntriesMax;
     },
     [](const Geometry&) noexcept -> std::uint64_t { return kBitmapTableEntriesMax; }},
    {Corruption::bitmap_table_out_of_range, 0,
     "bitmap: its table lies in the header or beyond the largest host offset",
     [](const RawBitmapEntry& e, const Geometry& g) noexcept {
       const std::uint64_t entries = e.table_entries.value();
       return range_fits(e.table_offset.value(), entries * 8, kHostOffsetEnd) &&
              (entries == 0 || e.table_offset.value() >= g.cluster_bytes());
     },
     [](const Geometry&) noexcept { return kHostOffsetEnd; }},
    {Corruption::bitmap_flags_reserved, 2, "bitmap: reserved flags are set",
     [](const RawBitmapEntry& e, const Geometry&) noexcept {
       return (e.flags.value() & ~kFlagsKnown) == 0;
     },
     [](const Geometry&) noexcept -> std::uint64_t { return kFlagsKnown; }},
    {Corruption::bitmap_type_unknown, 3, "bitmap: type is not known",
     [](const RawBitmapEntry& e, const Geometry&) noexcept {
       return std::to_integer<std::uint8_t>(e.type) == kDirtyTracking;
     },
     [](const Geometry&) noexcept -> std::uint64_t { return kDirtyTracking; }},
    {Corruption::bitmap_granularity_out_of_range, 4, "bitmap: granularity_bits",
     [](const RawBitmapEntry& e, const Geometry&) noexcept {
       return std::to_integer<std::uint32_t>(e.granularity_bits) <= kBitmapGranularityBitsMax;
     },
     [](const Geometry&) noexcept -> std::uint64_t { return kBitmapGranularityBitsMax; }},
    {Corruption::bitmap_name_empty, 5, "bitmap: its name is empty",
     [](const RawBitmapEntry& e, const Geometry&) noexcept { return e.name_bytes.value() != 0; },
     [](const Geometry&) noexcept -> std::uint64_t { return kBitmapNameBytesMax; }},
    {Corruption::bitmap_name_too_long, 5, "bitmap: length of its name",
     [](const RawBitmapEntry& e, const Geometry&) noexcept {
       return e.name_bytes.value() <= kBitmapNameBytesMax;
     },
     [](const Geometry&) noexcept -> std::uint64_t { return kBitmapNameBytesMax; }},
};

// Cuts the entry at `at` out of the directory and moves `at` behind its padding.
Result<EntryView> cut(ConstBytes directory, HostOffset where, std::uint64_t& at) noexcept {
  EntryView entry;
  entry.at = at;
  const auto raw = load<RawBitmapEntry>(directory, at);
  if (!raw) {
    return corrupt_at(Corruption::bitmap_directory_truncated, IoTag::bitmap, where.value() + at,
                      "bitmap directory ends inside an entry", at + sizeof(RawBitmapEntry),
                      directory.size());
  }
  entry.raw = *raw;
  const std::uint64_t name_at = at + sizeof(RawBitmapEntry) + raw->extra_bytes.value();
  const std::uint64_t end = name_at + raw->name_bytes.value();
  const std::uint64_t padded = round_up(end, 8);
  if (padded > directory.size()) {
    return corrupt_at(Corruption::bitmap_directory_truncated, IoTag::bitmap, where.value() + at,
                      "bitmap directory ends inside an entry", padded, directory.size());
  }
  entry.name = directory.subspan(name_at, end - name_at);
  entry.padding = directory.subspan(end, padded - end);
  at = padded;
  return entry;
}

Result<void> validate(const EntryView& entry, ConstBytes directory, const Geometry& geometry,
                      HostOffset where) noexcept {
  for (const Check& check : kChecks) {
    if (!check.holds(entry.raw, geometry)) {
      const Field& field = kBitmapEntryFields[check.field];
      return corrupt_at(check.reason, IoTag::bitmap, where.value() + entry.at + field.offset,
                        check.what, load_field(directory.subspan(entry.at), field),
                        check.limit(geometry));
    }
  }
  if (!is_all_zero(entry.padding)) {
    return corrupt_at(Corruption::bitmap_padding_not_zero, IoTag::bitmap, where.value() + entry.at,
                      "bitmap: padding is not zero");
  }
  return {};
}

BitmapEntry decode(const EntryView& view) {
  BitmapEntry entry;
  entry.table_offset = HostOffset(view.raw.table_offset.value());
  entry.table_entries = view.raw.table_entries.value();
  entry.flags = view.raw.flags.value();
  entry.type = std::to_integer<std::uint8_t>(view.raw.type);
  entry.granularity_bits = std::to_integer<std::uint8_t>(view.raw.granularity_bits);
  entry.name.resize(view.name.size());
  copy_bytes(std::as_writable_bytes(std::span(entry.name)), view.name);
  entry.flags_offset = view.at + offsetof(RawBitmapEntry, flags);
  entry.extra_bytes = view.raw.extra_bytes.value();
  return entry;
}

Result<void> refuse_duplicates(const std::vector<BitmapEntry>& entries, HostOffset where) {
  std::vector<std::string_view> names;
  names.reserve(entries.size());
  for (const BitmapEntry& entry : entries) {
    names.emplace_back(entry.name);
  }
  std::sort(names.begin(), names.end());
  if (std::adjacent_find(names.begin(), names.end()) != names.end()) {
    return corrupt_at(Corruption::bitmap_name_duplicate, IoTag::bitmap, where.value(),
                      "two bitmaps have the same name");
  }
  return {};
}

}  // namespace

Result<std::vector<BitmapEntry>> parse_bitmap_directory(ConstBytes directory,
                                                        const BitmapsExtension& extension,
                                                        const Geometry& geometry) noexcept {
  const HostOffset where = extension.directory_offset;
  if (directory.size() < extension.directory_bytes) {
    return corrupt_at(Corruption::bitmap_directory_truncated, IoTag::bitmap, where.value(),
                      "bitmap directory is shorter than the header says", directory.size(),
                      extension.directory_bytes);
  }
  directory = directory.first(extension.directory_bytes);
  try {
    std::vector<BitmapEntry> entries;
    std::uint64_t at = 0;
    for (std::uint32_t i = 0; i < extension.count; ++i) {
      const EntryView view = VARVE_TRY(cut(directory, where, at));
      VARVE_TRY(validate(view, directory, geometry, where));
      entries.push_back(decode(view));
    }
    if (at != directory.size()) {
      return corrupt_at(Corruption::bitmap_directory_trailing_bytes, IoTag::bitmap,
                        where.value() + at, "bitmap directory goes on behind its last entry",
                        directory.size(), at);
    }
    VARVE_TRY(refuse_duplicates(entries, where));
    return entries;
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot allocate the bitmap directory");
  }
}

}  // namespace varve
