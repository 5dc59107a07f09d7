#include <algorithm>
#include <bit>
#include <cstddef>
#include <new>
#include <string_view>
#include <utility>

#include <varve/rescue.h>

#include "base/buffer.h"
#include "base/checked.h"
#include "base/endian.h"
#include "base/failure.h"
#include "base/try.h"
#include "codec/codec.h"
#include "format/header.h"
#include "format/l1_entry.h"
#include "format/l2_entry.h"
#include "meta/batch.h"

namespace varve {
namespace {

// Read and written in one go.
constexpr std::uint64_t kPieceBytes = kMiB;
constexpr std::uint64_t kL1EntriesMax = kL1BytesMax / 8;

Error needs(const char* what) noexcept {
  Error error = failure(ErrorCode::invalid_argument, what);
  error.tag = IoTag::header;
  return error;
}

}  // namespace

class Rescue::Impl {
 public:
  Impl(std::unique_ptr<Storage> file, const RescueOptions& wanted)
      : file_(std::move(file)), options_(wanted) {}

  Result<void> read_header();
  Result<RescueReport> copy_to(Image& target);

  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  [[nodiscard]] const Geometry& geometry() const noexcept { return geometry_; }
  [[nodiscard]] const std::string& backing_name() const noexcept { return backing_name_; }
  [[nodiscard]] const std::vector<std::string>& notes() const noexcept { return notes_; }

 private:
  // Data that is contiguous on the disk and in the file, not copied yet.
  struct Run {
    std::uint64_t guest = 0;
    std::uint64_t host = 0;
    std::uint64_t length = 0;
  };
  using Unreadable = std::vector<std::uint64_t>;  // Sectors, as offsets in what was read.

  Result<void> take_geometry(const RawHeader& raw, std::uint64_t incompatible);
  Result<void> take_l1(const RawHeader& raw);
  void take_size(const RawHeader& raw);
  Result<void> take_backing_name(const RawHeader& raw);
  Result<bool> read(IoTag tag, std::uint64_t offset, Bytes target);
  Result<Unreadable> read_sectors(IoTag tag, std::uint64_t offset, Bytes target);
  Result<void> copy_slot(std::uint64_t index, bool is_unreadable, L1Entry entry);
  Result<void> copy_table(std::uint64_t table, std::uint64_t guest, std::uint64_t end);
  Result<void> copy_cluster(L2Entry entry, std::uint64_t where, std::uint64_t guest,
                            std::uint64_t length);
  Result<void> copy_compressed(L2Entry entry, std::uint64_t where, std::uint64_t guest,
                               std::uint64_t length);
  Result<void> add_data(std::uint64_t guest, std::uint64_t host, std::uint64_t length);
  Result<void> flush_run();
  Result<void> write(std::uint64_t guest, ConstBytes bytes);
  void lose(std::uint64_t guest, std::uint64_t length, Corruption reason, std::uint64_t source);
  Result<void> go_on(std::uint64_t done) const;

  std::unique_ptr<Storage> file_;
  RescueOptions options_;
  Image::Counters counters_;
  Geometry geometry_;
  std::uint64_t size_ = 0;
  std::uint64_t l1_offset_ = 0;
  std::uint64_t l1_entries_ = 0;
  Compression compression_ = Compression::zlib;
  std::string backing_name_;
  std::vector<std::string> notes_;

