#include "meta/table_proof.h"

#include <new>
#include <vector>

#include "base/failure.h"
#include "base/try.h"
#include "format/l2_entry.h"
#include "meta/reference_walk.h"

namespace varve {
namespace {

// L2 tables remembered at a time.
constexpr std::size_t kTablesMax = 65536;

class TableProof {
 public:
  explicit TableProof(Metadata& metadata)
      : metadata_(metadata),
        geometry_(metadata.geometry),
        file_clusters_(geometry_.clusters_for(metadata.file->size())),
        walk_(metadata, [this](const Error& error) { refuse(error); }) {
    walk_.set_tables_max(kTablesMax);
    walk_.set_batch_bytes(geometry_.cluster_bytes());
  }

  Result<void> run() {
    VARVE_TRY(memory_.take(metadata_.meter, file_clusters_ / 8 + kTablesMax * kTableBytes));
    is_table_.resize(file_clusters_, false);
    VARVE_TRY(walk_.collect());
    VARVE_TRY(walk_.for_each_fixed(
        [this](ClusterRun run, IoTag tag, HostOffset where) { add(run, tag, where); }));
    VARVE_TRY(for_each_range([this]() -> Result<void> {
      for (const ReferenceWalk::TableReference& table : walk_.tables()) {
        add_table(table);
      }
      return {};
    }));
    return for_each_range([this] {
      return walk_.for_each_table([this](const ReferenceWalk::TableReference& table,
                                         ConstBytes bytes) { return prove_entries(table, bytes); });
    });
  }

 private:
  static constexpr std::uint64_t kTableBytes = 2 * sizeof(ReferenceWalk::TableReference);

  void refuse(const Error& error) {
    if (verdict_) {
      verdict_ = error;
    }
  }

  // An exhausted budget, or the first refusal, ends the walk.
  template <class Body>
  Result<void> for_each_range(Body body) {
    return walk_.for_each_range([&]() -> Result<void> {
      VARVE_TRY(verdict());
      VARVE_TRY(body());
      return verdict();
    });
  }

  // An exhausted budget explains every failure after it.
  [[nodiscard]] Result<void> verdict() const noexcept {
    VARVE_TRY(verdict_of(metadata_.meter));
    return verdict_;
  }

  void add(ClusterRun run, IoTag tag, HostOffset where) {
    for (std::uint64_t i = 0; i < run.count && verdict_; ++i) {
      const std::uint64_t cluster = run.first.value() + i;
      const std::uint64_t offset = cluster << geometry_.cluster_bits;
      VARVE_ASSERT(cluster < file_clusters_);  // The walk has refused what lies behind it.
      if (is_table_[cluster]) {
        refuse(corrupt_at(Corruption::tables_overlap, tag, where.value(),
                          "a table lies over another one, or over the header; its offset", offset));
      } else {
        is_table_[cluster] = true;
      }
    }
  }

  void add_table(const ReferenceWalk::TableReference& table) {
    if (table.active_references > 1) {
      refuse(corrupt_at(Corruption::l2_table_shared_in_active, IoTag::l1, table.where.value(),
                        "two entries of the L1 table lead to one L2 table", table.offset.value()));
    }
    add({geometry_.cluster_of(table.offset), 1}, IoTag::l1, table.where);
  }

  Result<void> prove_entries(const ReferenceWalk::TableReference& table, ConstBytes bytes) {
    VARVE_TRY(verdict());
    for (std::uint64_t index = 0; index < geometry_.l2_entries(); ++index) {
      const L2Entry entry = L2Entry::load(geometry_, bytes, index);
      if (entry.raw() == 0 && entry.bitmap() == 0) {
        continue;
      }
      const HostOffset where = table.offset + (index << geometry_.l2_entry_bits());
      VARVE_TRY(entry.validate(geometry_, metadata_.header.version, false, where));
      const ClusterRun run = walk_.clusters_of(entry);
      // The last sectors that compressed data names may lie in a cluster the file ends before.
      const std::uint64_t last = run.first.value() + run.count - 1;
      const std::uint64_t end = file_clusters_ + (entry.is_compressed() ? 1 : 0);
      if (run.count != 0 && (run.first.value() >= file_clusters_ || last >= end)) {
        return corrupt_at(Corruption::cluster_beyond_end_of_file, IoTag::l2, where.value(),
                          "an entry leads beyond the end of the file",
                          run.first.value() << geometry_.cluster_bits, metadata_.file->size());
      }
      for (std::uint64_t i = 0; i < run.count; ++i) {
        const std::uint64_t cluster = run.first.value() + i;
        if (cluster < file_clusters_ && is_table_[cluster]) {
          return corrupt_at(Corruption::cluster_overlaps_metadata, IoTag::l2, where.value(),
                            "an entry leads to one of the image's tables",
                            cluster << geometry_.cluster_bits);
        }
      }
    }
    return {};
  }

  Metadata& metadata_;
  Geometry geometry_;
  std::uint64_t file_clusters_;
  MeteredMemory memory_;
  ReferenceWalk walk_;
  std::vector<bool> is_table_;  // By cluster of the file.
  Result<void> verdict_;
};

}  // namespace

Result<void> prove_tables(Metadata& metadata) noexcept {
  try {
    return TableProof(metadata).run();
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot keep the places of the image's tables");
  }
}

}  // namespace varve
