#include "maintenance/check_walk.h"

#include <cstddef>

namespace varve {
namespace {

// Clusters per window at least, however little memory there may be.
constexpr std::uint64_t kWindowClustersMin = 4096;
constexpr std::uint64_t kBatchBytesMax = 4 * kMiB;
constexpr std::uint64_t kTablesPerProgress = 64;
constexpr std::uint64_t kStepsPerCluster = 1;
// L2 tables remembered at a time at least.
constexpr std::size_t kTablesMin = 256;

// A quarter of the memory is for tables; collecting them takes twice what is kept.
std::uint64_t table_memory_for(const CheckOptions& options) noexcept {
  return options.memory_bytes / 4;
}
std::size_t tables_max_for(const CheckOptions& options) noexcept {
  constexpr std::size_t kTableBytes = 2 * sizeof(ReferenceWalk::TableReference);
  return std::max<std::size_t>(kTablesMin, table_memory_for(options) / kTableBytes);
}

std::uint64_t batch_bytes_for(const CheckOptions& options, const Geometry& geometry) noexcept {
  return std::clamp<std::uint64_t>(options.memory_bytes / 8, geometry.cluster_bytes(),
                                   std::max(kBatchBytesMax, geometry.cluster_bytes()));
}

// A window's clusters: what the memory holds, in whole refcount blocks where it holds any.
std::uint64_t window_clusters_for(const CheckOptions& options, const Geometry& geometry,
                                  std::uint64_t batch_bytes, std::size_t cell_bytes) noexcept {
  const std::uint64_t others = batch_bytes + table_memory_for(options);
  const std::uint64_t memory = options.memory_bytes > others ? options.memory_bytes - others : 0;
  const std::uint64_t clusters = std::max(memory / cell_bytes, kWindowClustersMin);
  const std::uint64_t per_block = geometry.refcounts_per_block();
  return clusters > per_block ? round_down(clusters, per_block) : clusters;
}

}  // namespace

template <std::unsigned_integral Cell>
CheckWalk<Cell>::CheckWalk(Metadata& metadata, const CheckOptions& options, CheckObserver* observer)
    : metadata_(&metadata),
      options_(&options),
      observer_(observer),
      geometry_(metadata.geometry),
      findings_(geometry_, options.findings_max),
      walk_(metadata,
            [this](const Error& error) {
              if (is_first_pass()) {
                findings_.add(error);
              }
            }),
      batch_bytes_(batch_bytes_for(options, geometry_)),
      file_clusters_(geometry_.clusters_for(metadata.file->size())) {
  walk_.set_batch_bytes(batch_bytes_);
  walk_.set_tables_max(tables_max_for(options));
}

template <std::unsigned_integral Cell>
Result<void> CheckWalk<Cell>::go_on() const noexcept {
  if (options_->cancel != nullptr && options_->cancel->load(std::memory_order_relaxed)) {
    return failure(ErrorCode::cancelled, "the check was cancelled");
  }
  return verdict_of(metadata_->meter);
}

// A window's cells are set, loaded and compared.
template <std::unsigned_integral Cell>
Result<void> CheckWalk<Cell>::pay_for_window() const noexcept {
  spend_steps(metadata_->meter, (window_.end() - window_.first()) * kStepsPerCluster);
  return go_on();
}

template <std::unsigned_integral Cell>
Result<void> CheckWalk<Cell>::run() {
  if (observer_ != nullptr) {
    observer_->begin();
  }
  VARVE_TRY(walk_.collect());
  check_snapshots();
  // Compressed data in the last cluster may name sectors of one more.
  const std::uint64_t end = file_clusters_ + 1;
  const std::uint64_t step = window_clusters_for(*options_, geometry_, batch_bytes_, sizeof(Cell));
  const std::uint64_t tables = VARVE_TRY(count_tables());
  for (std::uint64_t first = 0; first < end; first = next_window()) {
    total_ = done_ + divide_up(end - first, step) * tables;
    window_.start(first, std::min(step, end - first));
    VARVE_TRY(pay_for_window());
    VARVE_TRY(run_window());
    if (is_saturated() && sizeof(Cell) < sizeof(std::uint32_t)) {
      return {};
    }
  }
  if (options_->progress && done_ != total_) {
    options_->progress(done_, done_);
  }
  CheckReport& report = findings_.report();
  report.total_clusters =
      geometry_.clusters_for(round_down(metadata_->header.virtual_size, kSectorBytes));
  report.image_end_offset = (highest_in_use_ + 1) << geometry_.cluster_bits;
  return {};
}

// Where something is referred to or counted. A file may be far longer than what it holds, and each
// window costs a pass over all tables. Who observes wants to see the file whole.
template <std::unsigned_integral Cell>
std::uint64_t CheckWalk<Cell>::next_window() const noexcept {
  const std::uint64_t per_block = geometry_.refcounts_per_block();
  const Refcounts& refcounts = metadata_->refcounts;
  const std::uint64_t end = window_.end();
  if (observer_ != nullptr || end >= file_clusters_) {
    return end;
  }
  std::uint64_t index = geometry_.refcount_block_index(HostCluster(end));
  while (index < refcounts.table().size() && !refcounts.has_block(index)) {
    ++index;
  }
  const bool is_counted = index < refcounts.table().size();
  const std::uint64_t next =
      std::min(window_.next(), is_counted ? index * per_block : Window::kNone);
  return std::max(end, round_down(next, per_block));
}

template <std::unsigned_integral Cell>
Result<void> CheckWalk<Cell>::run_window() {
  VARVE_TRY(load_counts());
  VARVE_TRY(add_fixed());
  VARVE_TRY(walk_.for_each_range([this]() -> Result<void> {
    add_tables();
    return go_on();
  }));
  check_l1_flags();
  VARVE_TRY(walk_.for_each_range([this] { return add_contents(); }));
  VARVE_TRY(compare());
  VARVE_TRY(go_on());
  return observer_ != nullptr ? show_window() : Result<void>();
}

template <std::unsigned_integral Cell>
class CheckWalk<Cell>::Shown final : public CheckObserver::Window {
 public:
  explicit Shown(CheckWindow<Cell>& window) noexcept : window_(&window) {}

