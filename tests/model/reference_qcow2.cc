#include "model/reference_qcow2.h"

#include <algorithm>
#include <tuple>

namespace varve::model {

namespace {
constexpr std::uint64_t kOffsetBits = 0x00ff'ffff'ffff'fe00;
constexpr std::uint64_t kCompressedBit = std::uint64_t{1} << 62;
constexpr std::uint64_t kCopiedBit = std::uint64_t{1} << 63;
constexpr std::uint64_t kSizeLimit = std::uint64_t{1} << 40;  // Of any table: keeps tests sane.
}  // namespace

std::uint64_t ReferenceQcow2::be(std::uint64_t offset, unsigned bytes) const {
  if (bytes == 8 && file_.size() >= 8 && offset <= file_.size() - 8) {
    return load_be<std::uint64_t>(file_, static_cast<std::size_t>(offset));
  }
  std::uint64_t value = 0;
  for (unsigned i = 0; i < bytes; ++i) {
    const std::uint64_t at = offset + i;
    value = (value << 8) |
            (at < file_.size() ? std::to_integer<std::uint64_t>(file_[static_cast<std::size_t>(at)])
                               : 0);
  }
  return value;
}

ConstBytes ReferenceQcow2::bytes_at(std::uint64_t offset, std::uint64_t length,
                                    std::vector<std::byte>& room) const {
  const std::uint64_t from = std::min<std::uint64_t>(offset, file_.size());
  const auto inside = static_cast<std::size_t>(std::min(length, file_.size() - from));
  const ConstBytes found = file_.subspan(static_cast<std::size_t>(from), inside);
  if (inside == length) {
    return found;
  }
  room.assign(static_cast<std::size_t>(length), std::byte{0});
  copy_bytes(Bytes(room).first(inside), found);
  return room;
}

std::optional<ReferenceQcow2> ReferenceQcow2::open(ConstBytes file, std::string& why) {
  ReferenceQcow2 image(file);
  if (!image.parse_header(why) || !image.parse_extensions(why) || !image.parse_snapshots(why)) {
    return std::nullopt;
  }
  return image;
}

std::optional<ReferenceQcow2> ReferenceQcow2::open(const sim::SparseBytes& file, std::string& why) {
  std::vector<std::byte> copy = file.flat();
  auto image = open(ConstBytes(copy), why);
  if (image) {
    image->own_ = std::move(copy);  // Moved, the bytes stay where they are.
  }
  return image;
}

bool ReferenceQcow2::parse_header(std::string& why) {
  version_ = static_cast<std::uint32_t>(be(4, 4));
  cluster_bits_ = static_cast<std::uint32_t>(be(20, 4));
  if (be(0, 4) != 0x514649fb || version_ < 2 || version_ > 3 || cluster_bits_ < 9 ||
      cluster_bits_ > 21) {
    why = "not a qcow2 header";
    return false;
  }
  cluster_bytes_ = std::uint64_t{1} << cluster_bits_;
  virtual_size_ = be(24, 8);
  l1_entries_ = be(36, 4);
  l1_offset_ = be(40, 8);
  refcount_table_offset_ = be(48, 8);
  refcount_table_clusters_ = be(56, 4);
  snapshot_count_ = be(60, 4);
  snapshot_table_offset_ = be(64, 8);
  if (version_ == 3) {
    incompatible_ = be(72, 8);
    autoclear_ = be(88, 8);
    refcount_order_ = static_cast<std::uint32_t>(be(96, 4));
    header_bytes_ = be(100, 4);
    if (header_bytes_ < 104 || refcount_order_ > 6) {
      why = "header length or refcount order";
      return false;
    }
    const bool has_type = header_bytes_ > 104 && be(104, 1) != 0;
    compression_ = has_type ? Compression::zstd : Compression::zlib;
  }
  extended_ = (incompatible_ & 16) != 0;
  if ((incompatible_ & ~std::uint64_t{0x1f}) != 0) {
    why = "an incompatible feature the reference does not know";
    return false;
  }
  const std::uint64_t coverage = cluster_bytes_ * l2_entries();
  if (l1_entries_ < (virtual_size_ + coverage - 1) / coverage) {
    why = "the L1 table is too small for the disk";
    return false;
  }
  return true;
}

bool ReferenceQcow2::parse_extensions(std::string& why) {
  std::uint64_t at = header_bytes_;
  const std::uint64_t backing_name = be(8, 8);
  const std::uint64_t end = backing_name != 0 ? backing_name : cluster_bytes_;
  while (at + 8 <= end) {
    const std::uint64_t magic = be(at, 4);
    const std::uint64_t length = be(at + 4, 4);
    if (magic == 0) {
      return true;
    }
    if (length > end - at - 8) {
      why = "a header extension leaves the first cluster";
      return false;
    }
    if (magic == 0x23852875 && length == 24 && (autoclear_ & 1) != 0) {
      bitmap_count_ = be(at + 8, 4);
      bitmap_directory_bytes_ = be(at + 16, 8);
      bitmap_directory_offset_ = be(at + 24, 8);
    }
    at += 8 + (length + 7) / 8 * 8;
  }
  return true;
}

bool ReferenceQcow2::parse_snapshots(std::string& why) {
  std::uint64_t at = snapshot_table_offset_;
  for (std::uint64_t i = 0; i < snapshot_count_; ++i) {
    ReferenceSnapshot snapshot;
    snapshot.l1_offset = be(at, 8);
    snapshot.l1_entries = be(at + 8, 4);
    const std::uint64_t id_bytes = be(at + 12, 2);
    const std::uint64_t name_bytes = be(at + 14, 2);
    const std::uint64_t extra = be(at + 36, 4);
    snapshot.vm_state_size = extra >= 8 ? be(at + 40, 8) : be(at + 32, 4);
    snapshot.disk_size = extra >= 16 ? be(at + 48, 8) : virtual_size_;
    if (extra > 1024 || (version_ == 3 && extra < 16)) {
      why = "snapshot " + std::to_string(i) + ": extra data of " + std::to_string(extra);
      return false;
    }
    const auto text = [&](std::uint64_t offset, std::uint64_t length) {
      std::string result;
      std::vector<std::byte> room;
      for (const std::byte byte : bytes_at(offset, length, room)) {
        result += static_cast<char>(byte);
      }
      return result;
    };
    snapshot.id = text(at + 40 + extra, id_bytes);
    snapshot.name = text(at + 40 + extra + id_bytes, name_bytes);
    snapshots_.push_back(std::move(snapshot));
    at += (40 + extra + id_bytes + name_bytes + 7) / 8 * 8;
  }
  snapshot_table_bytes_ = at - snapshot_table_offset_;
  return true;
}

ReferenceQcow2::Entry ReferenceQcow2::entry_at(std::uint64_t table, std::uint64_t index) const {
  Entry entry;
  entry.descriptor = be(table + index * l2_entry_bytes(), 8);
  entry.bitmap = extended_ ? be(table + index * 16 + 8, 8) : 0;
  return entry;
}

std::pair<std::uint64_t, std::uint64_t> ReferenceQcow2::compressed_place(
    std::uint64_t descriptor) const noexcept {
  const unsigned offset_bits = 62 - (cluster_bits_ - 8);
  const std::uint64_t offset = descriptor & ((std::uint64_t{1} << offset_bits) - 1);
  const std::uint64_t more = (descriptor & (kCompressedBit - 1)) >> offset_bits;
  // `more` counts the 512-byte sectors after the one in which the data begins.
  return {offset, (more + 1) * 512 - offset % 512};
}

bool ReferenceQcow2::unpack(std::uint64_t descriptor, Bytes cluster, std::string& why) const {
  const auto [offset, length] = compressed_place(descriptor);
  auto codec = make_codec(compression_);
  std::vector<std::byte> room;
  if (!codec || !(*codec)->decompress(bytes_at(offset, length, room), cluster)) {
    why = "compressed data at " + std::to_string(offset) + " cannot be read";
    return false;
  }
  return true;
}

ReferenceQcow2::Source ReferenceQcow2::source_in(std::uint64_t l1_offset, std::uint64_t l1_entries,
                                                 std::uint64_t offset) const {
  const std::uint64_t cluster = offset >> cluster_bits_;
  const std::uint64_t l1_index = cluster / l2_entries();
  const std::uint64_t table =
      l1_index < l1_entries ? be(l1_offset + l1_index * 8, 8) & kOffsetBits : 0;
  Source source;
  source.kind = Source::Kind::backing;
  if (table == 0) {
    return source;
  }
  const Entry entry = entry_at(table, cluster % l2_entries());
  source.descriptor = entry.descriptor;
  if ((entry.descriptor & kCompressedBit) != 0) {
    source.kind = Source::Kind::compressed;
    std::tie(source.offset, source.length) = compressed_place(entry.descriptor);
    return source;
  }
  bool zero = version_ == 3 && (entry.descriptor & 1) != 0;
  bool data = has_cluster(entry.descriptor);
  const std::uint64_t unit = offset % cluster_bytes_ / unit_bytes();
  if (extended_) {
    zero = ((entry.bitmap >> (32 + unit)) & 1) != 0;
    data = ((entry.bitmap >> unit) & 1) != 0;
  }
  if (zero) {
    source.kind = Source::Kind::zero;
  } else if (data) {
    source.kind = has_data_file() ? Source::Kind::data_file : Source::Kind::file;
    source.offset = (entry.descriptor & kOffsetBits) + unit * unit_bytes();
  }
  return source;
}

ReferenceQcow2::Source ReferenceQcow2::source_at(std::uint64_t offset) const {
  return source_in(l1_offset_, l1_entries_, offset);
}

ReferenceQcow2::Source ReferenceQcow2::source_at(const ReferenceSnapshot& snapshot,
                                                 std::uint64_t offset) const {
  return source_in(snapshot.l1_offset, snapshot.l1_entries, offset);
}

void ReferenceQcow2::read_other(const Backing& file, std::uint64_t offset, Bytes target) {
  if (file) {
    file(offset, target);
  } else {
    zero_bytes(target);
  }
}

bool ReferenceQcow2::has_cluster(std::uint64_t descriptor) const noexcept {
  return (descriptor & kOffsetBits) != 0 || (has_data_file() && (descriptor & kCopiedBit) != 0);
}

bool ReferenceQcow2::read_disk(std::uint64_t l1_offset, std::uint64_t l1_entries,
                               std::uint64_t offset, Bytes target, std::string& why) const {
  std::vector<std::byte> room;
  while (!target.empty()) {
    const std::uint64_t in_unit = offset % unit_bytes();
    const auto length =
        static_cast<std::size_t>(std::min<std::uint64_t>(target.size(), unit_bytes() - in_unit));
    const Bytes piece = target.first(length);
    const Source source = source_in(l1_offset, l1_entries, offset);
    switch (source.kind) {
      case Source::Kind::zero:
        zero_bytes(piece);
        break;
      case Source::Kind::backing:
        read_other(backing_, offset, piece);
        break;
      case Source::Kind::data_file:
        read_other(data_file_, source.offset + in_unit, piece);
        break;
      case Source::Kind::file:
        copy_bytes(piece, bytes_at(source.offset + in_unit, length, room));
        break;
      case Source::Kind::compressed: {
        std::vector<std::byte> cluster(static_cast<std::size_t>(cluster_bytes_));
        if (!unpack(source.descriptor, cluster, why)) {
          return false;
        }
        copy_bytes(piece, ConstBytes(cluster).subspan(
                              static_cast<std::size_t>(offset % cluster_bytes_), length));
        break;
      }
    }
    target = target.subspan(length);
    offset += length;
  }
  return true;
}

bool ReferenceQcow2::read(std::uint64_t offset, Bytes target, std::string& why) const {
  return read_disk(l1_offset_, l1_entries_, offset, target, why);
}

bool ReferenceQcow2::read_snapshot(std::size_t index, std::uint64_t offset, Bytes target,
                                   std::string& why) const {
  const ReferenceSnapshot& snapshot = snapshots_[index];
  if (snapshot.l1_entries * 8 > kSizeLimit) {
    why = "snapshot L1 size";
    return false;
  }
  return read_disk(snapshot.l1_offset, snapshot.l1_entries, offset, target, why);
}

bool ReferenceQcow2::has_trusted_bitmap() const {
  std::uint64_t at = bitmap_directory_offset_;
  for (std::uint64_t i = 0; i < bitmap_count_; ++i) {
    constexpr std::uint64_t kInUse = 1;
    constexpr std::uint64_t kEnabled = 2;
    if ((be(at + 12, 4) & (kInUse | kEnabled)) == kEnabled) {
      return true;
    }
    at += (24 + be(at + 18, 2) + be(at + 20, 4) + 7) / 8 * 8;
  }
  return false;
}

std::uint64_t ReferenceQcow2::refcount(std::uint64_t cluster) const {
  const std::uint64_t per_block = (cluster_bytes_ * 8) >> refcount_order_;
  const std::uint64_t block_index = cluster / per_block;
  if (block_index >= refcount_table_clusters_ * cluster_bytes_ / 8) {
    return 0;
  }
  const std::uint64_t block = be(refcount_table_offset_ + block_index * 8, 8);
  if (block == 0) {
    return 0;
  }
  const std::uint64_t index = cluster % per_block;
  if (refcount_order_ >= 3) {
    const unsigned bytes = 1u << (refcount_order_ - 3);
    return be(block + index * bytes, bytes);
  }
  const unsigned bits = 1u << refcount_order_;
  const std::uint64_t byte = be(block + index * bits / 8, 1);
  return (byte >> (index * bits % 8)) & ((1u << bits) - 1);
}

}  // namespace varve::model
