#include "meta/refcounts.h"

#include <algorithm>

#include "base/failure.h"
#include "base/try.h"

namespace varve {

Result<void> Refcounts::reserve(std::vector<std::uint64_t> table, HostOffset table_offset,
                                std::size_t cache_blocks) noexcept {
  table_ = std::move(table);
  table_offset_ = table_offset;
  return blocks_.reserve(cache_blocks);
}

std::uint64_t Refcounts::block_end() const noexcept {
  std::uint64_t end = table_.size();
  while (end != 0 && table_[end - 1] == 0) {
    --end;
  }
  return end;
}

Result<HostOffset> Refcounts::place_of(std::uint64_t index) const noexcept {
  VARVE_ASSERT(has_block(index));
  const HostOffset offset(table_[index]);
  if (!is_aligned(offset.value(), geometry_.cluster_bytes()) || offset.value() >= kHostOffsetEnd) {
    return corrupt_at(Corruption::refcount_block_unaligned, IoTag::refcount_table,
                      table_offset_.value() + index * 8, "refcount block offset is not a cluster's",
                      offset.value());
  }
  return offset;
}

Answer<TableCache::Table*> Refcounts::block(std::uint64_t index) noexcept {
  const HostOffset offset = VARVE_TRY(place_of(index));
  TableCache::Table* table = blocks_.find(offset);
  if (table == nullptr) {
    return Need{Need::Kind::refcount_block, offset, 0};
  }
  return table;
}

Answer<std::uint64_t> Refcounts::count(HostCluster cluster) noexcept {
  const std::uint64_t index = geometry_.refcount_block_index(cluster);
  if (!has_block(index)) {
    return std::uint64_t{0};
  }
  TableCache::Table* table = VARVE_ASK(block(index));
  return load_refcount(geometry_, table->bytes(),
                       cluster.value() % geometry_.refcounts_per_block());
}

std::uint64_t Refcounts::in_one_block(HostCluster first, std::uint64_t count) const noexcept {
  const std::uint64_t per_block = geometry_.refcounts_per_block();
  return std::min(count, per_block - first.value() % per_block);
}

Refcounts::Span Refcounts::span_of(std::uint64_t index, std::uint64_t count) const noexcept {
  const std::uint64_t bits = geometry_.refcount_bits();
  return {index * bits / 8, divide_up((index + count) * bits, 8)};
}

Error Refcounts::not_counted(const TableCache::Table& table, HostCluster first,
                             std::uint64_t index) const noexcept {
  const std::uint64_t base = round_down(first.value(), geometry_.refcounts_per_block());
  return corrupt_at(Corruption::refcount_too_low, IoTag::refcount_block,
                    table.offset().value() + span_of(index, 1).begin,
                    "a referenced cluster has refcount 0; cluster", base + index);
}

Answer<bool> Refcounts::can_double(HostCluster first, std::uint64_t count) noexcept {
  VARVE_ASSERT(count == in_one_block(first, count));
  const HostOffset offset = VARVE_TRY(place_of(geometry_.refcount_block_index(first)));
  TableCache::Table* table = blocks_.find_quietly(offset);
  if (table == nullptr) {
    return Need{Need::Kind::refcount_block, offset, 0};
  }
  const std::uint64_t index = first.value() % geometry_.refcounts_per_block();
  const auto stop = find_undoublable(geometry_, table->bytes(), index, count);
  if (stop && stop->value == 0) {
    return not_counted(*table, first, stop->index);
  }
  return !stop.has_value();
}

Answer<Nothing> Refcounts::add(HostCluster first, std::uint64_t count,
                               bool must_be_counted) noexcept {
  VARVE_ASSERT(count == in_one_block(first, count));
  TableCache::Table* table = VARVE_ASK(block(geometry_.refcount_block_index(first)));
  const std::uint64_t index = first.value() % geometry_.refcounts_per_block();
  const Span span = span_of(index, count);
  const Bytes bytes = table->edit(span.begin, span.end);
  const auto stop = add_refcounts(geometry_, bytes, index, count, 1, must_be_counted);
  if (!stop) {
    return Nothing();
  }
  if (stop->index > index) {
    VARVE_ASSERT(!subtract_refcounts(geometry_, bytes, index, stop->index - index, 1));
  }
  if (stop->value == 0) {
    return not_counted(*table, first, stop->index);
  }
  const std::uint64_t where = table->offset().value() + span_of(stop->index, 1).begin;
  Error error =
      failure_at(ErrorCode::out_of_range, IoTag::refcount_block, where, "refcount would overflow");
  error.value = stop->value;
  error.limit = geometry_.refcount_max();
  return error;
}

Answer<Nothing> Refcounts::subtract(HostCluster first, std::uint64_t count) noexcept {
  TableCache::Table* table = VARVE_ASK(block(geometry_.refcount_block_index(first)));
  VARVE_TRY(subtract(*table, first, count));
  return Nothing();
}

Result<void> Refcounts::subtract(TableCache::Table& block, HostCluster first,
                                 std::uint64_t count) noexcept {
  VARVE_ASSERT(count == in_one_block(first, count));
  const std::uint64_t index = first.value() % geometry_.refcounts_per_block();
  const Span span = span_of(index, count);
  const Bytes bytes = block.edit(span.begin, span.end);
  const auto stop = subtract_refcounts(geometry_, bytes, index, count, 1);
  if (!stop) {
    return {};
  }
  if (stop->index > index) {
    VARVE_ASSERT(!add_refcounts(geometry_, bytes, index, stop->index - index, 1, false));
  }
  return corrupt_at(Corruption::refcount_too_low, IoTag::refcount_block,
                    block.offset().value() + span_of(stop->index, 1).begin,
                    "a reference is dropped from a cluster with refcount 0; cluster",
                    first.value() - index + stop->index);
}

}  // namespace varve