  std::unique_ptr<Codec> codec_;
  Image* target_ = nullptr;
  RescueReport report_;
  Run run_;
  Buffer piece_;
  Buffer table_;
  Buffer packed_;
};

// --- What the header says, as far as it can be believed ---

Result<void> Rescue::Impl::read_header() {
  Buffer bytes = VARVE_TRY(Buffer::allocate_zeroed(4 * kKiB));
  const Unreadable unreadable = VARVE_TRY(read_sectors(IoTag::header, 0, bytes.bytes()));
  if (!unreadable.empty() && unreadable.front() == 0) {
    notes_.emplace_back("the header's sector cannot be read");
  }
  const RawHeader raw = load<RawHeader>(bytes.bytes(), 0).value_or(RawHeader());
  if (raw.magic.value() != kMagic) {
    notes_.emplace_back("the file does not begin with qcow2's magic number");
  }
  if (raw.version.value() != 2 && raw.version.value() != 3) {
    notes_.emplace_back("the version is neither 2 nor 3: taken for 3");
  }
  const std::uint64_t incompatible =
      raw.version.value() == 2 ? 0 : raw.incompatible_features.value();
  if (raw.magic.value() == kMagic && raw.encryption_method.value() != 0) {
    return failure(ErrorCode::unsupported, "the image is encrypted");
  }
  if (raw.magic.value() == kMagic && (incompatible & kIncompatibleDataFile) != 0) {
    return failure(ErrorCode::unsupported,
                   "the disk's data stands in an external file, which can be copied by itself");
  }
  VARVE_TRY(take_geometry(raw, incompatible));
  VARVE_TRY(take_l1(raw));
  take_size(raw);
  return take_backing_name(raw);
}

Result<void> Rescue::Impl::take_geometry(const RawHeader& raw, std::uint64_t incompatible) {
  if (options_.cluster_bytes) {
    if (!std::has_single_bit(*options_.cluster_bytes)) {
      return needs("the cluster size is not a power of two");
    }
    geometry_.cluster_bits = static_cast<std::uint32_t>(std::countr_zero(*options_.cluster_bytes));
  } else {
    geometry_.cluster_bits = raw.cluster_bits.value();
  }
  if (geometry_.cluster_bits < kClusterBitsMin || geometry_.cluster_bits > kClusterBitsMax) {
    return needs("the cluster size is out of range: give the right one (--cluster-size)");
  }
  geometry_.extended_l2 =
      options_.extended_l2.value_or((incompatible & kIncompatibleExtendedL2) != 0);
  if (geometry_.extended_l2 && geometry_.cluster_bits < kExtendedL2ClusterBitsMin) {
    geometry_.extended_l2 = false;
    notes_.emplace_back("clusters are too small for extended L2 entries: taken for plain ones");
  }
  const auto type = std::to_integer<unsigned>(raw.compression_type);
  if (options_.compression) {
    compression_ = *options_.compression;
  } else if ((incompatible & kIncompatibleCompression) != 0 && type == 1) {
    compression_ = Compression::zstd;
  } else if ((incompatible & kIncompatibleCompression) != 0 && type > 1) {
    notes_.emplace_back("the compression is not known: taken for zlib");
  }
  return {};
}

Result<void> Rescue::Impl::take_l1(const RawHeader& raw) {
  l1_offset_ = options_.l1_offset.value_or(raw.l1_offset.value());
  if (l1_offset_ == 0 || !is_aligned(l1_offset_, kSectorBytes) || l1_offset_ >= file_->size()) {
    return needs("the L1 table is not inside the file: give its place (--l1-offset)");
  }
  const std::uint64_t wanted = options_.l1_entries.value_or(raw.l1_entries.value());
  const std::uint64_t there = divide_up(file_->size() - l1_offset_, 8);
  l1_entries_ = std::min({wanted, kL1EntriesMax, there});
  if (l1_entries_ != wanted) {
    notes_.emplace_back("the L1 table is longer than the file or the format allows");
  }
  return {};
}

// A size that no L1 table maps is not believed where the table's own is there.
void Rescue::Impl::take_size(const RawHeader& raw) {
  const std::uint64_t mapped = l1_entries_ * geometry_.l2_coverage();
  size_ = options_.size_bytes.value_or(raw.virtual_size.value());
  const bool is_likely = size_ != 0 && geometry_.l1_entries_for(size_) <= kL1EntriesMax;
  if (!options_.size_bytes && (!is_likely || (raw.magic.value() != kMagic && size_ > mapped))) {
    size_ = mapped;
    notes_.emplace_back("the disk's size cannot be right: taken for all that the L1 table maps");
  }
  size_ = round_up(std::min(size_, kL1EntriesMax * geometry_.l2_coverage()), kSectorBytes);
}

Result<void> Rescue::Impl::take_backing_name(const RawHeader& raw) {
  const std::uint64_t bytes = raw.backing_name_bytes.value();
  if (raw.magic.value() != kMagic || raw.backing_name_offset.value() == 0 || bytes == 0) {
    return {};
  }
  if (bytes > kBackingNameBytesMax ||
      !range_fits(raw.backing_name_offset.value(), bytes, geometry_.cluster_bytes())) {
    notes_.emplace_back("the backing file's name is not inside the header's cluster");
    return {};
  }
  Buffer name = VARVE_TRY(Buffer::allocate_zeroed(bytes));
  if (VARVE_TRY(read(IoTag::header, raw.backing_name_offset.value(), name.bytes()))) {
    backing_name_.resize(bytes);
    copy_bytes(std::as_writable_bytes(std::span(backing_name_)), name.bytes());
  }
  return {};
}

// --- Reading what may not be readable ---

// False: it cannot be read. Errors: no_memory.
Result<bool> Rescue::Impl::read(IoTag tag, std::uint64_t offset, Bytes target) {
  Batch batch(counters_);
  VARVE_TRY(batch.read(*file_, tag, HostOffset(offset), target));
  const Result<void> done = batch.run();
  if (!done && done.error().code == ErrorCode::no_memory) {
    return done.error();
  }
  return done.has_value();
}

// Sector by sector where something fails; what cannot be read is zeros.
Result<Rescue::Impl::Unreadable> Rescue::Impl::read_sectors(IoTag tag, std::uint64_t offset,
                                                            Bytes target) {
  Unreadable unreadable;
  if (VARVE_TRY(read(tag, offset, target))) {
    return unreadable;
  }
  for (std::uint64_t at = 0; at < target.size(); at += kSectorBytes) {
    const Bytes sector = target.subspan(at, std::min(kSectorBytes, target.size() - at));
    if (!VARVE_TRY(read(tag, offset + at, sector))) {
      zero_bytes(sector);
      unreadable.push_back(at);
    }
  }
  return unreadable;
}

// --- The copy ---

Result<void> Rescue::Impl::go_on(std::uint64_t done) const {
  if (options_.progress) {
    options_.progress(done, size_);
  }
  if (options_.cancel != nullptr && options_.cancel->load(std::memory_order_relaxed)) {
    return failure(ErrorCode::cancelled, "the rescue was cancelled");
  }
  return {};
}

void Rescue::Impl::lose(std::uint64_t guest, std::uint64_t length, Corruption reason,
                        std::uint64_t source) {
  report_.lost_bytes += length;
  if (!report_.lost.empty()) {
    LostRange& last = report_.lost.back();
    if (last.offset + last.length == guest && last.reason == reason) {
      last.length += length;
      return;
    }
  }
  ++report_.lost_ranges;
  if (report_.lost.size() < options_.ranges_max) {
    report_.lost.push_back({guest, length, reason, source});
  }
}

Result<RescueReport> Rescue::Impl::copy_to(Image& target) {
  if (target.size() < size_) {
    return failure(ErrorCode::invalid_argument, "the target is smaller than the disk");
  }
  target_ = &target;
  report_ = RescueReport();
  run_ = Run();
  codec_ = VARVE_TRY(make_codec(compression_));
  piece_ = VARVE_TRY(Buffer::allocate(std::max(kPieceBytes, geometry_.cluster_bytes())));
  table_ = VARVE_TRY(Buffer::allocate(geometry_.cluster_bytes()));
  packed_ = VARVE_TRY(Buffer::allocate(2 * geometry_.cluster_bytes() + kSectorBytes));
  Buffer l1 = VARVE_TRY(Buffer::allocate_zeroed(std::max<std::uint64_t>(l1_entries_ * 8, 8)));
  const Unreadable unreadable =
      VARVE_TRY(read_sectors(IoTag::l1, l1_offset_, l1.bytes().first(l1_entries_ * 8)));
  const std::uint64_t slots = geometry_.l1_entries_for(size_);
  for (std::uint64_t i = 0; i < std::min(slots, l1_entries_); ++i) {
    const bool is_unreadable =
        std::binary_search(unreadable.begin(), unreadable.end(), round_down(i * 8, kSectorBytes));
    VARVE_TRY(copy_slot(i, is_unreadable, L1Entry(load_be<std::uint64_t>(l1.bytes(), i * 8))));
    VARVE_TRY(go_on(std::min(size_, (i + 1) * geometry_.l2_coverage())));
  }
  VARVE_TRY(flush_run());
  if (slots > l1_entries_) {
    const std::uint64_t end = l1_entries_ * geometry_.l2_coverage();
    lose(end, size_ - end, Corruption::l1_table_too_small, l1_offset_ + l1_entries_ * 8);
  }
  return std::move(report_);
}

Result<void> Rescue::Impl::copy_slot(std::uint64_t index, bool is_unreadable, L1Entry entry) {
  const std::uint64_t guest = index * geometry_.l2_coverage();
  const std::uint64_t end = std::min(size_, guest + geometry_.l2_coverage());
  const std::uint64_t where = l1_offset_ + index * 8;
  const std::uint64_t table = entry.offset().value();
  Corruption reason = Corruption::none;
  if (is_unreadable) {
    reason = Corruption::l1_table_unreadable;
  } else if (!entry.is_allocated()) {
    report_.unallocated_bytes += end - guest;
    return {};
  } else if (geometry_.in_cluster(table) != 0) {
    reason = Corruption::l2_table_unaligned;
  } else if (table >= file_->size()) {
    reason = Corruption::table_beyond_end_of_file;
  }
  if (reason != Corruption::none) {
    VARVE_TRY(flush_run());
    lose(guest, end - guest, reason, where);
    return {};
  }
  return copy_table(table, guest, end);
}

Result<void> Rescue::Impl::copy_table(std::uint64_t table, std::uint64_t guest, std::uint64_t end) {
  const Unreadable unreadable = VARVE_TRY(read_sectors(IoTag::l2, table, table_.bytes()));
  for (std::uint64_t i = 0; i < geometry_.l2_entries() && guest < end; ++i) {
    const std::uint64_t length = std::min(geometry_.cluster_bytes(), end - guest);
    const std::uint64_t at = i << geometry_.l2_entry_bits();
    if (std::binary_search(unreadable.begin(), unreadable.end(), round_down(at, kSectorBytes))) {
      VARVE_TRY(flush_run());
      lose(guest, length, Corruption::l2_table_unreadable, table + at);
    } else {
      const L2Entry entry = L2Entry::load(geometry_, table_.bytes(), i);
      VARVE_TRY(entry.is_compressed() ? copy_compressed(entry, table + at, guest, length)
                                      : copy_cluster(entry, table + at, guest, length));
    }
    guest += length;
  }
  return {};
}

// Subcluster by subcluster; one that is said to be both data and zero reads as zeros, as elsewhere.
Result<void> Rescue::Impl::copy_cluster(L2Entry entry, std::uint64_t where, std::uint64_t guest,
                                        std::uint64_t length) {
  const std::uint64_t host = entry.host().value();
  Corruption reason = Corruption::none;
  if (geometry_.in_cluster(host) != 0) {
    reason = Corruption::cluster_offset_unaligned;
  } else if (host >= file_->size()) {
    reason = Corruption::cluster_beyond_end_of_file;
  }
  const std::uint64_t step = geometry_.subcluster_bytes();
  for (std::uint32_t i = 0; i < geometry_.subclusters() && i * step < length; ++i) {
    const std::uint64_t bytes = std::min(step, length - i * step);
    const SubclusterKind kind = entry.subcluster(geometry_, i);
    if (kind == SubclusterKind::unallocated) {
      report_.unallocated_bytes += bytes;
    } else if (kind == SubclusterKind::data && reason != Corruption::none) {
      VARVE_TRY(flush_run());
      lose(guest + i * step, bytes, reason, where);
    } else if (kind == SubclusterKind::data) {
      VARVE_TRY(add_data(guest + i * step, host + i * step, bytes));
    }
  }
  return {};
}

Result<void> Rescue::Impl::copy_compressed(L2Entry entry, std::uint64_t where, std::uint64_t guest,
                                           std::uint64_t length) {
  VARVE_TRY(flush_run());
  const CompressedExtent extent = entry.compressed_extent(geometry_);
  const std::uint64_t offset = extent.offset.value();
  if (offset >= file_->size() || extent.length > packed_.size()) {
    lose(guest, length, Corruption::compressed_beyond_end_of_file, where);
    return {};
  }
  const Bytes packed = packed_.bytes().first(extent.length);
  if (!VARVE_TRY(read(IoTag::compressed_data, offset, packed))) {
    lose(guest, length, Corruption::none, offset);
    return {};
  }
  const Bytes cluster = piece_.bytes().first(geometry_.cluster_bytes());
  const Result<void> unpacked = codec_->decompress(packed, cluster);
  if (!unpacked && unpacked.error().code == ErrorCode::no_memory) {
    return unpacked.error();
  }
  if (!unpacked) {
    lose(guest, length, unpacked.error().corruption, offset);
    return {};
  }
  return write(guest, cluster.first(length));
}

Result<void> Rescue::Impl::add_data(std::uint64_t guest, std::uint64_t host, std::uint64_t length) {
  const bool continues = run_.length != 0 && run_.guest + run_.length == guest &&
                         run_.host + run_.length == host && run_.length + length <= kPieceBytes;
  if (!continues) {
    VARVE_TRY(flush_run());
    run_ = {guest, host, 0};
  }
  run_.length += length;
  return {};
}

Result<void> Rescue::Impl::flush_run() {
  if (run_.length == 0) {
    return {};
  }
  const Run run = std::exchange(run_, Run());
  const Bytes bytes = piece_.bytes().first(run.length);
  const Unreadable unreadable = VARVE_TRY(read_sectors(IoTag::guest_data, run.host, bytes));
  for (const std::uint64_t at : unreadable) {
    lose(run.guest + at, std::min(kSectorBytes, run.length - at), Corruption::none, run.host + at);
  }
  return write(run.guest, bytes);
}

// The target reads as zeros: only data is written.
Result<void> Rescue::Impl::write(std::uint64_t guest, ConstBytes bytes) {
  if (is_all_zero(bytes)) {
    return {};
  }
  report_.copied_bytes += bytes.size();
  return target_->write(guest, bytes);
}

// --- The interface ---

Rescue::Rescue(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
Rescue::Rescue(Rescue&&) noexcept = default;
Rescue& Rescue::operator=(Rescue&&) noexcept = default;
Rescue::~Rescue() = default;

Result<Rescue> Rescue::open(std::unique_ptr<Storage> source,
                            const RescueOptions& options) noexcept {
  try {
    auto impl = std::make_unique<Impl>(std::move(source), options);
    VARVE_TRY(impl->read_header());
    return Rescue(std::move(impl));
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot read the header");
  }
}

std::uint64_t Rescue::size() const noexcept {
  return impl_->size();
}
std::uint32_t Rescue::cluster_bytes() const noexcept {
  return static_cast<std::uint32_t>(impl_->geometry().cluster_bytes());
}
const std::string& Rescue::backing_name() const noexcept {
  return impl_->backing_name();
}
const std::vector<std::string>& Rescue::notes() const noexcept {
  return impl_->notes();
}

Result<RescueReport> Rescue::copy_to(Image& target) noexcept {
  try {
    return impl_->copy_to(target);
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot keep what was found");
  }
}

}  // namespace varve
