// An image's metadata over a simulated disk with every request recorded.
#pragma once

#include <memory>
#include <vector>

#include <gtest/gtest.h>
#include <varve/create.h>
#include <varve/engine.h>

#include "image/layer.h"
#include "meta/ask.h"
#include "meta/metadata.h"
#include "sim/random.h"
#include "sim/sim_disk.h"
#include "sim/trace_storage.h"

namespace varve::test {

class MetaTest : public ::testing::Test {
 protected:
  MetaTest() : engine_(std::move(Engine::create().value())) {}
  void TearDown() override { wait_until_idle(); }

  static CreateOptions small(std::uint32_t cluster_bytes = 512, std::uint32_t refcount_bits = 64) {
    CreateOptions options;
    options.size_bytes = 16 * kMiB;
    options.cluster_bytes = cluster_bytes;
    options.refcount_bits = refcount_bits;
    return options;
  }

  void open(const CreateOptions& options, bool fixed_size = false) {
    disk_.capabilities.fixed_size = fixed_size;
    {
      sim::SimStorage storage(*engine_, disk_);
      const Result<void> made = create_image_in(storage, nullptr, options);
      ASSERT_TRUE(made.has_value()) << describe(made.error());
    }
    load();
  }
  // A session over what the disk holds.
  void load() {
    wait_until_idle();
    metadata_.reset();
    storage_.reset();
    storage_ = std::make_unique<sim::TraceStorage>(make_storage(), trace_);
    auto loaded = load_tables(*storage_);
    ASSERT_TRUE(loaded.has_value()) << describe(loaded.error());
    Metadata::Config config;
    config.file = storage_.get();
    config.writable = true;
    config.l2_cache_bytes = 64 * kKiB;
    config.refcount_cache_bytes = 64 * kKiB;
    config.operations_max = 8;
    config.meter = meter_;
    auto made = Metadata::make(config, std::move(*loaded));
    ASSERT_TRUE(made.has_value()) << describe(made.error());
    metadata_ = std::move(*made);
    trace_.clear();
  }

  // Nothing runs by itself any more.
  void wait_until_idle() {
    while (metadata_ != nullptr && !metadata_->is_idle()) {
      engine_->wait();
    }
  }

  virtual std::unique_ptr<Storage> make_storage() {
    return std::make_unique<sim::SimStorage>(*engine_, disk_);
  }

  Result<void> flush() {
    BlockingWaiter waiter(*engine_);
    metadata_->commit.flush(waiter);
    return waiter.wait();
  }
  // A flush, and what it makes reclaimable is reclaimed.
  Result<void> settle_drops() {
    VARVE_TRY(flush());
    BlockingWaiter waiter(*engine_);
    metadata_->reclaimer.wait_idle(waiter);
    return waiter.wait();
  }
  Result<Claim> claim(std::uint64_t wanted) {
    return ask_until(*metadata_, [&] { return metadata_->store.claim(wanted); });
  }
  // The L2 table of `guest` is there, and the disk's own.
  Result<void> prepare_table(GuestOffset guest) {
    VARVE_TRY(ask_until(*metadata_, [&] { return metadata_->map.prepare(guest); }));
    return {};
  }
  // Maps a cluster of data of its own.
  HostCluster map_data(GuestOffset guest) {
    EXPECT_TRUE(prepare_table(guest).has_value());
    const HostCluster data = claim(1).value().run.first;
    EXPECT_TRUE(prepare_table(guest).has_value());
    static_cast<void>(metadata_->map.exchange(
        guest, L2Entry::standard(metadata_->geometry.offset_of(data), true)));
    return data;
  }
  std::uint64_t count_of(std::uint64_t cluster) {
    return ask_until(*metadata_, [&] { return metadata_->refcounts.count(HostCluster(cluster)); })
        .value();
  }
  // The count as the file has it.
  std::uint64_t stored_count_of(std::uint64_t cluster) {
    const Geometry& geometry = metadata_->geometry;
    const std::uint64_t index = geometry.refcount_block_index(HostCluster(cluster));
    const std::uint64_t table = be64_at(offsetof(RawHeader, refcount_table_offset));
    const std::uint64_t block = be64_at(table + index * 8);
    if (block == 0) {
      return 0;
    }
    std::vector<std::byte> bytes(geometry.cluster_bytes());
    disk_.content.read(block, bytes);
    return load_refcount(geometry, bytes, cluster % geometry.refcounts_per_block());
  }
  std::uint64_t be64_at(std::uint64_t offset) const {
    std::vector<std::byte> bytes(8);
    disk_.content.read(offset, bytes);
    return load_be<std::uint64_t>(bytes, 0);
  }
  void put_be64(std::uint64_t offset, std::uint64_t value) {
    std::vector<std::byte> bytes(8);
    store_be(bytes, 0, value);
    disk_.content.write(offset, bytes);
  }

  std::unique_ptr<Engine> engine_;
  Meter* meter_ = nullptr;  // Of the sessions that follow.
  sim::SimDisk disk_;
  sim::Trace trace_;
  std::unique_ptr<Storage> storage_;
  std::unique_ptr<Metadata> metadata_;
};

}  // namespace varve::test
