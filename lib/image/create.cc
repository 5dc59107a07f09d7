#include <algorithm>
#include <cstddef>
#include <new>

#include <varve/create.h>
#include <varve/uuid.h>

#include "base/buffer.h"
#include "base/failure.h"
#include "base/try.h"
#include "format/header.h"
#include "format/refcount.h"
#include "image/layer.h"
#include "image/preallocate.h"
#include "io/directory.h"
#include "meta/batch.h"

namespace varve {
namespace {

Error refused(ErrorCode code, const char* what, std::uint64_t value = Error::kNoOffset,
              std::uint64_t limit = Error::kNoOffset) {
  Error error = failure(code, what);
  error.value = value;
  error.limit = limit;
  return error;
}

Geometry geometry_of(const CreateOptions& options) {
  Geometry geometry;
  geometry.cluster_bits = static_cast<std::uint32_t>(__builtin_ctz(options.cluster_bytes));
  geometry.refcount_order = static_cast<std::uint32_t>(__builtin_ctz(options.refcount_bits));
  geometry.extended_l2 = options.extended_l2;
  return geometry;
}

// What version 2 has no field for.
Result<void> validate_version(const CreateOptions& options) noexcept {
  if (options.version != 2 && options.version != 3) {
    return refused(ErrorCode::invalid_argument, "version is neither 2 nor 3", options.version);
  }
  if (options.version == 3) {
    return {};
  }
  if (options.refcount_bits != 16) {
    return refused(ErrorCode::unsupported,
                   "refcount_bits other than 16 need version 3 (compat=1.1)",
                   options.refcount_bits);
  }
  if (options.lazy_refcounts) {
    return refused(ErrorCode::unsupported, "lazy_refcounts need version 3 (compat=1.1)");
  }
  if (options.extended_l2) {
    return refused(ErrorCode::unsupported, "extended_l2 needs version 3 (compat=1.1)");
  }
  if (!options.data_file_name.empty()) {
    return refused(ErrorCode::unsupported, "data_file needs version 3 (compat=1.1)");
  }
  if (options.compression != Compression::zlib) {
    return refused(ErrorCode::unsupported, "compression_type=zstd needs version 3 (compat=1.1)");
  }
  return {};
}

Result<void> validate_names(const CreateOptions& options) noexcept {
  if (options.backing_name.size() > kBackingNameBytesMax) {
    return refused(ErrorCode::out_of_range, "backing_file is too long", options.backing_name.size(),
                   kBackingNameBytesMax);
  }
  if (!options.backing_name.empty() && options.backing_format.empty()) {
    return refused(ErrorCode::invalid_argument,
                   "backing_fmt is missing: a format is never guessed");
  }
  if (!options.backing_name.empty() && options.preallocation != Preallocation::off) {
    return refused(ErrorCode::unsupported, "preallocation excludes backing_file: it would hide it");
  }
  if (options.data_file_raw && options.data_file_name.empty()) {
    return refused(ErrorCode::invalid_argument, "data_file_raw needs data_file");
  }
  if (options.data_file_raw && !options.backing_name.empty()) {
    return refused(ErrorCode::invalid_argument, "data_file_raw excludes backing_file");
  }
  return {};
}

Result<void> validate_geometry(const CreateOptions& options) noexcept {
  if (!is_power_of_two(options.cluster_bytes) || options.cluster_bytes < (1u << kClusterBitsMin) ||
      options.cluster_bytes > (1u << kClusterBitsMax)) {
    return refused(ErrorCode::invalid_argument,
                   "cluster_size is not a power of two from 512 to 2097152", options.cluster_bytes);
  }
  if (!is_power_of_two(options.refcount_bits) || options.refcount_bits > 64) {
    return refused(ErrorCode::invalid_argument, "refcount_bits is not a power of two from 1 to 64",
                   options.refcount_bits);
  }
  if (options.extended_l2 && options.cluster_bytes < (1u << kExtendedL2ClusterBitsMin)) {
    return refused(ErrorCode::unsupported, "extended_l2 needs cluster_size of at least",
                   options.cluster_bytes, 1u << kExtendedL2ClusterBitsMin);
  }
  const Geometry geometry = geometry_of(options);
  const std::uint64_t size_max = (kL1BytesMax / 8) * geometry.l2_coverage();
  if (options.size_bytes > size_max) {
    return refused(ErrorCode::out_of_range, "size is too large for this cluster_size",
                   options.size_bytes, size_max);
  }
  return {};
}

// Where the tables of a new image stand, by cluster: header, refcount table, refcount blocks, L1.
struct Layout {
  Geometry geometry;
  std::uint64_t table_clusters = 1;
  std::uint64_t blocks = 1;
  std::uint64_t l1_entries = 0;
  std::uint64_t l1_clusters = 0;

