#include "image/layer.h"

#include <algorithm>
#include <new>

#include "base/checked.h"
#include "base/failure.h"
#include "base/meter.h"
#include "base/mutation.h"
#include "base/try.h"
#include "format/header.h"
#include "format/untrusted.h"
#include "image/metered_storage.h"
#include "image/qcow2_image.h"
#include "image/raw_image.h"
#include "meta/batch.h"
#include "meta/recount.h"
#include "meta/straight_line.h"
#include "meta/table_proof.h"

namespace varve {
namespace {

// First look at a table whose length only its content tells.
constexpr std::uint64_t kSnapshotTableGuessBytes = 64 * kKiB;

// Says when a table lies outside of the file.
Result<void> check_inside(const Storage& file, IoTag tag, HostOffset offset,
                          std::uint64_t bytes) noexcept {
  if (!range_fits(offset.value(), bytes, round_up(file.size(), kSectorBytes))) {
    return corrupt_at(Corruption::table_beyond_end_of_file, tag, offset.value(),
                      "the table ends beyond the end of the file; its end", offset.value() + bytes,
                      file.size());
  }
  return {};
}

Result<void> read_into(Storage& file, IoTag tag, HostOffset offset, Bytes target) noexcept {
  Image::Counters uncounted;
  Batch batch(uncounted);
  return target.empty() ? Result<void>() : batch.run(batch.read(file, tag, offset, target));
}

// Reads what the file holds. REQUIRES: it does.
Result<Buffer> read_table(Storage& file, IoTag tag, HostOffset offset,
                          std::uint64_t bytes) noexcept {
  Buffer buffer = VARVE_TRY(Buffer::allocate(bytes));
  VARVE_TRY(read_into(file, tag, offset, buffer.bytes()));
  return buffer;
}

// Where the entries will be: a second copy of 32 MiB would count.
Result<std::vector<std::uint64_t>> read_entries(Storage& file, IoTag tag, HostOffset offset,
                                                std::uint64_t entries, Meter* meter) noexcept {
  VARVE_TRY(check_inside(file, tag, offset, entries * 8));
  VARVE_TRY(take_memory(meter, entries * 8));
  try {
    std::vector<std::uint64_t> values(entries);
    const Bytes bytes = std::as_writable_bytes(std::span(values));
    VARVE_TRY(read_into(file, tag, offset, bytes));
    for (std::uint64_t i = 0; i < entries; ++i) {
      values[i] = load_be<std::uint64_t>(bytes, i * 8);
    }
    return values;
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot allocate a table");
  }
}

// What the entries take once they are read, beside their names and extra data.
constexpr std::uint64_t kSnapshotEntryBytes = sizeof(SnapshotEntry) + 128;

Result<void> take_for_entries(const Header& header, std::uint64_t table_bytes,
                              Meter* meter) noexcept {
  return take_memory(meter, kSnapshotEntryBytes * header.snapshot_count + table_bytes);
}

// Reads more where the entries turn out longer than guessed.
Result<SnapshotTable> read_snapshots(Storage& file, const Header& header, Meter* meter,
                                     std::uint64_t& bytes_used) noexcept {
  const std::uint64_t start = header.snapshot_table_offset.value();
  if (header.snapshot_count == 0) {
    return SnapshotTable();
  }
  if (start >= file.size()) {
    return corrupt_at(Corruption::table_beyond_end_of_file, IoTag::snapshot_table, start,
                      "the snapshot table lies beyond the end of the file", start, file.size());
  }
  std::uint64_t bytes = std::min(kSnapshotTableGuessBytes, file.size() - start);
  while (true) {
    MeteredMemory held;
    VARVE_TRY(held.take(meter, bytes));
    const Buffer buffer =
        VARVE_TRY(read_table(file, IoTag::snapshot_table, header.snapshot_table_offset, bytes));
    Result<SnapshotTable> table =
        SnapshotTable::parse(buffer.bytes(), header.snapshot_count, header.version, header.geometry,
                             header.snapshot_table_offset, header.virtual_size, &bytes_used);
    const bool is_too_short = !table && table.error().code == ErrorCode::out_of_range;
    if (!is_too_short) {
      if (table) {
        VARVE_TRY(take_for_entries(header, bytes_used, meter));
      }
      return table;
    }
    const std::uint64_t more = std::max(table.error().limit, 4 * bytes);
    const std::uint64_t available = std::min(file.size() - start, kSnapshotTableBytesMax);
    if (bytes >= available) {
      return corrupt_at(Corruption::table_beyond_end_of_file, IoTag::snapshot_table, start,
                        "the snapshot table ends beyond the end of the file; bytes needed",
                        table.error().limit, available);
    }
    bytes = std::min(more, available);
  }
}

// What is left of a table that cannot be read as it should be.
Result<void> salvage_snapshots(Storage& file, const LoadOptions& options,
                               Metadata::Loaded& loaded) noexcept {
  Meter* const meter = options.meter;
  const Header& header = loaded.header;
  const std::uint64_t start = header.snapshot_table_offset.value();
  if (header.snapshot_count == 0) {
    return {};
  }
  const std::uint64_t available = start < file.size() ? file.size() - start : 0;
  std::uint64_t bytes = std::min(available, kSnapshotTableBytesMax);
  // A table that can be read tells how long it is, which is far below what it may be.
  std::uint64_t used = 0;
  if (const Result<SnapshotTable> whole = read_snapshots(file, header, meter, used); whole) {
    bytes = used;
  } else if (whole.error().code != ErrorCode::corrupt) {
    return whole.error();
  } else {
    VARVE_TRY(take_for_entries(header, 0, meter));
  }
  MeteredMemory held;
  VARVE_TRY(held.take(meter, bytes));
  const Buffer buffer =
      VARVE_TRY(read_table(file, IoTag::snapshot_table, header.snapshot_table_offset, bytes));
  loaded.file_end = options.file_end != 0 ? options.file_end : round_up(file.size(), kSectorBytes);
  loaded.snapshots = VARVE_TRY(
      SnapshotTable::salvage(buffer.bytes(), header, loaded.file_end, loaded.snapshot_losses,
                             loaded.snapshot_table_bytes, loaded.are_losses_at_end));
  return {};
}

Result<std::unique_ptr<Storage>> open_data_file(Engine& engine, const Header& header,
                                                const std::string& directory,
                                                const OpenOptions& options) noexcept {
  if (!header.has_data_file() || !options.open_data_file) {
    return std::unique_ptr<Storage>();
  }
  const std::optional<std::string> stored = header.data_file_name();
  if (!stored) {
    return failure(ErrorCode::invalid_argument, "the header does not name the external data file");
  }
  const std::string name = VARVE_TRY(resolve_name(directory, *stored));
  FileOptions file_options = options.file;
  file_options.writable = options.writable;
  auto storage = VARVE_TRY(FileAccess{options.opener}.open(engine, name, file_options));
  if (options.lock) {
    VARVE_TRY(storage->lock(options.writable, options.force_share));
  }
  return storage;
}

// Somebody may take it for what it says it is.
Result<void> check_untrusted_raw(Storage& storage) noexcept {
  const ProbeReport report = VARVE_TRY(probe(storage));
  if (report.magic_found) {
    return failure(ErrorCode::invalid_argument,
                   "an untrusted raw image begins like an image of another format");
  }
  return {};
}

Result<void> check_untrusted(const OpenOptions& options) noexcept {
  if (options.writable || options.backing_override) {
    return failure(ErrorCode::invalid_argument,
                   "an untrusted image is only read, and opens no other file");
  }
  return {};
}

// The caches of an image on a budget are a part of it, and small.
Result<void> limit_caches(const Header& header, Meter& meter, Metadata::Config& config) noexcept {
  constexpr std::size_t kCacheBytesMax = 2 * kMiB;
  config.l2_cache_bytes = std::min(config.l2_cache_bytes, kCacheBytesMax);
  config.refcount_cache_bytes = std::min(config.refcount_cache_bytes, kCacheBytesMax);
  // Two tables are kept however small a cache is.
  const std::uint64_t least = 2 * header.geometry.cluster_bytes();
  return meter.take_memory(std::max<std::uint64_t>(config.l2_cache_bytes, least) +
                           std::max<std::uint64_t>(config.refcount_cache_bytes, least));
}

Result<Layer> open_qcow2(std::unique_ptr<Storage> storage, const std::string& directory,
                         const OpenOptions& options) {
  Meter* meter = nullptr;
  if (options.budget || options.untrusted) {
    auto metered = std::make_unique<MeteredStorage>(std::move(storage),
                                                    options.budget.value_or(Budget::standard()));
    meter = &metered->meter();
    storage = std::move(metered);
  }
  Metadata::Loaded loaded =
      VARVE_TRY(load_tables(*storage, {options.allow_corrupt, options.untrusted, meter}));
  const Header& header = loaded.header;
  Layer layer;
  layer.backing_name = header.backing_name;
  layer.backing_format = header.backing_format().value_or("");
  auto data_file = VARVE_TRY(open_data_file(storage->engine(), header, directory, options));
  Qcow2Image::Config image_config;
  Metadata::Config& config = image_config.metadata;
  config.file = storage.get();
  config.data_file = data_file.get();
  config.writable = options.writable;
  config.discard = options.discard;
  config.l2_cache_bytes = options.l2_cache_bytes;
  config.refcount_cache_bytes = options.refcount_cache_bytes;
  config.operations_max = std::max(1u, options.operations_max);
  config.meter = meter;
  if (meter != nullptr) {
    VARVE_TRY(limit_caches(header, *meter, config));
  }
  image_config.operations_max = config.operations_max;
  image_config.allow_corrupt = options.allow_corrupt;
  auto metadata = VARVE_TRY(make_metadata(config, std::move(loaded), options.allow_corrupt));
  if (options.untrusted && !options.allow_corrupt) {
    VARVE_TRY(prove_tables(*metadata));
  }
  layer.core = VARVE_TRY(Qcow2Image::make(std::move(storage), std::move(data_file),
                                          std::move(metadata), image_config));
  return layer;
}

}  // namespace

Result<Metadata::Loaded> load_tables(Storage& file, const LoadOptions& options) noexcept {
  Metadata::Loaded loaded;
  // A block device or file may be shorter than a sector-sized look; what is missing reads as zeros.
  Image::Counters uncounted;
  Batch batch(uncounted);
  Buffer start = VARVE_TRY(Buffer::allocate(4 * kKiB));
  VARVE_TRY(batch.run(batch.read(file, IoTag::header, HostOffset(0), start.bytes())));
  const std::uint64_t needed = VARVE_TRY(Header::bytes_needed(start.bytes()));
  Buffer cluster = VARVE_TRY(Buffer::allocate(std::max(needed, kSectorBytes)));
  VARVE_TRY(batch.run(batch.read(file, IoTag::header, HostOffset(0), cluster.bytes())));
  loaded.header = VARVE_TRY(Header::parse(cluster.bytes().first(needed)));
  const Header& header = loaded.header;
  if (options.untrusted) {
    VARVE_TRY(validate_untrusted(header));
  }
  loaded.header_sector = VARVE_TRY(Buffer::allocate(kSectorBytes));
  copy_bytes(loaded.header_sector.bytes(), cluster.bytes().first(kSectorBytes));
  loaded.l1 =
      VARVE_TRY(read_entries(file, IoTag::l1, header.l1_offset, header.l1_entries, options.meter));
  Result<std::vector<std::uint64_t>> counts = read_entries(
      file, IoTag::refcount_table, header.refcount_table_offset,
      header.refcount_table_clusters * header.geometry.cluster_bytes() / 8, options.meter);
  if (counts || !options.to_be_repaired || counts.error().code == ErrorCode::no_memory ||
      counts.error().code == ErrorCode::over_budget) {
    loaded.refcount_table = VARVE_TRY(std::move(counts));
  }
  if (options.to_be_repaired) {
    VARVE_TRY(salvage_snapshots(file, options, loaded));
  } else {
    loaded.snapshots =
        VARVE_TRY(read_snapshots(file, header, options.meter, loaded.snapshot_table_bytes));
  }
  return loaded;
}

Result<std::unique_ptr<Metadata>> make_metadata(const Metadata::Config& config,
                                                Metadata::Loaded loaded,
                                                bool allow_corrupt) noexcept {
  if (config.writable && loaded.header.is_corrupt() && !allow_corrupt) {
    return corrupt_at(Corruption::corrupt_bit_set, IoTag::header,
                      offsetof(RawHeader, incompatible_features),
                      "the image is marked corrupt and is not written before it is repaired");
  }
  const bool needs_settling = loaded.header.is_dirty() && config.writable && !is_broken(Rule::o10);
  auto metadata = VARVE_TRY(Metadata::make(config, std::move(loaded)));
  if (needs_settling) {
    Engine& engine = config.file->engine();
    engine.log(LogLevel::info, "the image was not closed: its counts are made anew",
               config.file->name());
    const Result<void> ready = make_ready_to_change(*metadata);
    const Result<void> settled = ready ? settle(*metadata) : ready;
    wait_until_idle(*metadata);
    // What settling cannot put right is left to repairing, which begins with what it needs.
    if (!settled && !(allow_corrupt && settled.error().code == ErrorCode::corrupt)) {
      return settled.error();
    }
  }
  return metadata;
}

Result<std::unique_ptr<Storage>> FileAccess::open(Engine& engine, const std::string& name,
                                                  const FileOptions& options) const noexcept {
  try {
    return opener != nullptr ? opener->open(engine, name, options)
                             : open_file(engine, name, options);
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot open a file");
  }
}

std::string directory_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) {
    return ".";
  }
  return slash == 0 ? "/" : path.substr(0, slash);
}

