#include "format/snapshot_table.h"

#include <algorithm>
#include <limits>
#include <new>
#include <optional>

#include "base/checked.h"
#include "base/failure.h"
#include "base/try.h"

namespace varve {
namespace {

std::string entry_text(ConstBytes bytes) {
  std::string text(bytes.size(), '\0');
  copy_bytes(std::as_writable_bytes(std::span(text)), bytes);
  return text;
}

// One entry and where it stands.
struct EntryView {
  RawSnapshotEntry raw;
  HostOffset where;
  ConstBytes extra;
  ConstBytes id;
  ConstBytes name;
};

Error broken(Corruption reason, HostOffset where, std::size_t field_offset, const char* what,
             std::uint64_t value, std::uint64_t limit = Error::kNoOffset) noexcept {
  return corrupt_at(reason, IoTag::snapshot_table, where.value() + field_offset, what, value,
                    limit);
}

Error more_needed(HostOffset where, std::uint64_t needed) noexcept {
  Error error = failure_at(ErrorCode::out_of_range, IoTag::snapshot_table, where.value(),
                           "the snapshot table goes on beyond the bytes read");
  error.limit = needed;
  return error;
}

// Cuts the entry at `at` out of the table and moves `at` behind its padding.
Result<EntryView> cut(ConstBytes bytes, HostOffset table_offset, std::uint64_t& at) noexcept {
  EntryView entry;
  entry.where = table_offset + at;
  const auto raw = load<RawSnapshotEntry>(bytes, at);
  if (!raw) {
    return more_needed(entry.where, at + sizeof(RawSnapshotEntry));
  }
  entry.raw = *raw;
  const std::uint64_t extra_bytes = raw->extra_bytes.value();
  if (extra_bytes > kSnapshotExtraBytesMax) {
    return broken(Corruption::snapshot_extra_too_large, entry.where,
                  offsetof(RawSnapshotEntry, extra_bytes), "snapshot: size of the extra data",
                  extra_bytes, kSnapshotExtraBytesMax);
  }
  const std::uint64_t id_bytes = raw->id_bytes.value();
  const std::uint64_t name_bytes = raw->name_bytes.value();
  std::uint64_t next = at + sizeof(RawSnapshotEntry);
  const std::uint64_t end = next + extra_bytes + id_bytes + name_bytes;
  if (round_up(end, 8) > kSnapshotTableBytesMax) {
    return broken(Corruption::snapshot_table_too_large, entry.where, 0,
                  "the snapshot table is larger than 64 MiB", round_up(end, 8),
                  kSnapshotTableBytesMax);
  }
  if (end > bytes.size()) {
    return more_needed(entry.where, end);
  }
  entry.extra = bytes.subspan(next, extra_bytes);
  next += extra_bytes;
  entry.id = bytes.subspan(next, id_bytes);
  entry.name = bytes.subspan(next + id_bytes, name_bytes);
  at = round_up(end, 8);
  return entry;
}

SnapshotEntry decode(const EntryView& view, std::uint64_t active_disk_size) {
  SnapshotEntry entry;
  entry.l1_offset = HostOffset(view.raw.l1_offset.value());
  entry.l1_entries = view.raw.l1_entries.value();
  entry.id = entry_text(view.id);
  entry.name = entry_text(view.name);
  entry.date_seconds = view.raw.date_seconds.value();
  entry.date_nanoseconds = view.raw.date_nanoseconds.value();
  entry.vm_clock_nanoseconds = view.raw.vm_clock_nanoseconds.value();
  entry.vm_state_bytes = view.raw.vm_state_bytes.value();
  entry.disk_size = active_disk_size;
  entry.has_disk_size = false;
  const std::size_t extra_bytes = view.extra.size();
  if (extra_bytes >= offsetof(RawSnapshotExtra, disk_size)) {
    entry.vm_state_bytes =
        load_be<std::uint64_t>(view.extra, offsetof(RawSnapshotExtra, vm_state_bytes));
  }
  if (extra_bytes >= offsetof(RawSnapshotExtra, icount)) {
    entry.disk_size = load_be<std::uint64_t>(view.extra, offsetof(RawSnapshotExtra, disk_size));
    entry.has_disk_size = true;
  }
  // A piece of a field counts as absent: the field is written whole the next time.
  if (extra_bytes >= sizeof(RawSnapshotExtra)) {
    entry.icount = static_cast<std::int64_t>(
        load_be<std::uint64_t>(view.extra, offsetof(RawSnapshotExtra, icount)));
    const ConstBytes unknown = view.extra.subspan(sizeof(RawSnapshotExtra));
    entry.unknown_extra.assign(unknown.begin(), unknown.end());
  }
  return entry;
}

struct Check {
  Corruption reason;
  std::size_t field_offset;  // Inside the entry.
  const char* what;
  bool (*holds)(const SnapshotEntry&, const Geometry&) noexcept;
  std::uint64_t (*value)(const SnapshotEntry&) noexcept;
  std::uint64_t (*limit)(const SnapshotEntry&, const Geometry&) noexcept;
};

std::uint64_t l1_offset(const SnapshotEntry& e) noexcept {
  return e.l1_offset.value();
}
std::uint64_t l1_entries(const SnapshotEntry& e) noexcept {
  return e.l1_entries;
}
std::uint64_t cluster_bytes(const SnapshotEntry&, const Geometry& g) noexcept {
  return g.cluster_bytes();
}

constexpr Check kChecks[] = {
    {Corruption::snapshot_l1_too_large, offsetof(RawSnapshotEntry, l1_entries),
     "snapshot: the L1 table is larger than 32 MiB",
     [](const SnapshotEntry& e, const Geometry&) noexcept {
       return e.l1_entries <= kL1BytesMax / 8;
     },
     l1_entries, [](const SnapshotEntry&, const Geometry&) noexcept { return kL1BytesMax / 8; }},
    {Corruption::snapshot_l1_unaligned, offsetof(RawSnapshotEntry, l1_offset),
     "snapshot: the L1 table is not on a cluster boundary",
     [](const SnapshotEntry& e, const Geometry& g) noexcept {
       return g.in_cluster(e.l1_offset.value()) == 0;
     },
     l1_offset, cluster_bytes},
    {Corruption::snapshot_l1_out_of_range, offsetof(RawSnapshotEntry, l1_offset),
     "snapshot: the L1 table ends beyond the largest host offset",
     [](const SnapshotEntry& e, const Geometry&) noexcept {
       return range_fits(e.l1_offset.value(), std::uint64_t{e.l1_entries} * 8, kHostOffsetEnd);
     },
     l1_offset, [](const SnapshotEntry&, const Geometry&) noexcept { return kHostOffsetEnd; }},
    {Corruption::snapshot_l1_overlaps_header, offsetof(RawSnapshotEntry, l1_offset),
     "snapshot: the L1 table lies in the header cluster",
     [](const SnapshotEntry& e, const Geometry& g) noexcept {
       return e.l1_entries == 0 || e.l1_offset.value() >= g.cluster_bytes();
     },
     l1_offset, cluster_bytes},
    {Corruption::snapshot_disk_size_too_large,
     sizeof(RawSnapshotEntry) + offsetof(RawSnapshotExtra, disk_size),
     "snapshot: the disk needs an L1 table beyond 32 MiB",
     [](const SnapshotEntry& e, const Geometry& g) noexcept {
       return g.l1_entries_for(e.disk_size) <= kL1BytesMax / 8;
     },
     [](const SnapshotEntry& e) noexcept { return e.disk_size; },
     [](const SnapshotEntry&, const Geometry& g) noexcept {
       return kL1BytesMax / 8 * g.l2_coverage();
     }},
    {Corruption::snapshot_vm_state_too_large, sizeof(RawSnapshotEntry),
     "snapshot: the VM state is larger than its L1 table maps",
     [](const SnapshotEntry& e, const Geometry& g) noexcept {
       return e.vm_state_bytes <= e.l1_entries * g.l2_coverage();
     },
     [](const SnapshotEntry& e) noexcept { return e.vm_state_bytes; },
     [](const SnapshotEntry& e, const Geometry& g) noexcept {
       return e.l1_entries * g.l2_coverage();
     }},
};

Result<void> validate(const SnapshotEntry& entry, const Geometry& geometry,
                      HostOffset where) noexcept {
  for (const Check& check : kChecks) {
    if (!check.holds(entry, geometry)) {
      return broken(check.reason, where, check.field_offset, check.what, check.value(entry),
                    check.limit(entry, geometry));
    }
  }
  return {};
}

bool needs_extra(const SnapshotEntry& entry) noexcept {
  return entry.has_disk_size || entry.icount != -1 || !entry.unknown_extra.empty() ||
         entry.vm_state_bytes > std::numeric_limits<std::uint32_t>::max();
}

std::uint64_t extra_bytes_of(const SnapshotEntry& entry) noexcept {
  return needs_extra(entry) ? sizeof(RawSnapshotExtra) + entry.unknown_extra.size() : 0;
}

std::uint64_t bytes_of(const SnapshotEntry& entry) noexcept {
  return round_up(
      sizeof(RawSnapshotEntry) + extra_bytes_of(entry) + entry.id.size() + entry.name.size(), 8);
}

RawSnapshotEntry encode(const SnapshotEntry& entry) noexcept {
  RawSnapshotEntry raw{};
  raw.l1_offset.set(entry.l1_offset.value());
  raw.l1_entries.set(entry.l1_entries);
  raw.id_bytes.set(static_cast<std::uint16_t>(entry.id.size()));
  raw.name_bytes.set(static_cast<std::uint16_t>(entry.name.size()));
  raw.date_seconds.set(entry.date_seconds);
  raw.date_nanoseconds.set(entry.date_nanoseconds);
  raw.vm_clock_nanoseconds.set(entry.vm_clock_nanoseconds);
  // A reader that knows only this field must see a disk snapshot rather than a cut-off state.
  const bool fits = entry.vm_state_bytes <= std::numeric_limits<std::uint32_t>::max();
  raw.vm_state_bytes.set(fits ? static_cast<std::uint32_t>(entry.vm_state_bytes) : 0);
  raw.extra_bytes.set(static_cast<std::uint32_t>(extra_bytes_of(entry)));
  return raw;
}

void write_entry(const SnapshotEntry& entry, Bytes target) noexcept {
  zero_bytes(target);
  store(target, 0, encode(entry));
  std::uint64_t at = sizeof(RawSnapshotEntry);
  const auto append = [&](ConstBytes bytes) {
    copy_bytes(target.subspan(at, bytes.size()), bytes);
    at += bytes.size();
  };
  if (needs_extra(entry)) {
    RawSnapshotExtra extra{};
    extra.vm_state_bytes.set(entry.vm_state_bytes);
    extra.disk_size.set(entry.disk_size);
    extra.icount.set(static_cast<std::uint64_t>(entry.icount));
    append(std::as_bytes(std::span(&extra, 1)));
    append(entry.unknown_extra);
  }
  append(std::as_bytes(std::span(entry.id)));
  append(std::as_bytes(std::span(entry.name)));
}

Error limit_broken(const char* what, std::uint64_t value, std::uint64_t limit) noexcept {
  Error error = failure(ErrorCode::out_of_range, what);
  error.tag = IoTag::snapshot_table;
  error.value = value;
  error.limit = limit;
  return error;
}

// The number an id begins with, as QEMU reads it; none without a digit or beyond 64 bits.
std::optional<std::uint64_t> leading_number(const std::string& id) noexcept {
  std::optional<std::uint64_t> number;
  for (const char character : id) {
    if (character < '0' || character > '9') {
      break;
    }
    const auto tens = checked_multiply<std::uint64_t>(number.value_or(0), 10);
    number = tens ? checked_add<std::uint64_t>(*tens, static_cast<std::uint64_t>(character - '0'))
                  : std::nullopt;
    if (!number) {
      return std::nullopt;
    }
  }
  return number;
}

}  // namespace

Result<SnapshotTable> SnapshotTable::parse(ConstBytes bytes, std::uint32_t count,
                                           std::uint32_t /*version*/, const Geometry& geometry,
                                           HostOffset table_offset, std::uint64_t active_disk_size,
                                           std::uint64_t* bytes_used) noexcept {
  if (count > kSnapshotsMax) {
    return corrupt_at(Corruption::snapshot_count_too_large, IoTag::snapshot_table,
                      table_offset.value(), "number of snapshots", count, kSnapshotsMax);
  }
  try {
    SnapshotTable table;
    std::uint64_t at = 0;
    for (std::uint32_t i = 0; i < count; ++i) {
      const EntryView view = VARVE_TRY(cut(bytes, table_offset, at));
      SnapshotEntry entry = decode(view, active_disk_size);
      VARVE_TRY(validate(entry, geometry, view.where));
      table.entries.push_back(std::move(entry));
    }
    if (bytes_used != nullptr) {
      *bytes_used = at;
    }
    return table;
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot allocate the snapshot table");
  }
}

namespace {

// Makes what can be kept of an entry obey the rules; what is lost, if anything.
std::optional<Loss> salvage_entry(SnapshotEntry& entry, const Header& header, HostOffset where,
                                  std::uint64_t file_end) {
  Loss loss;
  const std::uint64_t l1_bytes = std::uint64_t{entry.l1_entries} * 8;
  if (!range_fits(entry.l1_offset.value(), l1_bytes, file_end)) {
    loss.reason = Corruption::table_beyond_end_of_file;
    return loss;
  }
  Result<void> valid = validate(entry, header.geometry, where);
  if (!valid && valid.error().corruption == Corruption::snapshot_disk_size_too_large) {
    loss.kind = Loss::Kind::disk_size;
    loss.reason = valid.error().corruption;
    entry.disk_size = header.virtual_size;
    valid = validate(entry, header.geometry, where);
  }
  if (!valid && valid.error().corruption == Corruption::snapshot_vm_state_too_large) {
    loss.kind = Loss::Kind::machine_state;
    loss.reason = valid.error().corruption;
    entry.vm_state_bytes = 0;
    valid = validate(entry, header.geometry, where);
  }
  if (!valid) {
    loss.kind = Loss::Kind::snapshot;
    loss.reason = valid.error().corruption;
  }
  return loss.reason == Corruption::none ? std::nullopt : std::optional(loss);
}

}  // namespace

Result<SnapshotTable> SnapshotTable::salvage(ConstBytes bytes, const Header& header,
                                             std::uint64_t file_end, std::vector<Loss>& losses,
                                             std::uint64_t& bytes_used,
                                             bool& is_cut_only) noexcept {
  try {
    SnapshotTable table;
    std::uint64_t at = 0;
    is_cut_only = true;
    for (std::uint32_t i = 0; i < header.snapshot_count; ++i) {
      const Result<EntryView> view = cut(bytes, header.snapshot_table_offset, at);
      if (!view) {
        Loss loss;
        loss.kind = Loss::Kind::rest_of_table;
        loss.reason = view.error().code == ErrorCode::corrupt
                          ? view.error().corruption
                          : Corruption::snapshot_table_truncated;
        loss.index = i;
        loss.count = header.snapshot_count - i;
        losses.push_back(std::move(loss));
        break;
      }
      SnapshotEntry entry = decode(*view, header.virtual_size);
      std::optional<Loss> loss = salvage_entry(entry, header, view->where, file_end);
      const bool is_kept = !loss || loss->kind != Loss::Kind::snapshot;
      // A kept entry behind a lost one, or one that was changed, needs a new table.
      is_cut_only = is_cut_only && (is_kept ? !loss && losses.empty() : true);
      if (loss) {
        loss->index = i;
        loss->id = entry.id;
        loss->name = entry.name;
        losses.push_back(std::move(*loss));
      }
      if (is_kept) {
        table.entries.push_back(std::move(entry));
      }
    }
    bytes_used = at;
    return table;
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot allocate the snapshot table");
  }
}

std::uint64_t SnapshotTable::serialised_bytes() const noexcept {
  std::uint64_t bytes = 0;
  for (const SnapshotEntry& entry : entries) {
    bytes += bytes_of(entry);
  }
  return bytes;
}

Result<void> SnapshotTable::serialise(Bytes target) const noexcept {
  if (entries.size() > kSnapshotsMax) {
    return limit_broken("too many snapshots", entries.size(), kSnapshotsMax);
  }
  for (const SnapshotEntry& entry : entries) {
    constexpr std::uint64_t kStringMax = std::numeric_limits<std::uint16_t>::max();
    if (entry.id.size() > kStringMax) {
      return limit_broken("snapshot id is too long", entry.id.size(), kStringMax);
    }
    if (entry.name.size() > kStringMax) {
      return limit_broken("snapshot name is too long", entry.name.size(), kStringMax);
    }
    if (extra_bytes_of(entry) > kSnapshotExtraBytesMax) {
      return limit_broken("snapshot has too much extra data", extra_bytes_of(entry),
                          kSnapshotExtraBytesMax);
    }
  }
  const std::uint64_t bytes = serialised_bytes();
  if (bytes > kSnapshotTableBytesMax) {
    return limit_broken("the snapshot table is too large", bytes, kSnapshotTableBytesMax);
  }
  VARVE_ASSERT(target.size() >= bytes);
  std::uint64_t at = 0;
  for (const SnapshotEntry& entry : entries) {
    write_entry(entry, target.subspan(at, bytes_of(entry)));
    at += bytes_of(entry);
  }
  zero_bytes(target.subspan(at));
  return {};
}

std::string SnapshotTable::next_id() const {
  std::vector<std::uint64_t> numbers;
  for (const SnapshotEntry& entry : entries) {
    if (const auto number = leading_number(entry.id)) {
      numbers.push_back(*number);
    }
  }
  std::sort(numbers.begin(), numbers.end());
  const std::uint64_t highest = numbers.empty() ? 0 : numbers.back();
  if (highest != std::numeric_limits<std::uint64_t>::max()) {
    return std::to_string(highest + 1);
  }
  // Nothing lies above: the lowest gap.
  std::uint64_t candidate = 1;
  for (const std::uint64_t number : numbers) {
    candidate += number == candidate ? 1 : 0;
  }
  return std::to_string(candidate);
}

}  // namespace varve
