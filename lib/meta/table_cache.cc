#include "meta/table_cache.h"

#include <algorithm>
#include <new>

#include "base/failure.h"
#include "meta/batch.h"

namespace varve {
namespace {

// Of the tables not used since they were queued, the one used longest ago is given up of so many.
constexpr unsigned kCandidates = 8;

}  // namespace

Bytes TableCache::Table::edit(std::uint64_t begin, std::uint64_t end) noexcept {
  VARVE_ASSERT(state_ == State::ready && begin < end && end <= buffer_.size());
  if (dirty_end_ == 0) {
    ++cache_->dirty_count_;
    dirty_begin_ = begin;
    dirty_end_ = end;
    cache_->queue(*this);
  } else {
    dirty_begin_ = std::min(dirty_begin_, begin);
    dirty_end_ = std::max(dirty_end_, end);
  }
  is_early_ = false;
  return buffer_.bytes();
}

Bytes TableCache::Table::edit_early(std::uint64_t begin, std::uint64_t end) noexcept {
  const bool is_early = !is_dirty() || is_early_;
  const Bytes bytes = edit(begin, end);
  is_early_ = is_early;
  return bytes;
}

TableCache::TableCache(Storage& storage, Image::Counters& counters, IoTag tag,
                       std::uint64_t table_bytes) noexcept
    : storage_(&storage), counters_(&counters), tag_(tag), table_bytes_(table_bytes) {}

TableCache::~TableCache() {
  for (const auto& table : tables_) {
    VARVE_ASSERT(table->state_ != Table::State::loading);
    if (table->is_linked()) {
      List<Table>::remove(*table);
    }
  }
}

Result<void> TableCache::reserve(std::size_t capacity) noexcept {
  capacity_ = std::max<std::size_t>(capacity, 2);
  std::size_t buckets = 16;
  while (buckets < capacity_) {
    buckets *= 2;
  }
  try {
    buckets_.assign(buckets, nullptr);
    tables_.reserve(std::min<std::size_t>(capacity_, 64));
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot allocate a table cache");
  }
  return {};
}

std::size_t TableCache::bucket(HostOffset offset) const noexcept {
  const std::uint64_t mixed = (offset.value() / table_bytes_) * 0x9e3779b97f4a7c15u;
  return static_cast<std::size_t>(mixed >> 32) & (buckets_.size() - 1);
}

TableCache::Table* TableCache::lookup(HostOffset offset) const noexcept {
  for (Table* table = buckets_[bucket(offset)]; table != nullptr; table = table->hash_next_) {
    if (table->offset_ == offset) {
      return table;
    }
  }
  return nullptr;
}

TableCache::Table* TableCache::find_quietly(HostOffset offset) noexcept {
  Table* table = lookup(offset);
  return table == nullptr || table->state_ != Table::State::ready ? nullptr : table;
}

TableCache::Table* TableCache::find(HostOffset offset) noexcept {
  // Most requests ask for the table of the one before. Tables live as long as the cache.
  const bool is_last = last_found_ != nullptr && last_found_->offset_ == offset;
  Table* table = is_last ? last_found_ : lookup(offset);
  if (table == nullptr || table->state_ != Table::State::ready) {
    return nullptr;
  }
  last_found_ = table;
  table->last_use_ = ++clock_;
  ++hits_;
  return table;
}

void TableCache::link(Table& table, HostOffset offset) noexcept {
  table.offset_ = offset;
  Table*& head = buckets_[bucket(offset)];
  table.hash_next_ = head;
  head = &table;
  table.last_use_ = ++clock_;
}

void TableCache::unlink(Table& table) noexcept {
  Table** place = &buckets_[bucket(table.offset_)];
  while (*place != &table) {
    place = &(*place)->hash_next_;
  }
  *place = table.hash_next_;
  table.hash_next_ = nullptr;
  set_clean(table);
  table.is_kept_ = false;
  table.state_ = Table::State::empty;
  last_found_ = last_found_ == &table ? nullptr : last_found_;
  if (table.is_linked()) {
    List<Table>::remove(table);
  }
  empty_.push_back(table);
}

void TableCache::set_clean(Table& table) noexcept {
  if (table.dirty_end_ != 0) {
    --dirty_count_;
    table.dirty_begin_ = 0;
    table.dirty_end_ = 0;
    table.is_early_ = false;
  }
}

// One more table while fewer than the capacity exist.
bool TableCache::grow() noexcept {
  if (tables_.size() >= capacity_) {
    return false;
  }
  try {
    auto buffer = Buffer::allocate(table_bytes_);
    if (!buffer) {
      return false;
    }
    auto table = std::make_unique<Table>();
    table->buffer_ = std::move(*buffer);
    table->cache_ = this;
    tables_.push_back(std::move(table));
    empty_.push_back(*tables_.back());
    return true;
  } catch (const std::bad_alloc&) {
    return false;  // Make do with the tables there are.
  }
}

void TableCache::queue(Table& table) noexcept {
  const bool can_go = table.state_ == Table::State::ready && table.writers_ == 0 &&
                      !table.is_dirty() && !table.is_kept_;
  if (can_go == table.is_linked()) {
    return;
  }
  if (can_go) {
    table.queued_at_ = clock_;
    (table.last_use_ == 0 ? walked_ : used_).push_back(table);
  } else {
    List<Table>::remove(table);
  }
}

TableCache::Table* TableCache::find_walked(const Table* keep) noexcept {
  Table* table = walked_.front();
  while (table != nullptr && (table->last_use_ != 0 || table == keep)) {
    Table* const next = walked_.next(*table);
    ++looked_at_;
    if (table->last_use_ != 0) {
      List<Table>::remove(*table);
      used_.push_back(*table);
    }
    table = next;
  }
  return table;
}

// Each table that is moved was used since it was queued: moving costs a use no more than noting it.
TableCache::Table* TableCache::find_oldest(const Table* keep) noexcept {
  Table* oldest = nullptr;
  unsigned candidates = 0;
  Table* table = used_.front();
  while (table != nullptr && candidates < kCandidates) {
    Table* next = used_.next(*table);
    ++looked_at_;
    if (table->last_use_ > table->queued_at_) {
      table->queued_at_ = clock_;
      List<Table>::remove(*table);
      used_.push_back(*table);
      next = next == nullptr ? table : next;
    } else if (table != keep) {
      ++candidates;
      oldest = oldest == nullptr || table->last_use_ < oldest->last_use_ ? table : oldest;
    }
    table = next;
  }
  return oldest;
}

TableCache::Table* TableCache::take_empty() noexcept {
  return empty_.pop_front();
}

TableCache::Table* TableCache::take_slot(const Table* keep) noexcept {
  if (empty_.empty() && !grow()) {
    Table* walked = find_walked(keep);
    Table* table = walked != nullptr ? walked : find_oldest(keep);
    if (table == nullptr) {
      return nullptr;
    }
    unlink(*table);
  }
  return take_empty();
}

bool TableCache::can_make() noexcept {
  return !empty_.empty() || !walked_.empty() || !used_.empty() || grow();
}

TableCache::LoadOutcome TableCache::load(HostOffset offset, Waiter& waiter) noexcept {
  Table* table = lookup(offset);
  VARVE_ASSERT(table == nullptr || table->state_ == Table::State::loading);
  if (table != nullptr) {
    table->waiters_.add(waiter);
    return LoadOutcome::started;
  }
  return load_into(take_slot(), offset, waiter);
}

TableCache::LoadOutcome TableCache::load_into(Table* table, HostOffset offset,
                                              Waiter& waiter) noexcept {
  if (table == nullptr) {
    return tables_.empty() ? LoadOutcome::no_memory : LoadOutcome::no_room;
  }
  link(*table, offset);
  table->state_ = Table::State::loading;
  ++loading_count_;
  ++loads_;
  table->vector_ = {table->buffer_.data(), static_cast<std::size_t>(table_bytes_)};
  table->request_ = StorageRequest();
  table->request_.operation = StorageOperation::read;
  table->request_.tag = tag_;
  table->request_.offset = offset.value();
  table->request_.vectors = &table->vector_;
  table->request_.vector_count = 1;
  table->request_.owner = table;
  table->request_.complete = &TableCache::loaded;
  table->waiters_.add(waiter);
  count_request(*counters_, table->request_);
  storage_->submit(table->request_);
  return LoadOutcome::started;
}

TableCache::Table* TableCache::take_walked_slot() noexcept {
  Table* table = find_walked(nullptr);
  if (table == nullptr) {
    return take_slot();
  }
  unlink(*table);
  return take_empty();
}

TableCache::LoadOutcome TableCache::load_for_walk(HostOffset offset, Waiter& waiter) noexcept {
  VARVE_ASSERT(lookup(offset) == nullptr);
  const LoadOutcome outcome = load_into(take_walked_slot(), offset, waiter);
  if (outcome == LoadOutcome::started) {
    Table* table = lookup(offset);
    table->is_kept_ = true;
    table->last_use_ = 0;
  }
  return outcome;
}

void TableCache::let_go(HostOffset offset) noexcept {
  if (Table* table = lookup(offset)) {
    table->is_kept_ = false;
    queue(*table);
  }
}

void TableCache::loaded(StorageRequest& request, const Result<void>& result) noexcept {
  Table& table = *static_cast<Table*>(request.owner);
  --table.cache_->loading_count_;
  WaitList waiters;
  waiters.splice_back(table.waiters_);
  if (result) {
    table.state_ = Table::State::ready;
    table.cache_->queue(table);
  } else {
    table.cache_->unlink(table);
  }
  waiters.wake_all(result);
}

TableCache::Table* TableCache::make(HostOffset offset) noexcept {
  VARVE_ASSERT(lookup(offset) == nullptr);
  Table* table = take_slot();
  if (table != nullptr) {
    link(*table, offset);
    table->state_ = Table::State::ready;
    zero_bytes(table->edit(0, table_bytes_));
  }
  return table;
}

bool TableCache::can_copy(Table& source) noexcept {
  return (!source.is_dirty() && source.writers_ == 0) || can_make();
}

TableCache::Table& TableCache::copy(Table& source, HostOffset offset) noexcept {
  VARVE_ASSERT(lookup(offset) == nullptr);
  Table* table = take_slot(&source);
  if (table != nullptr) {
    copy_bytes(table->buffer_.bytes(), source.bytes());
  } else {
    unlink(source);
    table = &source;
    List<Table>::remove(source);
  }
  link(*table, offset);
  table->state_ = Table::State::ready;
  static_cast<void>(table->edit(0, table_bytes_));
  return *table;
}

bool TableCache::forget(HostOffset offset) noexcept {
  Table* table = lookup(offset);
  if (table == nullptr) {
    return true;
  }
  if (table->state_ == Table::State::loading || table->writers_ != 0) {
    return false;
  }
  unlink(*table);
  return true;
}

TableCache::Table* TableCache::next_dirty(std::size_t& cursor, bool early_only) noexcept {
  while (cursor < tables_.size()) {
    Table& table = *tables_[cursor++];
    if (table.state_ == Table::State::ready && table.is_dirty() &&
        (table.is_early_ || !early_only)) {
      return &table;
    }
  }
  return nullptr;
}

TableCache::DirtySpan TableCache::begin_write(Table& table) noexcept {
  const DirtySpan span = table.dirty_span();
  set_clean(table);
  ++table.writers_;
  return span;
}

void TableCache::end_write(HostOffset offset, DirtySpan span, bool written) noexcept {
  Table* table = lookup(offset);
  VARVE_ASSERT(table != nullptr && table->writers_ != 0);
  --table->writers_;
  if (!written) {
    static_cast<void>(span.is_early ? table->edit_early(span.begin, span.end)
                                    : table->edit(span.begin, span.end));
  }
  queue(*table);
}

}  // namespace varve