Result<std::string> resolve_name(const std::string& directory, const std::string& name) noexcept {
  try {
    VARVE_ASSERT(!name.empty());
    if (name.front() == '/') {
      return name;
    }
    if (directory.empty()) {
      return failure(ErrorCode::invalid_argument,
                     "the image names a file relative to itself, but where it stands is not known");
    }
    return directory == "." ? name : directory + "/" + name;
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot resolve a file name");
  }
}

Result<Layer> open_layer(std::unique_ptr<Storage> storage, const std::string& directory,
                         const OpenOptions& options) noexcept {
  try {
    if (options.untrusted) {
      VARVE_TRY(check_untrusted(options));
    }
    if (options.writable && options.force_share) {
      return failure(ErrorCode::invalid_argument, "an image is not shared and written at once");
    }
    if (options.writable && storage->capabilities().read_only) {
      return failure(ErrorCode::read_only, "the storage cannot be written");
    }
    if (options.lock) {
      VARVE_TRY(storage->lock(options.writable, options.force_share));
    }
    Layer layer;
    if (options.format == Format::raw) {
      if (options.untrusted) {
        VARVE_TRY(check_untrusted_raw(*storage));
      }
      layer.core = VARVE_TRY(RawImage::make(std::move(storage), options.writable, options.discard,
                                            options.operations_max));
    } else {
      layer = VARVE_TRY(open_qcow2(std::move(storage), directory, options));
    }
    layer.core->lock_mode = {options.lock, options.writable, options.force_share};
    layer.core->latency.is_on = options.measure_latency;
    return layer;
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot open the image");
  }
}

}  // namespace varve