  [[nodiscard]] std::uint64_t clusters() const { return 1 + table_clusters + blocks + l1_clusters; }
  [[nodiscard]] HostOffset table() const { return geometry.offset_of(HostCluster(1)); }
  [[nodiscard]] HostOffset block(std::uint64_t index) const {
    return geometry.offset_of(HostCluster(1 + table_clusters + index));
  }
  [[nodiscard]] HostOffset l1() const { return block(blocks); }
};

Layout make_layout(const CreateOptions& options, std::uint64_t size) {
  Layout layout;
  layout.geometry = geometry_of(options);
  // An empty disk has one slot too, so that every image has an L1 table.
  layout.l1_entries = std::max<std::uint64_t>(1, layout.geometry.l1_entries_for(size));
  layout.l1_clusters = layout.geometry.clusters_for(layout.l1_entries * 8);
  while (true) {
    const std::uint64_t blocks =
        divide_up(layout.clusters(), layout.geometry.refcounts_per_block());
    if (blocks <= layout.blocks) {
      return layout;
    }
    layout.blocks = blocks;
    layout.table_clusters = layout.geometry.clusters_for(blocks * 8);
  }
}

HeaderExtension text_extension(std::uint32_t type, const std::string& text) {
  HeaderExtension extension;
  extension.type = type;
  const auto bytes = std::as_bytes(std::span(text));
  extension.data.assign(bytes.begin(), bytes.end());
  return extension;
}

Header make_header(const CreateOptions& options, const Layout& layout, std::uint64_t size) {
  Header header;
  header.version = options.version;
  header.geometry = layout.geometry;
  header.virtual_size = size;
  header.l1_entries = static_cast<std::uint32_t>(layout.l1_entries);
  header.l1_offset = layout.l1();
  header.refcount_table_offset = layout.table();
  header.refcount_table_clusters = static_cast<std::uint32_t>(layout.table_clusters);
  header.compression = options.compression;
  header.backing_name = options.backing_name;
  if (options.version == 2) {
    header.header_bytes = kHeaderBytesV2;
  }
  header.compatible = options.lazy_refcounts ? kCompatibleLazyRefcounts : 0;
  header.incompatible = (options.extended_l2 ? kIncompatibleExtendedL2 : 0) |
                        (options.compression == Compression::zlib ? 0 : kIncompatibleCompression);
  if (!options.backing_name.empty()) {
    header.extensions.push_back(text_extension(kExtensionBackingFormat, options.backing_format));
  }
  if (!options.data_file_name.empty()) {
    header.incompatible |= kIncompatibleDataFile;
    header.autoclear = options.data_file_raw ? kAutoclearDataFileRaw : 0;
    header.extensions.push_back(text_extension(kExtensionDataFile, options.data_file_name));
  }
  if (options.version >= 3) {
    header.extensions.push_back(Header::known_feature_names());
  }
  header.extensions.push_back(Header::image_uuid_extension(Uuid::make_random()));
  return header;
}

// Small clusters may have no room for all of it. What an image can do without goes first: its UUID,
// which its snapshots tell as well, then the feature names, which only help readers that lack one.
Result<void> serialise_what_fits(Header header, Bytes cluster0) {
  for (const std::uint32_t spare : {kExtensionImageUuid, kExtensionFeatureNames}) {
    if (header.serialise(cluster0)) {
      return {};
    }
    std::erase_if(header.extensions,
                  [spare](const HeaderExtension& extension) { return extension.type == spare; });
  }
  return header.serialise(cluster0);
}

// Whether the header has room for the names.
Result<void> validate_room(const CreateOptions& options) noexcept {
  try {
    Buffer cluster = VARVE_TRY(Buffer::allocate_zeroed(options.cluster_bytes));
    return serialise_what_fits(make_header(options, make_layout(options, options.size_bytes), 0),
                               cluster.bytes());
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot allocate a header");
  }
}

// Tables first, then, behind a barrier, the header: a crash leaves no image or a whole one.
// REQUIRES: the options are valid.
Result<void> write_qcow2(Storage& storage, const CreateOptions& options, std::uint64_t size) {
  const Layout layout = make_layout(options, size);
  const Geometry& geometry = layout.geometry;
  const std::uint64_t cluster_bytes = geometry.cluster_bytes();
  const std::uint64_t end = layout.clusters() * cluster_bytes;
  Image::Counters uncounted;
  Batch batch(uncounted);
  if (!storage.capabilities().fixed_size) {
    VARVE_TRY(batch.run(batch.resize(storage, 0)));
    VARVE_TRY(batch.run(batch.resize(storage, end)));
  } else if (storage.size() < end) {
    return refused(ErrorCode::no_space, "the device is too small for the image's tables", end,
                   storage.size());
  } else {
    VARVE_TRY(batch.run(batch.write_zeroes(storage, IoTag::header, HostOffset(0), end)));
  }
  Buffer tables =
      VARVE_TRY(Buffer::allocate_zeroed((layout.table_clusters + layout.blocks) * cluster_bytes));
  for (std::uint64_t i = 0; i < layout.blocks; ++i) {
    store_be(tables.bytes(), i * 8, layout.block(i).value());
  }
  const Bytes blocks = tables.bytes().subspan(layout.table_clusters * cluster_bytes);
  for (std::uint64_t cluster = 0; cluster < layout.clusters(); ++cluster) {
    const std::uint64_t block = cluster / geometry.refcounts_per_block();
    store_refcount(geometry, blocks.subspan(block * cluster_bytes, cluster_bytes),
                   cluster % geometry.refcounts_per_block(), 1);
  }
  VARVE_TRY(batch.run(batch.write(storage, IoTag::refcount_table, layout.table(), tables.bytes())));
  VARVE_TRY(batch.run(batch.flush(storage)));
  Buffer header = VARVE_TRY(Buffer::allocate_zeroed(cluster_bytes));
  const Result<void> fits = serialise_what_fits(make_header(options, layout, size), header.bytes());
  VARVE_ASSERT(fits.has_value());
  VARVE_TRY(batch.run(batch.write(storage, IoTag::header, HostOffset(0), header.bytes())));
  return batch.run(batch.flush(storage));
}

Result<void> write_raw(Storage& storage, const CreateOptions& options, std::uint64_t size) {
  Image::Counters uncounted;
  Batch batch(uncounted);
  if (storage.capabilities().fixed_size) {
    if (size > storage.size()) {
      return refused(ErrorCode::no_space, "the device is smaller than the disk", size,
                     storage.size());
    }
    return {};
  }
  VARVE_TRY(batch.run(batch.resize(storage, 0)));
  VARVE_TRY(batch.run(batch.resize(storage, size)));
  if (options.preallocation == Preallocation::falloc && size != 0) {
    VARVE_TRY(batch.run(batch.allocate(storage, HostOffset(0), size)));
  } else if (options.preallocation == Preallocation::full) {
    VARVE_TRY(write_zero_data(storage, uncounted, HostOffset(0), size));
  }
  return batch.run(batch.flush(storage));
}

Result<std::unique_ptr<Storage>> open_new(Engine& engine, const std::string& path,
                                          const CreateOptions& options) {
  FileOptions file;
  file.writable = true;
  file.direct = options.direct;
  Result<std::unique_ptr<Storage>> existing = open_file(engine, path, file);
  if (existing || existing.error().code != ErrorCode::not_found) {
    return existing;
  }
  file.create = true;
  return open_file(engine, path, file);
}

Result<void> create_in_path(Engine& engine, const std::string& path, const CreateOptions& options) {
  VARVE_TRY(validate(options));
  auto storage = VARVE_TRY(open_new(engine, path, options));
  VARVE_TRY(storage->lock(true, false));
  std::unique_ptr<Storage> data;
  if (!options.data_file_name.empty()) {
    const std::string name = VARVE_TRY(resolve_name(directory_of(path), options.data_file_name));
    data = VARVE_TRY(open_new(engine, name, options));
    VARVE_TRY(data->lock(true, false));
  }
  VARVE_TRY(create_image_in(*storage, data.get(), options));
  storage->unlock();
  if (data != nullptr) {
    data->unlock();
  }
  return sync_directory_of(path);
}

}  // namespace

Result<void> validate(const CreateOptions& options) noexcept {
  if (options.size_bytes > kHostOffsetEnd) {
    return refused(ErrorCode::out_of_range, "size is beyond the largest offset", options.size_bytes,
                   kHostOffsetEnd);
  }
  if (options.format == Format::raw) {
    if (!options.backing_name.empty()) {
      return refused(ErrorCode::unsupported, "raw images have no backing_file");
    }
    if (options.preallocation == Preallocation::metadata) {
      return refused(ErrorCode::unsupported, "raw images have no metadata to preallocate");
    }
    return {};
  }
  VARVE_TRY(validate_geometry(options));
  VARVE_TRY(validate_version(options));
  VARVE_TRY(validate_names(options));
  return validate_room(options);
}

Result<void> create_image_in(Storage& storage, Storage* data_storage,
                             const CreateOptions& options) noexcept {
  try {
    VARVE_TRY(validate(options));
    const std::uint64_t size = round_up(options.size_bytes, kSectorBytes);
    if (options.format == Format::raw) {
      return write_raw(storage, options, size);
    }
    if (!options.data_file_name.empty()) {
      if (data_storage == nullptr) {
        return refused(ErrorCode::invalid_argument, "data_file needs a storage for the data");
      }
      CreateOptions data_options = options;
      data_options.preallocation = Preallocation::off;
      VARVE_TRY(write_raw(*data_storage, data_options, size));
    }
    VARVE_TRY(write_qcow2(storage, options, size));
    if (options.preallocation == Preallocation::off || size == 0) {
      return {};
    }
    return preallocate_new(storage, data_storage, options.preallocation);
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot allocate a new image's tables");
  }
}

Result<void> create_image(Engine& engine, const std::string& path,
                          const CreateOptions& options) noexcept {
  try {
    return create_in_path(engine, path, options);
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot create the image");
  }
}

}  // namespace varve