  [[nodiscard]] ClusterUse use(std::uint64_t cluster) const noexcept override {
    const Cell cell = (*window_)[cluster];
    if ((cell & CheckWindow<Cell>::kCountMask) != 0) {
      return ClusterUse::referenced;
    }
    return (cell & CheckWindow<Cell>::kLeaked) != 0 ? ClusterUse::counted : ClusterUse::free;
  }

 private:
  CheckWindow<Cell>* window_;
};

template <std::unsigned_integral Cell>
Result<void> CheckWalk<Cell>::show_window() {
  return observer_->counted(window_.first(), window_.end(), highest_in_use_ + 1, Shown(window_));
}

template <std::unsigned_integral Cell>
Result<std::uint64_t> CheckWalk<Cell>::count_tables() {
  std::uint64_t tables = 0;
  VARVE_TRY(walk_.for_each_range([&]() -> Result<void> {
    tables += walk_.tables().size();
    return go_on();
  }));
  return tables;
}

// QEMU refuses a snapshot without what version 3 asks for as damaged; it is read as version 2
// would.
template <std::unsigned_integral Cell>
void CheckWalk<Cell>::check_snapshots() {
  for (const Loss& loss : metadata_->snapshot_losses) {
    tell(Severity::corruption, loss.reason, IoTag::snapshot_table,
         metadata_->header.snapshot_table_offset.value(), 0, loss.index, 0);
  }
  if (metadata_->header.version < 3) {
    return;
  }
  for (const SnapshotEntry& snapshot : metadata_->snapshots.entries) {
    if (!snapshot.has_disk_size) {
      tell(Severity::corruption, Corruption::snapshot_extra_missing, IoTag::snapshot_table,
           metadata_->header.snapshot_table_offset.value(), snapshot.l1_offset.value(), 0,
           offsetof(RawSnapshotExtra, icount));
    }
  }
}

template <std::unsigned_integral Cell>
Result<void> CheckWalk<Cell>::load_counts() {
  unknown_blocks_.clear();
  RefcountReader reader(*metadata_, batch_bytes_,
                        [this](const Error& error) { findings_.add(error); });
  return reader.for_each(
      window_.first(), window_.end(), [this](const CountedRange& range) -> Result<void> {
        if (range.state == CountedRange::State::unknown) {
          unknown_blocks_.push_back(geometry_.refcount_block_index(HostCluster(range.first)));
        } else if (range.state == CountedRange::State::present) {
          for_each_count(geometry_, range, [this](std::uint64_t cluster, std::uint64_t stored) {
            if (stored == 1) {
              window_[cluster] = Window::kStoredOne;
            }
          });
        }
        return go_on();
      });
}

template <std::unsigned_integral Cell>
bool CheckWalk<Cell>::is_count_known(std::uint64_t cluster) const noexcept {
  return unknown_blocks_.empty() ||
         !std::binary_search(unknown_blocks_.begin(), unknown_blocks_.end(),
                             geometry_.refcount_block_index(HostCluster(cluster)));
}

template <std::unsigned_integral Cell>
Result<void> CheckWalk<Cell>::add_fixed() {
  return walk_.for_each_fixed(
      [this](ClusterRun run, IoTag tag, HostOffset where) { add_fixed_run(run, tag, where); });
}

// Comes first of all, so what a cell has counted already is another structure that nothing may
// share.
template <std::unsigned_integral Cell>
void CheckWalk<Cell>::add_fixed_run(ClusterRun run, IoTag tag, HostOffset where) {
  const ClusterRun part = window_.clip(run);
  if (part.count == 0 || (window_.add(part, 1, Window::kFixed).any & Window::kFixed) == 0) {
    return;
  }
  const std::uint64_t table_first =
      geometry_.cluster_of(metadata_->refcounts.table_offset()).value();
  const std::uint64_t table_end = table_first + metadata_->refcounts.table_clusters();
  for (std::uint64_t i = 0; i < part.count; ++i) {
    const std::uint64_t cluster = part.first.value() + i;
    const std::uint64_t references = window_[cluster] & Window::kCountMask;
    if (references < 2) {
      continue;
    }
    // Before blocks there are only the header and the refcount table.
    const bool is_block = tag == IoTag::refcount_block && cluster != 0 &&
                          (cluster < table_first || cluster >= table_end);
    tell(Severity::corruption,
         is_block ? Corruption::refcount_block_shared : Corruption::cluster_overlaps_metadata, tag,
         where.value(), cluster << geometry_.cluster_bits, references, 1);
  }
}

template <std::unsigned_integral Cell>
void CheckWalk<Cell>::add_tables() {
  for (const TableReference& table : walk_.tables()) {
    if (is_first_pass() && table.active_references > 1) {
      tell(Severity::corruption, Corruption::l2_table_shared_in_active, IoTag::l1,
           table.where.value(), table.offset.value(), table.active_references, 1);
    }
    const ClusterRun part = window_.clip({geometry_.cluster_of(table.offset), 1});
    if (part.count == 0) {
      continue;
    }
    const auto met = window_.add(part, table.references, Window::kTable);
    if ((met.any & Window::kFixed) != 0) {
      tell(Severity::corruption, Corruption::cluster_overlaps_metadata, IoTag::l1,
           table.where.value(), table.offset.value(), table.offset.value(), 0);
    }
  }
}

template <std::unsigned_integral Cell>
void CheckWalk<Cell>::check_l1_flags() {
  const L1Table& l1 = metadata_->l1;
  for (std::uint64_t i = 0; i < l1.size(); ++i) {
    const L1Entry entry = l1.entry(i);
    const std::uint64_t cluster = geometry_.cluster_of(entry.offset()).value();
    if (!entry.is_allocated() || !window_.contains(cluster) || cluster >= file_clusters_) {
      continue;
    }
    const bool is_single = (window_[cluster] & Window::kStoredOne) != 0;
    if (is_single != entry.is_copied() && is_count_known(cluster)) {
      tell(Severity::mismatch, Corruption::copied_flag_wrong, IoTag::l1, l1.offset_of(i).value(),
           cluster << geometry_.cluster_bits, entry.raw(), entry.raw() ^ L1Entry::kCopied);
    }
  }
}

template <std::unsigned_integral Cell>
Result<void> CheckWalk<Cell>::add_contents() {
  const L2Scan scan(metadata_->header);
  const std::uint64_t tables = walk_.tables().size();
  const Result<void> walked =
      walk_.for_each_table([&](const TableReference& table, ConstBytes bytes) -> Result<void> {
        TableSink sink(*this, table);
        scan.scan(bytes, sink);
        findings_.report().tables_read += is_first_pass() ? 1 : 0;
        ++done_;
        if (done_ % kTablesPerProgress == 0 || done_ % tables == 0) {
          if (options_->progress) {
            options_->progress(done_, total_);
          }
          return go_on();
        }
        return {};
      });
  return walked ? go_on() : walked;
}

template <std::unsigned_integral Cell>
Result<void> CheckWalk<Cell>::compare() {
  // Reading these once has told of those that cannot be read.
  RefcountReader reader(*metadata_, batch_bytes_, [](const Error&) {});
  return reader.for_each(
      window_.first(), window_.end(), [this](const CountedRange& range) -> Result<void> {
        if (range.state == CountedRange::State::present) {
          for_each_count(geometry_, range, [&](std::uint64_t cluster, std::uint64_t stored) {
            const std::uint64_t references = window_[cluster] & Window::kCountMask;
            if ((stored | references) != 0) {
              compare_cluster(range, cluster, stored);
            }
          });
        } else if (range.state == CountedRange::State::missing) {
          for (std::uint64_t i = 0; i < range.count; ++i) {
            if ((window_[range.first + i] & Window::kCountMask) != 0) {
              compare_cluster(range, range.first + i, 0);
            }
          }
        }
        return go_on();
      });
}

template <std::unsigned_integral Cell>
void CheckWalk<Cell>::compare_cluster(const CountedRange& range, std::uint64_t cluster,
                                      std::uint64_t stored) {
  const std::uint64_t references = window_[cluster] & Window::kCountMask;
  if (cluster >= file_clusters_ && references == 0) {
    return;  // Counted, but no part of the file.
  }
  highest_in_use_ = std::max(highest_in_use_, cluster);
  if (stored == references || (stored > references && references == Window::kCountMask)) {
    return;
  }
  if (references == 0) {
    window_[cluster] = static_cast<Cell>(window_[cluster] | Window::kLeaked);
  }
  const std::uint64_t index = cluster % geometry_.refcounts_per_block();
  const std::uint64_t host = cluster << geometry_.cluster_bits;
  if (range.state == CountedRange::State::missing) {
    const std::uint64_t block = geometry_.refcount_block_index(HostCluster(cluster));
    tell(Severity::corruption, Corruption::refcount_missing_block, IoTag::refcount_table,
         metadata_->refcounts.table_offset().value() + block * 8, host, 0, references);
    return;
  }
  const std::uint64_t where = range.block.value() + ((index << geometry_.refcount_order) >> 3);
  const bool is_leak = stored > references;
  tell(is_leak ? Severity::leak : Severity::corruption,
       is_leak ? Corruption::refcount_too_high : Corruption::refcount_too_low,
       IoTag::refcount_block, where, host, stored, references);
}

template class CheckWalk<std::uint16_t>;
template class CheckWalk<std::uint32_t>;

}  // namespace varve
