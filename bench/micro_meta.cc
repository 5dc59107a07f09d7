// The cluster store, the map, the cache of tables and holds, without any guest.
#include <vector>

#include <benchmark/benchmark.h>

#include "meta/holds.h"
#include "micro_ground.h"

namespace varve::bench {
namespace {

constexpr std::uint64_t kDisk = 4 * kGiB;

// Clusters in runs of `run`: claimed, then released again. The round that makes them free is not
// counted.
void claim_and_release(benchmark::State& state) {
  MicroGround ground(kDisk);
  const auto run = static_cast<std::uint64_t>(state.range(0));
  constexpr std::uint64_t kClaims = 512;
  ClusterStore& store = ground.metadata().store;
  std::vector<ClusterRun> taken;
  taken.reserve(kClaims);
  for (auto _ : state) {
    for (std::uint64_t i = 0; i < kClaims; ++i) {
      taken.push_back(ground.ask([&] { return store.claim(run); }).run);
    }
    for (const ClusterRun& one : taken) {
      ground.ask([&] { return store.has_room_for_drops(1); });
      store.release(one);
    }
    taken.clear();
    state.PauseTiming();
    ground.settle();
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kClaims));
}
BENCHMARK(claim_and_release)->ArgName("run")->Arg(1)->Arg(16);

// The same with everything a round does: tables written, counts lowered.
void claim_release_and_settle(benchmark::State& state) {
  MicroGround ground(kDisk);
  constexpr std::uint64_t kClaims = 512;
  ClusterStore& store = ground.metadata().store;
  std::vector<ClusterRun> taken;
  taken.reserve(kClaims);
  for (auto _ : state) {
    for (std::uint64_t i = 0; i < kClaims; ++i) {
      taken.push_back(ground.ask([&] { return store.claim(1); }).run);
    }
    for (const ClusterRun& one : taken) {
      ground.ask([&] { return store.has_room_for_drops(1); });
      store.release(one);
    }
    taken.clear();
    ground.settle();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kClaims));
}
BENCHMARK(claim_release_and_settle);

// A step through the disk that leaves nothing to the processor's read-ahead.
constexpr std::uint64_t kStep = 400'521 * std::uint64_t{4096};

void find_in_map(benchmark::State& state) {
  MicroGround ground(kDisk);
  Metadata& metadata = ground.metadata();
  const std::uint64_t cluster_bytes = metadata.geometry.cluster_bytes();
  for (std::uint64_t at = 0; at < kDisk; at += cluster_bytes) {
    const HostCluster host = ground.ask([&] { return metadata.store.claim(1); }).run.first;
    ground.ask([&] { return metadata.map.prepare(GuestOffset(at)); });
    metadata.map.exchange(GuestOffset(at),
                          L2Entry::standard(metadata.geometry.offset_of(host), true));
  }
  const auto length = static_cast<std::uint64_t>(state.range(0));
  std::uint64_t offset = 0;
  for (auto _ : state) {
    const Answer<MapExtent> found = metadata.map.find(GuestOffset(offset), length);
    if (!found.has_value()) {
      state.SkipWithError("the table is not in memory");
      break;
    }
    benchmark::DoNotOptimize(*found);
    offset = (offset + kStep) % (kDisk - length);
  }
  state.SetItemsProcessed(state.iterations());
  ground.settle();
}
BENCHMARK(find_in_map)->ArgName("bytes")->Arg(4096)->Arg(1 << 20);

void find_in_table_cache(benchmark::State& state) {
  MicroGround ground(512 * kGiB);  // The cache holds no more tables than the disk has.
  TableCache& cache = ground.metadata().l2;
  const auto tables = static_cast<std::uint64_t>(state.range(0));
  constexpr std::uint64_t kFirst = 1 * kGiB;
  for (std::uint64_t i = 0; i < tables; ++i) {
    if (cache.make(HostOffset(kFirst + i * cache.table_bytes())) == nullptr) {
      state.SkipWithError("no room in the cache");
      return;
    }
  }
  std::uint64_t next = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(cache.find(HostOffset(kFirst + next * cache.table_bytes())));
    next = (next + 7) % tables;
  }
  state.SetItemsProcessed(state.iterations());
  ground.settle();
}
BENCHMARK(find_in_table_cache)->ArgName("tables")->Arg(8)->Arg(256);

struct Idle final : Waiter {
  void resume(const Result<void>& result) noexcept override { static_cast<void>(result); }
};

// One write's hold while `others` writes elsewhere have theirs.
void take_hold(benchmark::State& state) {
  Holds holds;
  Idle idle;
  const auto others = static_cast<std::uint64_t>(state.range(0));
  std::vector<Hold> held(others);
  for (std::uint64_t i = 0; i < others; ++i) {
    if (!holds.take(held[i], Hold::Mode::exclusive, i + 1, i + 2, idle)) {
      state.SkipWithError("holds that do not overlap conflict");
      return;
    }
  }
  Hold hold;
  for (auto _ : state) {
    benchmark::DoNotOptimize(holds.take(hold, Hold::Mode::shared, 0, 1, idle));
    holds.give_back(hold);
  }
  for (Hold& one : held) {
    holds.give_back(one);
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(take_hold)->ArgName("others")->Arg(0)->Arg(31);

}  // namespace
}  // namespace varve::bench
