// A disk of several L2 tables under snapshot operations, with requests of a guest that remember
// their end.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include <gtest/gtest.h>
#include <varve/snapshot_operation.h>

#include "sim/trace_storage.h"
#include "snapshot/snapshot_ground.h"

namespace varve::test {

inline constexpr std::uint32_t kClusterBytes = 4096;
inline constexpr std::uint64_t kTableCovers = std::uint64_t{kClusterBytes} / 8 * kClusterBytes;

// A walk takes a quarter of them at a time.
inline constexpr std::uint64_t kCachedTables = 64;

using Operation = std::unique_ptr<SnapshotOperation>;

// A guest request that remembers its end.
struct GuestRequest {
  BlockRequest request;
  IoVector vector;
  ByteVector bytes;
  std::optional<Result<void>> result;

  GuestRequest(Image& image, BlockOperation operation, std::uint64_t offset, std::uint64_t length,
               std::byte value = std::byte{0})
      : bytes(operation == BlockOperation::flush ? 0 : length, value) {
    vector = {bytes.data(), bytes.size()};
    request.operation = operation;
    request.offset = offset;
    request.length = length;
    request.vectors = &vector;
    request.vector_count = bytes.empty() ? 0 : 1;
    request.owner = this;
    request.complete = [](BlockRequest& done, const Result<void>& outcome) {
      static_cast<GuestRequest*>(done.owner)->result.emplace(outcome);
    };
    image.submit(request);
  }
  GuestRequest(const GuestRequest&) = delete;
  GuestRequest& operator=(const GuestRequest&) = delete;
};

class OperationTest : public SnapshotGround {
 protected:
  // Opens the disk anew behind what `wrap` makes of its storage, with caches of two tables.
  template <class Wrap>
  void open_with(Wrap&& wrap) {
    VARVE_MUST(image_->close());
    image_.reset();
    OpenOptions options;
    options.writable = true;
    options.l2_cache_bytes = 1;  // Two tables.
    options.refcount_cache_bytes = 1;
    auto opened =
        Image::open(wrap(std::make_unique<sim::SimStorage>(*engine_, disk_)), "/lab", options);
    VARVE_MUST(opened);
    image_ = std::move(*opened);
  }
  // A disk with one cluster written in each of its tables; flushed, traced from here on.
  void make_tables(std::uint64_t tables, const std::function<void(CreateOptions&)>& change = {}) {
    CreateOptions options = options_of(tables * kTableCovers, kClusterBytes);
    if (change) {
      change(options);
    }
    make(options);
    write_each(std::byte{1});
    reopen_traced();
  }
  void reopen_traced() {
    VARVE_MUST(image_->close());
    image_.reset();
    trace_.clear();
    auto storage = std::make_unique<sim::TraceStorage>(
        std::make_unique<sim::SimStorage>(*engine_, disk_), trace_);
    OpenOptions options;
    options.writable = true;
    options.l2_cache_bytes = kCachedTables * kClusterBytes;
    auto opened = Image::open(std::move(storage), "/lab", options);
    VARVE_MUST(opened);
    image_ = std::move(*opened);
    trace_.clear();
  }
  [[nodiscard]] std::uint64_t tables() const { return image_->size() / kTableCovers; }
  void write_at(std::uint64_t table, std::byte value, std::uint64_t cluster = 0) {
    const ByteVector bytes(kClusterBytes, value);
    VARVE_MUST(image_->write(table * kTableCovers + cluster * kClusterBytes, bytes));
  }
  void write_each(std::byte value) {
    for (std::uint64_t table = 0; table < tables(); ++table) {
      write_at(table, value);
    }
    VARVE_MUST(image_->flush());
  }
  static void expect_each(Image& image, std::byte value) {
    ByteVector bytes(kClusterBytes);
    for (std::uint64_t at = 0; at < image.size(); at += kTableCovers) {
      VARVE_MUST(image.read(at, bytes));
      ASSERT_EQ(bytes, ByteVector(kClusterBytes, value)) << "table " << at / kTableCovers;
    }
  }
  void expect_snapshot(std::size_t index, std::byte value) {
    auto snapshot = open_snapshot(*image_, index);
    VARVE_MUST(snapshot);
    expect_each(**snapshot, value);
    VARVE_MUST((*snapshot)->close());
  }
  Operation start(const char* name, const OperationOptions& options = {}) {
    SnapshotCreateOptions wishes;
    wishes.name = name;
    auto operation = start_create(*image_, wishes, options);
    EXPECT_TRUE(operation.has_value()) << describe(operation.error());
    return operation ? std::move(*operation) : nullptr;
  }
  void run_polls(unsigned count) {
    for (unsigned i = 0; i < count; ++i) {
      engine_->poll();
    }
  }

  sim::Trace trace_;
};

}  // namespace varve::test
