// Images on simulated disks, whose requests can be made to fail and whose bytes a test can change.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <varve/check.h>

#include "base/bytes.h"
#include "format/header.h"
#include "format/l2_entry.h"
#include "image/ground.h"
#include "sim/faulty_storage.h"
#include "sim/sim_disk.h"

namespace varve::test {

constexpr std::uint64_t kDiskBytes = 1 << 20;

// A request that remembers its result. Its memory holds one byte everywhere.
struct Asked : BlockRequest {
  Asked(Image& asked, BlockOperation what, std::uint64_t at, std::uint64_t bytes, int value = 0)
      : image(&asked),
        memory(is_data(what) ? bytes : 0, static_cast<std::byte>(value)),
        vector{memory.data(), memory.size()} {
    operation = what;
    offset = at;
    length = bytes;
    vectors = &vector;
    vector_count = is_data(what) ? 1 : 0;
    complete = [](BlockRequest& request, const Result<void>& result) {
      static_cast<Asked&>(request).answer = result;
    };
    image->submit(*this);
  }
  Asked(const Asked&) = delete;
  Asked& operator=(const Asked&) = delete;
  ~Asked() { static_cast<void>(wait()); }

  static bool is_data(BlockOperation what) {
    return what == BlockOperation::read || what == BlockOperation::write ||
           what == BlockOperation::write_compressed;
  }
  Result<void> wait() {
    while (!answer) {
      image->engine().wait();
    }
    return *answer;
  }

  Image* image;
  ByteVector memory;
  IoVector vector;
  std::optional<Result<void>> answer;
};

class SimulatedDisks : public ::testing::Test, protected FileOpener {
 protected:
  SimulatedDisks() : engine_(make_engine(AioBackend::threads, 256, 0)) {}

  Result<std::unique_ptr<Storage>> open(Engine&, const std::string& name,
                                        const FileOptions&) override {
    opened_.push_back(name);
    return storage_of(name.starts_with("//") ? name.substr(1) : name);
  }
  std::unique_ptr<Storage> storage_of(const std::string& name) {
    return std::make_unique<sim::FaultyStorage>(
        std::make_unique<sim::SimStorage>(*engine_, disks_[name]), plan_);
  }
  static CreateOptions small() {
    CreateOptions options;
    options.cluster_bytes = 4096;
    options.size_bytes = kDiskBytes;
    return options;
  }
  void make(const CreateOptions& options, const std::string& name = "/disk") {
    const auto storage = storage_of(name);
    const auto data = options.data_file_name.empty() ? nullptr : storage_of("/data");
    VARVE_ASSERT_OK(create_image_in(*storage, data.get(), options));
  }
  OpenOptions options(bool writable = true) {
    OpenOptions options;
    options.writable = writable;
    options.opener = this;
    return options;
  }
  // Caches of two tables each.
  OpenOptions options_without_memory() {
    OpenOptions least = options();
    least.l2_cache_bytes = least.refcount_cache_bytes = 0;
    return least;
  }
  Result<std::unique_ptr<Image>> try_open(const OpenOptions& options,
                                          const std::string& name = "/disk") {
    return Image::open(*engine_, name, options);
  }
  std::unique_ptr<Image> open_image(const OpenOptions& options) {
    auto image = try_open(options);
    EXPECT_TRUE(image.has_value()) << describe(image.error());
    return image ? std::move(*image) : nullptr;
  }
  std::unique_ptr<Image> open_image() { return open_image(options()); }
  template <class Integer>
  void put(std::uint64_t offset, Integer value) {
    std::byte bytes[sizeof(Integer)];
    store_be(Bytes(bytes), 0, value);
    disks_["/disk"].content.write(offset, bytes);
  }
  std::uint64_t get(std::uint64_t offset) {
    std::byte bytes[8];
    disks_["/disk"].content.read(offset, bytes);
    return load_be<std::uint64_t>(ConstBytes(bytes), 0);
  }
  // The place of an L1 entry, of the L2 table it names, and of an entry of that table.
  std::uint64_t l1_place(std::uint64_t slot) {
    return get(offsetof(RawHeader, l1_offset)) + slot * 8;
  }
  std::uint64_t table_place(std::uint64_t slot) {
    return get(l1_place(slot)) & L2Entry::kOffsetMask;
  }
  std::uint64_t entry_place(std::uint64_t slot, std::uint64_t index, unsigned entry_bytes = 8) {
    return table_place(slot) + index * entry_bytes;
  }
  static ByteVector filled(std::size_t size, int value) {
    return ByteVector(size, static_cast<std::byte>(value));
  }
  // The file by itself: what check finds wrong with it, leaks apart where `leaks_allowed`.
  void expect_sound(bool leaks_allowed = false) {
    plan_.lift();
    const auto image = open_image(options(false));
    ASSERT_NE(image, nullptr);
    const auto report = check(*image);
    VARVE_ASSERT_OK(report);
    EXPECT_EQ(report->corruptions, 0u);
    if (!leaks_allowed) {
      EXPECT_EQ(report->leaks, 0u);
    }
    VARVE_EXPECT_OK(image->close());
  }
  // [offset, offset + length) of the disk holds this byte everywhere.
  static void expect_bytes(Image& image, std::uint64_t offset, std::uint64_t length, int value) {
    ByteVector bytes(length, std::byte{0xee});
    VARVE_EXPECT_OK(image.read(offset, bytes));
    EXPECT_TRUE(bytes == filled(length, value)) << "at " << offset;
  }

  std::unique_ptr<Engine> engine_;
  std::map<std::string, sim::SimDisk> disks_;
  sim::FaultPlan plan_;
  std::vector<std::string> opened_;
};

}  // namespace varve::test
