// Entries and counts: pure code over one table.
#include <optional>

#include <benchmark/benchmark.h>

#include "base/buffer.h"
#include "format/l2_entry.h"
#include "format/refcount.h"
#include "micro_ground.h"

namespace varve::bench {
namespace {

void decode_l2_entries(benchmark::State& state) {
  Geometry geometry;
  geometry.extended_l2 = state.range(0) != 0;
  Buffer table = take(Buffer::allocate_zeroed(geometry.cluster_bytes()));
  for (std::uint64_t i = 0; i < geometry.l2_entries(); ++i) {
    const HostOffset host((i + 16) << geometry.cluster_bits);
    L2Entry::extended(host, true, geometry.extended_l2 ? 0xffff'ffff : 0)
        .store(geometry, table.bytes(), i);
  }
  for (auto _ : state) {
    std::uint64_t sum = 0;
    for (std::uint64_t i = 0; i < geometry.l2_entries(); ++i) {
      const L2Entry entry = L2Entry::load(geometry, table.bytes(), i);
      take(entry.validate(geometry, 3, false, HostOffset(0)));
      sum += entry.host().value();
    }
    benchmark::DoNotOptimize(sum);
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(geometry.l2_entries()));
}
BENCHMARK(decode_l2_entries)->ArgName("extended")->Arg(0)->Arg(1);

Geometry with_refcount_bits(std::int64_t bits) {
  Geometry geometry;
  geometry.refcount_order = 0;
  while ((std::int64_t{1} << geometry.refcount_order) < bits) {
    ++geometry.refcount_order;
  }
  return geometry;
}

// What a snapshot does to every block: one more reference each, and one less again.
void add_and_subtract_refcounts(benchmark::State& state) {
  const Geometry geometry = with_refcount_bits(state.range(0));
  const std::uint64_t count = geometry.refcounts_per_block();
  Buffer block = take(Buffer::allocate_zeroed(geometry.cluster_bytes()));
  for (std::uint64_t i = 0; i < count; ++i) {
    store_refcount(geometry, block.bytes(), i, 1);
  }
  for (auto _ : state) {
    const bool stopped = add_refcounts(geometry, block.bytes(), 0, count, 1, true).has_value() ||
                         subtract_refcounts(geometry, block.bytes(), 0, count, 1).has_value();
    if (stopped) {
      state.SkipWithError("a count could not change");
      break;
    }
  }
  state.SetItemsProcessed(state.iterations() * 2 * static_cast<std::int64_t>(count));
}
BENCHMARK(add_and_subtract_refcounts)->ArgName("bits")->Arg(2)->Arg(8)->Arg(16)->Arg(64);

void find_free_in_block(benchmark::State& state) {
  const Geometry geometry = with_refcount_bits(state.range(0));
  const std::uint64_t count = geometry.refcounts_per_block();
  Buffer block = take(Buffer::allocate_zeroed(geometry.cluster_bytes()));
  for (std::uint64_t i = 0; i + 1 < count; ++i) {
    store_refcount(geometry, block.bytes(), i, 1);
  }
  for (auto _ : state) {
    benchmark::DoNotOptimize(nonzero_run(geometry, block.bytes(), 0, count));
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(count));
}
BENCHMARK(find_free_in_block)->ArgName("bits")->Arg(1)->Arg(16)->Arg(64);

}  // namespace
}  // namespace varve::bench
