#include "meta/table_cache.h"

#include <algorithm>
#include <new>

#include "base/failure.h"
#include "meta/batch.h"

namespace varve {

Bytes TableCache::Table::edit(std::uint64_t begin, std::uint64_t end) noexcept {
  VARVE_ASSERT(state_ == State::ready && begin < end && end <= buffer_.size());
  if (dirty_end_ == 0) {
    ++cache_->dirty_count_;
    dirty_begin_ = begin;
    dirty_end_ = end;
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
  Table* table = lookup(offset);
  if (table == nullptr || table->state_ != Table::State::ready) {
    return nullptr;
  }
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
    return true;
  } catch (const std::bad_alloc&) {
    return false;  // Make do with the tables there are.
  }
}

// An empty table, else the clean one used longest ago.
TableCache::Table* TableCache::find_victim(const Table* keep) noexcept {
  Table* victim = nullptr;
  for (const auto& table : tables_) {
    if (table->state_ == Table::State::empty) {
      return table.get();
    }
    const bool is_busy = table->writers_ != 0 || table->is_dirty() ||
                         table->state_ == Table::State::loading || table->is_kept_ ||
                         table.get() == keep;
    if (!is_busy && (victim == nullptr || table->last_use_ < victim->last_use_)) {
      victim = table.get();
    }
  }
  return victim;
}

TableCache::Table* TableCache::take_slot(const Table* keep) noexcept {
  Table* table = grow() ? tables_.back().get() : find_victim(keep);
  if (table != nullptr && table->state_ != Table::State::empty) {
    unlink(*table);
  }
  return table;
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
  for (std::size_t i = 0; i < tables_.size(); ++i) {
    walked_ = walked_ + 1 < tables_.size() ? walked_ + 1 : 0;
    Table& table = *tables_[walked_];
    if (table.state_ == Table::State::ready && table.last_use_ == 0 && !table.is_kept_ &&
        !table.is_dirty() && table.writers_ == 0) {
      unlink(table);
      return &table;
    }
  }
  return take_slot();
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
  }
}

void TableCache::loaded(StorageRequest& request, const Result<void>& result) noexcept {
  Table& table = *static_cast<Table*>(request.owner);
  --table.cache_->loading_count_;
  WaitList waiters;
  waiters.splice_back(table.waiters_);
  if (result) {
    table.state_ = Table::State::ready;
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

bool TableCache::can_make() noexcept {
  return find_victim(nullptr) != nullptr || grow();
}

bool TableCache::can_copy(Table& source) noexcept {
  return (!source.is_dirty() && source.writers_ == 0) || find_victim(&source) != nullptr || grow();
}

TableCache::Table& TableCache::copy(Table& source, HostOffset offset) noexcept {
  VARVE_ASSERT(lookup(offset) == nullptr);
  Table* table = take_slot(&source);
  if (table != nullptr) {
    copy_bytes(table->buffer_.bytes(), source.bytes());
  } else {
    unlink(source);
    table = &source;
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
}

}  // namespace varve
