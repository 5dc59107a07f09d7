#include "meta/tree_walk.h"

#include <algorithm>
#include <new>
#include <utility>

#include "base/failure.h"
#include "base/try.h"

namespace varve {
namespace {

// A window: so many bytes of tables, so many entries.
constexpr std::uint64_t kWindowBytes = 4 * kMiB;
constexpr std::uint64_t kWindowEntries = 512 * 1024;
// Of a probe, which is in a hurry: memory touched for the first time costs more than reading into
// it.
constexpr std::uint64_t kProbeBytes = kMiB;

// A slice of work: entries looked at and items applied, some 50 microseconds.
constexpr std::uint64_t kSlice = 24 * 1024;
// What one more item or stretch of counts costs, in entries.
constexpr std::uint64_t kItemWork = 16;
// After a slice busy guests begin so many requests, within so many turns of the loop.
constexpr std::uint64_t kRequestsBetween = 64;
constexpr unsigned kTurnsBetween = 8;

// Empty slots looked at in one go.
constexpr std::uint64_t kSlotsAtOnce = 64 * 1024;

bool is_same_table(const std::vector<std::uint64_t>* other, std::uint64_t slot,
                   HostOffset table) noexcept {
  return other != nullptr && slot < other->size() && L1Entry((*other)[slot]).offset() == table;
}

constexpr Need kTurn{Need::Kind::turn, HostOffset(), 0};

}  // namespace

TreeWalk::TreeWalk(Metadata& metadata) noexcept : metadata_(&metadata), items_(metadata) {
  for (Prefetch& prefetch : prefetches_) {
    prefetch.walk = this;
  }
  early_write_.walk = this;
}

bool TreeWalk::is_visited(std::uint64_t slot) const noexcept {
  const L1Entry entry((*plan_.l1)[slot]);
  if (!entry.is_allocated() || is_same_table(plan_.other, slot, entry.offset())) {
    return false;
  }
  if (plan_.added == nullptr || plan_.change != Change::drop) {
    return plan_.added == nullptr || !(*plan_.added)[slot];
  }
  return (*plan_.added)[slot] ||
         (plan_.sets_flags && !is_same_table(&metadata_->l1.entries(), slot, entry.offset()));
}

void TreeWalk::start(const Plan& plan, Waiter& done) noexcept {
  VARVE_ASSERT(step_ == Step::idle);
  plan_ = plan;
  done_ = &done;
  error_.reset();
  is_stopped_ = false;
  early_write_.result = Result<void>();
  next_slot_ = 0;
  work_ = 0;
  is_stepping_back_ = false;
  needs_round_ = false;
  has_room_ = true;
  tables_done_ = 0;
  tables_total_ = 0;
  for (std::uint64_t slot = 0; slot < plan_.l1->size(); ++slot) {
    tables_total_ += is_visited(slot) ? 1 : 0;
  }
  const std::uint64_t table_bytes = metadata_->geometry.cluster_bytes();
  const std::uint64_t window_bytes = plan_.change == Change::probe ? kProbeBytes : kWindowBytes;
  window_max_ = std::max<std::uint64_t>(
      1, std::min({window_bytes / table_bytes, kWindowEntries / metadata_->geometry.l2_entries(),
                   static_cast<std::uint64_t>(metadata_->l2.capacity()) / 4}));
  step_ = Step::choosing;
  const Result<void> reserved = items_.reserve();
  try {
    window_.reserve(window_max_);
  } catch (const std::bad_alloc&) {
    error_ = failure(ErrorCode::no_memory, "cannot allocate a walk");
  }
  if (!reserved || error_) {
    error_ = error_ ? error_ : reserved.error();
    step_ = Step::finishing;
  }
  metadata_->defer(*this, {});
}

void TreeWalk::resume(const Result<void>& result) noexcept {
  if (!result) {
    fail(result.error());
  }
  run();
}

// Guests have their turn: busy ones get a share of the thread, idle ones cost nothing.
bool TreeWalk::is_pacing() noexcept {
  if (!is_stepping_back_) {
    return false;
  }
  const std::uint64_t entered = metadata_->eras.entered();
  is_stepping_back_ = entered != entered_last_ && ++turns_ < kTurnsBetween &&
                      entered - entered_at_first_ < kRequestsBetween;
  entered_last_ = entered;
  return is_stepping_back_;
}

void TreeWalk::run() noexcept {
  if (is_pacing()) {
    metadata_->defer(*this, {});
    return;
  }
  while (true) {
    if (is_stopped_ && plan_.change != Change::drop && !error_) {
      fail(failure(ErrorCode::cancelled, "the walk was stopped"));
    }
    const Answer<Nothing> answer = perform();
    if (const Need* need = answer.need()) {
      if (need->kind == Need::Kind::turn) {
        work_ = 0;
        turns_ = 0;
        is_stepping_back_ = true;
        entered_at_first_ = entered_last_ = metadata_->eras.entered();
      }
      metadata_->satisfy(*need, *this);
      return;
    }
    if (const Error* error = answer.error()) {
      fail(*error);
      continue;
    }
    if (step_ == Step::writing && !start_early_write()) {
      return;
    }
    if (step_ == Step::finishing) {
      finish();
      return;
    }
  }
}

// One step to its end. Nothing: go on with what step_ says now.
Answer<Nothing> TreeWalk::perform() noexcept {
  switch (step_) {
    case Step::choosing:
      return choose();
    case Step::collecting:
      VARVE_ASK(collect());
      step_ = Step::applying;
      block_ = 0;
      is_block_begun_ = false;
      applied_ = 0;
      is_written_ = false;
      return Nothing();
    case Step::applying:
      VARVE_ASK(apply());
      if (plan_.change != Change::drop && plan_.added != nullptr) {
        for (const Visit& visit : window_) {
          (*plan_.added)[visit.slot] = true;
        }
      }
      flagged_ = 0;
      step_ = Step::flagging;
      if (plan_.change == Change::probe) {
        leave_window();
      }
      return Nothing();
    case Step::flagging:
      return clear_flags();
    case Step::writing:
      return Nothing();
    case Step::reverting:
      return revert();
    case Step::finishing:
      return Nothing();
    case Step::idle:
      break;
  }
  VARVE_ASSERT(false);
}

void TreeWalk::fail(const Error& error) noexcept {
  if (!error_) {
    error_ = error;
  }
  if (step_ == Step::applying && plan_.change == Change::add && applied_ != 0) {
    step_ = Step::reverting;
    block_ = 0;
    is_block_begun_ = false;
    reverted_ = 0;
  } else {
    step_ = Step::finishing;
  }
}

// The window is done with: it is written while the next one is read. False: the write before it
// must end first.
bool TreeWalk::start_early_write() noexcept {
  if (early_write_.is_running) {
    is_waiting_for_write_ = true;
    return false;
  }
  if (!early_write_.result) {
    fail(early_write_.result.error());
    return true;
  }
  leave_window();
  early_write_.is_running = true;
  metadata_->commit.write_early(early_write_);
  return true;
}

void TreeWalk::leave_window() noexcept {
  tables_done_ += window_.size();
  let_go();
  step_ = Step::choosing;
}

void TreeWalk::EarlyWrite::resume(const Result<void>& outcome) noexcept {
  is_running = false;
  result = outcome;
  if (std::exchange(walk->is_waiting_for_write_, false)) {
    walk->run();
  } else {
    walk->finish_when_idle();
  }
}

void TreeWalk::Prefetch::resume(const Result<void>&) noexcept {
  is_busy = false;
  --walk->prefetching_;
  walk->finish_when_idle();
}

void TreeWalk::finish_when_idle() noexcept {
  if (is_waiting_to_finish_ && prefetching_ == 0 && !early_write_.is_running) {
    finish();
  }
}

void TreeWalk::finish() noexcept {
  is_waiting_to_finish_ = prefetching_ != 0 || early_write_.is_running;
  if (is_waiting_to_finish_) {
    return;
  }
  if (!early_write_.result && !error_) {
    error_ = early_write_.result.error();
  }
  let_go();
  step_ = Step::idle;
  const Result<void> outcome = error_ ? Result<void>(*error_) : Result<void>();
  done_->resume(outcome);
}

std::uint64_t TreeWalk::prefetch_depth(const TableCache& cache) const noexcept {
  return std::min<std::uint64_t>(kPrefetches, cache.capacity() / 4);
}

void TreeWalk::prefetch(TableCache& cache, HostOffset offset) noexcept {
  if (cache.holds(offset) || offset.value() >= metadata_->file->size()) {
    return;
  }
  for (Prefetch& prefetch : prefetches_) {
    if (!prefetch.is_busy) {
      if (cache.load_for_walk(offset, prefetch) == TableCache::LoadOutcome::started) {
        prefetch.is_busy = true;
        ++prefetching_;
      }
      return;
    }
  }
}

// The window's tables and blocks are like any other now.
void TreeWalk::let_go() noexcept {
  for (const Visit& visit : window_) {
    metadata_->l2.let_go(visit.table);
  }
  for (const std::uint32_t block : items_.blocks()) {
    metadata_->refcounts.blocks().let_go(HostOffset(metadata_->refcounts.table()[block]));
  }
  window_.clear();
  items_.clear();
}

Answer<Nothing> TreeWalk::choose() noexcept {
  const std::vector<std::uint64_t>& l1 = *plan_.l1;
  std::uint64_t looked = 0;
  for (; next_slot_ < l1.size() && window_.size() < window_max_; ++next_slot_) {
    if (!is_visited(next_slot_)) {
      if (++looked > kSlotsAtOnce) {
        return kTurn;
      }
      continue;
    }
    const L1Entry entry(l1[next_slot_]);
    const Result<void> valid =
        entry.validate(metadata_->geometry, plan_.where + next_slot_ * sizeof(std::uint64_t));
    if (!valid) {
      return valid.error();
    }
    const bool drops =
        plan_.change != Change::drop || plan_.added == nullptr || (*plan_.added)[next_slot_];
    window_.push_back({next_slot_, entry.offset(), drops, false, false});
  }
  collected_ = 0;
  step_ = window_.empty() ? Step::finishing : Step::collecting;
  return Nothing();
}

Answer<Nothing> TreeWalk::collect() noexcept {
  const std::uint64_t depth = prefetch_depth(metadata_->l2);
  for (; collected_ < window_.size(); ++collected_) {
    if (work_ >= kSlice) {
      return kTurn;
    }
    const std::size_t ahead = std::min<std::size_t>(window_.size(), collected_ + depth);
    for (std::size_t i = collected_; i < ahead; ++i) {
      prefetch(metadata_->l2, window_[i].table);
    }
    Visit& visit = window_[collected_];
    TableCache::Table* table = metadata_->l2.find_quietly(visit.table);
    if (table == nullptr && visit.table.value() >= metadata_->file->size()) {
      return corrupt_at(Corruption::table_beyond_end_of_file, IoTag::l2, visit.table.value(),
                        "L2 table lies beyond the end of the file", visit.table.value(),
                        metadata_->file->size());
    }
    if (table == nullptr) {
      return Need{Need::Kind::l2_table, visit.table, 0};
    }
    const Result<bool> has_copied =
        items_.take_table(static_cast<std::uint32_t>(collected_), visit.table, table->bytes());
    if (!has_copied) {
      return has_copied.error();
    }
    visit.has_copied = *has_copied;
    work_ += metadata_->geometry.l2_entries();
  }
  return Nothing();
}

// Takes back what was applied of the window. An error leaves the rest counted too high: leaks.
Answer<Nothing> TreeWalk::revert() noexcept {
  const Answer<Nothing> answer = apply();
  if (answer.has_value()) {
    step_ = Step::finishing;
  }
  return answer;
}

// The window's changes of counts, block by block; reverting the same way as far as it had come.
Answer<Nothing> TreeWalk::apply() noexcept {
  const std::vector<std::uint32_t>& blocks = items_.blocks();
  TableCache& cache = metadata_->refcounts.blocks();
  const std::uint64_t depth = prefetch_depth(cache);
  for (; block_ < blocks.size(); ++block_) {
    if (plan_.change != Change::probe && cache.dirty_count() > cache.capacity() / 2 &&
        !std::exchange(is_written_, true)) {
      return Need{Need::Kind::early_write, HostOffset(), 0};
    }
    const std::size_t ahead = std::min<std::size_t>(blocks.size(), block_ + depth);
    for (std::size_t i = block_; i < ahead; ++i) {
      prefetch(cache, HostOffset(metadata_->refcounts.table()[blocks[i]]));
    }
    VARVE_ASK(apply_block(blocks[block_]));
    cache.let_go(HostOffset(metadata_->refcounts.table()[blocks[block_]]));
    is_written_ = false;
    if (step_ == Step::reverting && reverted_ == applied_) {
      break;
    }
  }
  return Nothing();
}

Answer<Nothing> TreeWalk::apply_block(std::uint32_t block) noexcept {
  if (!is_block_begun_) {
    item_ = items_.first_of(block);
    is_block_begun_ = true;
  }
  while (item_ != WalkItem::kNone) {
    if (work_ >= kSlice) {
      return kTurn;
    }
    const bool is_reverting = step_ == Step::reverting;
    if (is_reverting && reverted_ == applied_) {
      break;
    }
    WalkItem& item = items_.item(item_);
    VARVE_ASK(is_reverting ? metadata_->refcounts.subtract(HostCluster(item.cluster), item.count)
                           : apply_item(item));
    ++(is_reverting ? reverted_ : applied_);
    work_ += kItemWork + item.count / kItemWork;
    item_ = item.next;
  }
  is_block_begun_ = false;
  return Nothing();
}

Answer<Nothing> TreeWalk::apply_item(WalkItem& item) noexcept {
  if (plan_.change == Change::add) {
    return metadata_->store.share({HostCluster(item.cluster), item.count});
  }
  if (plan_.change == Change::probe) {
    const bool has_room =
        VARVE_ASK(metadata_->refcounts.can_double(HostCluster(item.cluster), item.count));
    has_room_ = has_room_ && has_room;
    return Nothing();
  }
  VARVE_ASK(drop_table(window_[item.table], item.table));
  while (item.count != 0 && item.entry != WalkItem::kTable) {
    VARVE_ASK(drop_stretch(item));
  }
  return Nothing();
}

// A table goes before what it maps: once it is the active disk's own, guests change it instead of
// copying it, and no flag that is set in it here is lost with a copy.
Answer<Nothing> TreeWalk::drop_table(Visit& visit, std::uint32_t index) noexcept {
  if (!visit.is_table_dropped) {
    WalkItem own{metadata_->geometry.cluster_of(visit.table).value(), 1, index, WalkItem::kTable,
                 WalkItem::kNone};
    VARVE_ASK(drop_stretch(own));
    visit.is_table_dropped = true;
  }
  return Nothing();
}

// Drops one reference from a stretch of equal counts at the front of the item.
Answer<Nothing> TreeWalk::drop_stretch(WalkItem& item) noexcept {
  Refcounts& refcounts = metadata_->refcounts;
  const Geometry& geometry = refcounts.geometry();
  const bool drops = window_[item.table].drops;
  TableCache::Table* block =
      VARVE_ASK(refcounts.block(geometry.refcount_block_index(HostCluster(item.cluster))));
  const std::uint64_t index = item.cluster % geometry.refcounts_per_block();
  const std::uint64_t count = load_refcount(geometry, block->bytes(), index);
  const auto stretch =
      static_cast<std::uint32_t>(equal_run(geometry, block->bytes(), index, item.count, count));
  const ClusterRun run{HostCluster(item.cluster), stretch};
  TableCache::Table* active = nullptr;
  const HostOffset owner = count == (drops ? 2 : 1) ? owning_table(item) : HostOffset();
  if (owner != HostOffset()) {
    active = metadata_->l2.find_quietly(owner);
    if (active == nullptr) {
      return Need{Need::Kind::l2_table, owner, 0};
    }
  }
  if (drops && count == 1) {
    // What a damaged entry shares with a table of the image must not become free with it.
    const bool is_given_up = item.entry == WalkItem::kTable && !is_active_table(item);
    const IoTag tag = is_given_up ? IoTag::l2 : IoTag::guest_data;
    const Result<void> admitted =
        metadata_->guard.admit(run, tag, HostOffset(window_[item.table].table));
    if (!admitted) {
      return admitted.error();
    }
    VARVE_ASK(metadata_->store.has_room_for_durable_drop());
    metadata_->store.release_durable(run);
  } else if (drops) {
    VARVE_TRY(refcounts.subtract(*block, run.first, stretch));
  }
  if (active != nullptr) {
    set_flags(*active, item, stretch);
  }
  item.cluster += stretch;
  item.count -= stretch;
  item.entry += item.entry < WalkItem::kTable ? stretch : 0;
  work_ += kItemWork + stretch;
  return Nothing();
}

// Whether the active disk has the same table: whatever its count says, it is not the walk's alone.
bool TreeWalk::is_active_table(const WalkItem& item) const noexcept {
  const std::uint64_t slot = window_[item.table].slot;
  return slot < metadata_->l1.size() &&
         metadata_->geometry.cluster_of(metadata_->l1.entry(slot).offset()).value() == item.cluster;
}

// The table of the active disk that may own the item's clusters from now on; 0: none does.
HostOffset TreeWalk::owning_table(const WalkItem& item) const noexcept {
  const std::uint64_t slot = window_[item.table].slot;
  if (!plan_.sets_flags || item.entry == WalkItem::kNone || slot >= metadata_->l1.size()) {
    return HostOffset();
  }
  const L1Entry entry = metadata_->l1.entry(slot);
  const bool is_sound = entry.is_allocated() &&
                        entry.validate(metadata_->geometry, metadata_->l1.offset_of(slot)) &&
                        entry.offset().value() < metadata_->file->size();
  return is_sound ? entry.offset() : HostOffset();
}

void TreeWalk::set_flags(TableCache::Table& active, const WalkItem& item,
                         std::uint32_t count) noexcept {
  const Geometry& geometry = metadata_->geometry;
  const std::uint64_t slot = window_[item.table].slot;
  if (item.entry == WalkItem::kTable) {
    const L1Entry entry = metadata_->l1.entry(slot);
    if (geometry.cluster_of(entry.offset()).value() == item.cluster && !entry.is_copied()) {
      metadata_->l1.set(slot, L1Entry::table(entry.offset(), true));
    }
    return;
  }
  const std::uint32_t bits = geometry.l2_entry_bits();
  const std::uint64_t begin = std::uint64_t{item.entry} << bits;
  const auto is_owner = [&](std::uint64_t i) {
    const auto raw = load_be<std::uint64_t>(active.bytes(), begin + (i << bits));
    return (raw & L2Entry::kCompressed) == 0 &&
           (raw & L2Entry::kOffsetMask) >> geometry.cluster_bits == item.cluster + i;
  };
  std::uint64_t i = 0;
  while (i < count && !is_owner(i)) {
    ++i;
  }
  if (i == count) {
    return;
  }
  const Bytes bytes = active.edit_early(begin, begin + (std::uint64_t{count} << bits));
  for (; i < count; ++i) {
    if (is_owner(i)) {
      const std::uint64_t at = begin + (i << bits);
      store_be(bytes, at, load_be<std::uint64_t>(bytes, at) | L2Entry::kCopied);
    }
  }
}

// A shared table's clusters are shared: no in-place writes.
Answer<Nothing> TreeWalk::clear_flags() noexcept {
  const Geometry& geometry = metadata_->geometry;
  for (; flagged_ < window_.size(); ++flagged_) {
    if (plan_.change == Change::drop || !window_[flagged_].has_copied) {
      continue;
    }
    if (work_ >= kSlice) {
      return kTurn;
    }
    TableCache::Table* table = metadata_->l2.find_quietly(window_[flagged_].table);
    if (table == nullptr) {
      return Need{Need::Kind::l2_table, window_[flagged_].table, 0};
    }
    needs_round_ = needs_round_ || (table->is_dirty() && !table->is_early());
    const Bytes bytes = table->edit_early(0, geometry.cluster_bytes());
    for (std::uint64_t index = 0; index < geometry.l2_entries(); ++index) {
      const std::uint64_t at = index << geometry.l2_entry_bits();
      const auto raw = load_be<std::uint64_t>(bytes, at);
      if ((raw & L2Entry::kCompressed) == 0) {
        store_be(bytes, at, raw & ~L2Entry::kCopied);
      }
    }
    work_ += geometry.l2_entries();
  }
  step_ = Step::writing;
  return Nothing();
}

}  // namespace varve
