// The entries of one L2 table, counted and compared with the counts the image keeps.

#include "maintenance/check_walk.h"

namespace varve {

template <std::unsigned_integral Cell>
void CheckWalk<Cell>::TableSink::count_allocated(HostOffset host, std::uint64_t clusters) {
  if (!is_active_ || !walk_->is_first_pass()) {
    return;
  }
  CheckReport& report = walk_->report();
  report.allocated_clusters += clusters * table_->active_references;
  if (next_contiguous_ != 0 && host.value() != next_contiguous_) {
    report.fragmented_clusters += table_->active_references;
  }
  next_contiguous_ = host.value() + (clusters << walk_->geometry_.cluster_bits);
}

template <std::unsigned_integral Cell>
void CheckWalk<Cell>::TableSink::show_beyond_disk(std::uint64_t index, std::uint64_t clusters) {
  if (walk_->observer_ == nullptr || !is_active_ || !walk_->is_first_pass()) {
    return;
  }
  const Geometry& geometry = walk_->geometry_;
  const std::uint64_t first = table_->active_index * geometry.l2_entries() + index;
  const std::uint64_t disk = geometry.clusters_for(walk_->metadata_->header.virtual_size);
  if (first + clusters > disk) {
    const std::uint64_t inside = disk - std::min(disk, first);
    walk_->observer_->beyond_disk(clusters - inside, where(index + inside));
  }
}

template <std::unsigned_integral Cell>
void CheckWalk<Cell>::TableSink::run(std::uint64_t index, ClusterRun run, std::uint64_t raw) {
  const Geometry& geometry = walk_->geometry_;
  show_beyond_disk(index, run.count);
  count_allocated(geometry.offset_of(run.first), run.count);
  const std::uint64_t end = run.first.value() + run.count;
  for (std::uint64_t cluster = std::max(run.first.value(), walk_->file_clusters_);
       walk_->is_first_pass() && cluster < end; ++cluster) {
    tell_beyond_end(Corruption::cluster_beyond_end_of_file, index + (cluster - run.first.value()),
                    geometry.offset_of(HostCluster(cluster)));
  }
  if (end > walk_->file_clusters_) {
    run.count = walk_->file_clusters_ - std::min(run.first.value(), walk_->file_clusters_);
  }
  const ClusterRun part = walk_->window_.clip(run);
  if (part.count == 0) {
    return;
  }
  const auto met = walk_->window_.add(part, table_->references, Window::kData);
  const std::uint64_t skipped = part.first - run.first;
  const auto others = static_cast<Cell>(Window::kFixed | Window::kTable | Window::kCompressed);
  if ((met.any & others) != 0) {
    tell_overlaps(part, others, index + skipped, false);
  }
  const bool is_copied = (raw & L2Entry::kCopied) != 0;
  const bool is_right =
      is_copied ? (met.all & Window::kStoredOne) != 0 : (met.any & Window::kStoredOne) == 0;
  if (is_active_ && !is_right) {
    tell_flags(part, index + skipped, raw + (skipped << geometry.cluster_bits));
  }
}

template <std::unsigned_integral Cell>
void CheckWalk<Cell>::TableSink::single(std::uint64_t index, L2Entry entry) {
  const Header& header = walk_->metadata_->header;
  const Result<void> valid = entry.validate(walk_->geometry_, header.version,
                                            header.has_data_file(), HostOffset(where(index)));
  if (!valid && walk_->is_first_pass()) {
    walk_->findings_.add(valid.error());
  }
  if (entry.is_compressed() || entry.has_host(header.has_data_file())) {
    show_beyond_disk(index, 1);
  }
  if (entry.is_compressed()) {
    compressed(index, entry);
  } else if (header.has_data_file()) {
    in_data_file(index, entry);
  } else if (entry.has_host()) {
    odd_data(index, entry);
  }
}

// Nothing is counted there; each cluster belongs to its entry alone.
template <std::unsigned_integral Cell>
void CheckWalk<Cell>::TableSink::in_data_file(std::uint64_t index, L2Entry entry) {
  const Geometry& geometry = walk_->geometry_;
  const Header& header = walk_->metadata_->header;
  const ClusterKind kind = entry.kind(geometry, true);
  const bool is_plain_zero = kind == ClusterKind::zero_allocated && !entry.has_host();
  if (!walk_->is_first_pass() || is_plain_zero ||
      (kind != ClusterKind::standard && kind != ClusterKind::zero_allocated)) {
    return;
  }
  count_allocated(entry.host(), 1);
  if (!entry.is_copied()) {
    walk_->tell(Severity::mismatch, Corruption::copied_flag_wrong, IoTag::l2, where(index),
                entry.host().value(), entry.raw(), entry.with_copied(true).raw());
  }
  const std::uint64_t guest =
      table_->active_index * geometry.l2_coverage() + (index << geometry.cluster_bits);
  if ((header.autoclear & kAutoclearDataFileRaw) != 0 && entry.host().value() != guest) {
    walk_->tell(Severity::corruption, Corruption::data_file_offset_mismatch, IoTag::l2,
                where(index), entry.host().value(), entry.host().value(), guest);
  }
}

// An entry that breaks a rule still refers to what its offset names: counting that keeps one broken
// bit from looking like a leak as well.
template <std::unsigned_integral Cell>
void CheckWalk<Cell>::TableSink::odd_data(std::uint64_t index, L2Entry entry) {
  const Geometry& geometry = walk_->geometry_;
  count_allocated(entry.host(), 1);
  if (entry.host().value() >= walk_->metadata_->file->size()) {
    if (walk_->is_first_pass()) {
      tell_beyond_end(Corruption::cluster_beyond_end_of_file, index, entry.host());
    }
    return;
  }
  const ClusterRun run = walk_->walk_.run_of(entry.host(), geometry.cluster_bytes());
  const ClusterRun part = walk_->window_.clip(run);
  if (part.count == 0) {
    return;
  }
  const auto met = walk_->window_.add(part, table_->references, Window::kData);
  const auto others = static_cast<Cell>(Window::kFixed | Window::kTable | Window::kCompressed);
  if ((met.any & others) != 0) {
    tell_overlaps(part, others, index, true);
  }
  if (is_active_ && part.first == run.first) {
    tell_flags({part.first, 1}, index, entry.raw());
  }
}

template <std::unsigned_integral Cell>
void CheckWalk<Cell>::TableSink::compressed(std::uint64_t index, L2Entry entry) {
  const Geometry& geometry = walk_->geometry_;
  if (walk_->metadata_->header.has_data_file() || entry.bitmap() != 0) {
    return;
  }
  if (is_active_ && walk_->is_first_pass()) {
    CheckReport& report = walk_->report();
    report.allocated_clusters += table_->active_references;
    report.compressed_clusters += table_->active_references;
    report.fragmented_clusters += table_->active_references;
  }
  const CompressedExtent extent = entry.compressed_extent(geometry);
  // The last sector named may be cut short by the end of the file.
  const std::uint64_t end = extent.offset.value() + extent.length;
  const std::uint64_t file_size = walk_->metadata_->file->size();
  if (end > file_size && end - file_size >= geometry.cluster_bytes()) {
    if (walk_->is_first_pass()) {
      tell_beyond_end(Corruption::compressed_beyond_end_of_file, index, extent.offset);
    }
    return;
  }
  const ClusterRun part = walk_->window_.clip(walk_->metadata_->map.clusters_of(extent));
  if (part.count == 0) {
    return;
  }
  const auto met = walk_->window_.add(part, table_->references, Window::kCompressed);
  const auto others = static_cast<Cell>(Window::kFixed | Window::kTable | Window::kData);
  if ((met.any & others) != 0) {
    tell_overlaps(part, others, index, true);
  }
}

template <std::unsigned_integral Cell>
void CheckWalk<Cell>::TableSink::tell_beyond_end(Corruption reason, std::uint64_t index,
                                                 HostOffset host) {
  const Geometry& geometry = walk_->geometry_;
  walk_->tell(Severity::corruption, reason, IoTag::l2, where(index),
              round_down(host.value(), geometry.cluster_bytes()), host.value(),
              walk_->metadata_->file->size());
}

// `index` is the first cluster's entry, or everybody's.
template <std::unsigned_integral Cell>
void CheckWalk<Cell>::TableSink::tell_overlaps(ClusterRun part, Cell others, std::uint64_t index,
                                               bool is_one_entry) {
  const auto tables = static_cast<Cell>(Window::kFixed | Window::kTable);
  for (std::uint64_t i = 0; i < part.count; ++i) {
    const std::uint64_t cluster = part.first.value() + i;
    const Cell cell = walk_->window_[cluster];
    if ((cell & others) != 0) {
      const std::uint64_t host = cluster << walk_->geometry_.cluster_bits;
      const Corruption reason = (cell & tables) != 0 ? Corruption::cluster_overlaps_metadata
                                                     : Corruption::duplicate_reference;
      walk_->tell(Severity::corruption, reason, IoTag::l2, where(is_one_entry ? index : index + i),
                  host, host, 0);
    }
  }
}

// Tells of those of the run's entries whose flag disagrees with the stored count.
template <std::unsigned_integral Cell>
void CheckWalk<Cell>::TableSink::tell_flags(ClusterRun part, std::uint64_t index,
                                            std::uint64_t raw) {
  const bool is_copied = (raw & L2Entry::kCopied) != 0;
  for (std::uint64_t i = 0; i < part.count; ++i) {
    const std::uint64_t cluster = part.first.value() + i;
    const bool is_single = (walk_->window_[cluster] & Window::kStoredOne) != 0;
    if (is_single != is_copied && walk_->is_count_known(cluster)) {
      const std::uint64_t found = raw + (i << walk_->geometry_.cluster_bits);
      walk_->tell(Severity::mismatch, Corruption::copied_flag_wrong, IoTag::l2, where(index + i),
                  cluster << walk_->geometry_.cluster_bits, found, found ^ L2Entry::kCopied);
    }
  }
}

template class CheckWalk<std::uint16_t>::TableSink;
template class CheckWalk<std::uint32_t>::TableSink;

}  // namespace varve
