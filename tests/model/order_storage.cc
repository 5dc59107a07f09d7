#include "model/order_storage.h"

#include <algorithm>

#include "base/checked.h"
#include "base/units.h"
#include "sim/allocation_faults.h"
#include "sim/crash_disk.h"
#include "sim/trace_storage.h"

namespace varve::model {

namespace {

constexpr std::uint64_t kReadNumber = ~std::uint64_t{0};

bool is_data(IoTag tag) {
  return tag == IoTag::guest_data || tag == IoTag::compressed_data || tag == IoTag::state ||
         tag == IoTag::backing;
}

// The rule a metadata write breaks when a count is left below the references.
const char* rule_of_counts(IoTag tag) {
  switch (tag) {
    case IoTag::l1:
    case IoTag::l2:
      return "O1";
    case IoTag::refcount_block:
      return "O3";
    case IoTag::refcount_table:
      return "O4";
    default:
      return "O5";
  }
}

// The rule a metadata write breaks when it shows what is not durable.
const char* rule_of_content(IoTag tag) {
  switch (tag) {
    case IoTag::l1:
    case IoTag::l2:
      return "O2";
    case IoTag::refcount_table:
      return "O4";
    default:
      return "O5";
  }
}

}  // namespace

OrderStorage::OrderStorage(std::unique_ptr<Storage> inner, const sim::SparseBytes& start,
                           OrderRecord& record)
    : DecoratorStorage(std::move(inner)), record_(record), durable_(start) {
  look_again();
  was_settled_ = !is_dirty_;
  // Whatever free space of earlier sessions holds is not this session's.
  for (std::uint64_t i = 0; i < divide_up(durable_.size(), kSectorBytes); ++i) {
    Sector& kept = sector(i);
    kept.stale = !kept.reachable;
    kept.written = kept.reachable;
  }
}

OrderStorage::Sector& OrderStorage::sector(std::uint64_t index) {
  if (index >= sectors_.size()) {
    sectors_.resize(static_cast<std::size_t>(index) + 1);
  }
  return sectors_[static_cast<std::size_t>(index)];
}

bool OrderStorage::is_in_the_air(std::uint64_t index) const {
  const std::uint64_t at = index * kSectorBytes;
  return std::any_of(air_.begin(), air_.end(), [&](const auto& change) {
    return change->length > 0 && change->offset < at + kSectorBytes &&
           at < change->offset + change->length;
  });
}

void OrderStorage::violate(const char* rule, const std::string& what) {
  if (record_.violation.empty()) {
    record_.violation = std::string(rule) + ": " + what;
    for (const auto& change : air_) {
      record_.violation += std::string("\n  in the air: ") +
                           sim::operation_name(change->operation) + " " + io_tag_name(change->tag) +
                           " " + std::to_string(change->offset) + "+" +
                           std::to_string(change->length);
    }
  }
}

void OrderStorage::submit(StorageRequest& request) noexcept {
  const sim::AllocationPause pause;
  if (request.operation == StorageOperation::read) {
    forward(request, kReadNumber);
    return;
  }
  if (request.operation == StorageOperation::flush) {
    std::vector<std::uint64_t> covered;
    for (const auto& change : air_) {
      if (change->completed) {
        covered.push_back(change->number);
      }
    }
    flushes_.push_back(std::move(covered));
    forward(request, flushes_.size() - 1);
    return;
  }
  auto change = std::make_unique<Change>();
  change->operation = request.operation;
  change->tag = request.tag;
  change->offset = request.offset;
  change->length = request.operation == StorageOperation::resize ? 0 : request.size_bytes();
  change->number = next_change_++;
  if (request.operation == StorageOperation::write) {
    change->data = sim::gather(request);
  }
  judge(*change);
  for (std::uint64_t i = change->offset / kSectorBytes;
       i < divide_up(change->offset + change->length, kSectorBytes); ++i) {
    sector(i).touched = next_change_;
  }
  headers_in_flight_ += change->tag == IoTag::header ? 1 : 0;
  const std::uint64_t number = change->number;
  air_.push_back(std::move(change));
  forward(request, number);
}

void OrderStorage::forwarded(Forwarded& part) {
  note_completion(part);
  complete(*part.outer, part.result);
}

void OrderStorage::note_completion(const Forwarded& part) {
  const sim::AllocationPause pause;
  if (part.outer->operation == StorageOperation::flush) {
    if (part.result) {
      made_durable(flushes_[static_cast<std::size_t>(part.number)]);
    } else {
      flush_failed_ = true;
    }
  } else if (part.number != kReadNumber) {
    for (const auto& change : air_) {
      if (change->number == part.number) {
        // A request that failed may have left anything: it stays in the air.
        change->completed = part.result.has_value();
        headers_in_flight_ -= change->tag == IoTag::header ? 1 : 0;
      }
    }
  }
}

void OrderStorage::apply(const Change& change) {
  switch (change.operation) {
    case StorageOperation::write:
      durable_.write(change.offset, change.data);
      break;
    case StorageOperation::discard:
      durable_.zero(change.offset, change.length);
      break;
    case StorageOperation::write_zeroes:
      durable_.resize(std::max(durable_.size(), change.offset + change.length));
      durable_.zero(change.offset, change.length);
      break;
    case StorageOperation::resize:
      durable_.resize(change.offset);
      break;
    default:
      break;
  }
}

void OrderStorage::made_durable(const std::vector<std::uint64_t>& numbers) {
  std::vector<std::uint64_t> written;
  for (auto& change : air_) {
    if (!std::binary_search(numbers.begin(), numbers.end(), change->number)) {
      continue;
    }
    apply(*change);
    const bool leaves_bytes = change->operation == StorageOperation::write ||
                              change->operation == StorageOperation::write_zeroes;
    for (std::uint64_t i = change->offset / kSectorBytes;
         leaves_bytes && i < divide_up(change->offset + change->length, kSectorBytes); ++i) {
      written.push_back(i);
    }
    change.reset();
  }
  std::erase(air_, nullptr);
  durable_.forget_changes();
  if (!numbers.empty()) {
    look_again();
  }
  for (const std::uint64_t i : written) {
    Sector& kept = sector(i);
    // What the flush covered beside the drop belongs to the life it ended: the cluster was not free
    // before (O7).
    if (!kept.ended_now) {
      kept.written = true;
      kept.stale = false;
    }
  }
}

bool OrderStorage::is_referenced(std::uint64_t index) const {
  const std::uint64_t cluster = index * kSectorBytes / cluster_bytes_;
  return cluster < references_.size() && references_[static_cast<std::size_t>(cluster)] > 0;
}

// Looks at the durable image again: what became unreachable is of another life from now on.
void OrderStorage::look_again() {
  std::string why;
  const auto image = ReferenceQcow2::open(durable_.bytes(), why);
  has_image_ = image.has_value();
  if (!image) {
    return;
  }
  const ReferenceReport report = image->check(true);
  cluster_bytes_ = image->cluster_bytes();
  is_dirty_ = image->is_dirty();
  was_settled_ = was_settled_ || !is_dirty_;
  has_trusted_bitmap_ = image->has_trusted_bitmap();
  const std::vector<std::uint16_t> uses_before = std::exchange(uses_, report.uses);
  const auto was_packed = [&](std::uint64_t index) {
    const auto cluster = static_cast<std::size_t>(index * kSectorBytes / cluster_bytes_);
    return cluster < uses_before.size() &&
           uses_before[cluster] == static_cast<std::uint16_t>(ReferenceUse::compressed);
  };
  references_ = report.references;
  if (report.reachable.size() > sectors_.size()) {
    sectors_.resize(report.reachable.size());
  }
  for (std::uint64_t i = 0; i < sectors_.size(); ++i) {
    Sector& kept = sectors_[static_cast<std::size_t>(i)];
    const bool reachable =
        i < report.reachable.size() && report.reachable[static_cast<std::size_t>(i)];
    // A cluster kept behind zeros may have been written anew before the zeros are durable.
    // A sector that compressed clusters share may have the next one's bytes already.
    kept.ended_now = kept.reachable && !reachable && !is_referenced(i) && !was_packed(i);
    if (kept.ended_now) {
      kept.ended = next_change_;
      kept.stale = true;
      kept.written = false;
    }
    kept.reachable = reachable;
  }
}

void OrderStorage::judge(const Change& change) {
  if (!has_image_) {
    return;  // An image in the making.
  }
  ++record_.writes;
  if (flush_failed_ && change.operation == StorageOperation::write) {
    violate("O9", std::string(io_tag_name(change.tag)) + " is written after a failed flush");
  }
  if (has_trusted_bitmap_ && (is_data(change.tag) || change.tag == IoTag::l2)) {
    violate("O12", "the disk changes under a bitmap that is not marked in use");
  }
  if (change.tag == IoTag::header && headers_in_flight_ > 0) {
    violate("O6", "two writes of the header are in flight");
  }
  if (change.operation == StorageOperation::resize ||
      change.operation == StorageOperation::allocate) {
    return;
  }
  if (is_data(change.tag)) {
    judge_data(change);
  } else if (change.operation == StorageOperation::write) {
    judge_metadata(change);
  }
}

void OrderStorage::judge_data(const Change& change) {
  if (!was_settled_ && change.operation == StorageOperation::write) {
    violate("O10", "data is written before the image was settled");
  }
  const std::uint64_t end = change.offset + change.length;
  for (std::uint64_t i = change.offset / kSectorBytes; i < divide_up(end, kSectorBytes); ++i) {
    if (!sector(i).reachable) {
      continue;
    }
    const std::uint64_t cluster = i * kSectorBytes / cluster_bytes_;
    const std::uint16_t uses = uses_[static_cast<std::size_t>(cluster)];
    const std::string where = io_tag_name(change.tag) + std::string(" at ") +
                              std::to_string(i * kSectorBytes) + ", uses " + std::to_string(uses);
    if (change.operation == StorageOperation::discard) {
      violate("O7", "a hole is punched where something is reachable: " + where);
      return;
    }
    const auto data = static_cast<std::uint16_t>(ReferenceUse::data);
    const auto compressed = static_cast<std::uint16_t>(ReferenceUse::compressed);
    if ((uses & ~(data | compressed)) != 0) {
      violate("O7", "data is written over reachable metadata: " + where);
      return;
    }
    if (uses == data && references_[static_cast<std::size_t>(cluster)] > 1) {
      violate("H2", "a shared cluster is written in place: " + where);
      return;
    }
  }
}

void OrderStorage::judge_metadata(const Change& change) {
  const std::string name = std::string(io_tag_name(change.tag)) + " at " +
                           std::to_string(change.offset) + "+" + std::to_string(change.length);
  if (change.tag == IoTag::header &&
      (change.offset % kSectorBytes != 0 || change.length > kSectorBytes)) {
    violate("O5", "a header write can tear: " + name);
  }
  const auto data = static_cast<std::uint16_t>(ReferenceUse::data);
  for (std::uint64_t i = change.offset / kSectorBytes;
       i < divide_up(change.offset + change.length, kSectorBytes); ++i) {
    const std::uint64_t cluster = i * kSectorBytes / cluster_bytes_;
    if (sector(i).reachable && uses_[static_cast<std::size_t>(cluster)] == data) {
      violate("O7", name + " is written over reachable data");
      return;
    }
  }
  const sim::SectorImage::Mark mark = durable_.mark();
  apply(change);
  std::string why;
  if (const auto image = ReferenceQcow2::open(durable_.bytes(), why)) {
    const ReferenceReport after = image->check(true);
    if (!after.corruptions.empty()) {
      violate(rule_of_counts(change.tag), name + ": " + after.text());
    } else if (!after.mismatches.empty() && image->version() >= 3 && !image->is_dirty()) {
      violate("O6", name + " without the dirty bit: " + after.text());
    }
    judge_reachable(after, change.tag);
  } else {
    violate("O5", name + ": " + why);
  }
  durable_.rollback(mark);
}

// Whether nobody has written to the cluster since it became unreachable: what a freeze keeps stands
// there, until the header publishes it.
bool OrderStorage::is_untouched(std::uint64_t index) {
  const std::uint64_t ended = sector(index).ended;
  const std::uint64_t sectors = cluster_bytes_ / kSectorBytes;
  const std::uint64_t first = index / sectors * sectors;
  for (std::uint64_t i = first; i < first + sectors; ++i) {
    if (sector(i).touched > ended) {
      return false;
    }
  }
  return true;
}

// Whether what is in the air overwrites zeros in place: the sector was fresh (O8), and the write
// that came with its cluster is durable.
bool OrderStorage::is_overwritten(const ReferenceReport& after, std::uint64_t index) {
  const std::uint64_t cluster = index * kSectorBytes / cluster_bytes_;
  const std::uint64_t first = cluster * cluster_bytes_ / kSectorBytes;
  if (sector(index).stale || after.uses[static_cast<std::size_t>(cluster)] !=
                                 static_cast<std::uint16_t>(ReferenceUse::data)) {
    return false;
  }
  for (std::uint64_t i = first; i < first + cluster_bytes_ / kSectorBytes; ++i) {
    if (sector(i).written) {
      return true;
    }
  }
  return false;
}

// What a write makes reachable has to be there.
void OrderStorage::judge_reachable(const ReferenceReport& after, IoTag tag) {
  for (std::uint64_t i = 0; i < after.reachable.size(); ++i) {
    if (!after.reachable[static_cast<std::size_t>(i)]) {
      continue;
    }
    const Sector kept = sector(i);
    const bool is_published = tag == IoTag::header && kept.stale && is_untouched(i);
    if (kept.reachable || kept.written || is_published) {
      continue;
    }
    const std::string where = std::string(io_tag_name(tag)) + " makes the sector at " +
                              std::to_string(i * kSectorBytes) + " reachable, ";
    if (is_in_the_air(i) && !is_overwritten(after, i)) {
      violate(rule_of_content(tag), where + "whose content is in the air");
    } else if (kept.stale) {
      violate("O8", where + "which holds bytes of another life");
    }
  }
}

}  // namespace varve::model
