// World: an image of a recipe in memory, its files, and what watches over whoever works with it:
// requests and memory are counted and have ceilings, and the storage says at once when guest data
// lands on a table.
//
// Threads: one engine serves all worlds of a program, one after the other.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <varve/engine.h>
#include <varve/image.h>

#include "recipe.h"
#include "sim/sim_disk.h"

namespace varve::fuzz {

// Beyond these whoever works with an image of a few hundred KiB does something without end.
inline constexpr std::uint64_t kRequestsMax = 60'000;
inline constexpr std::uint64_t kTrustedMemoryMax = 256u << 20;
// What the budget promises, and what the program needs beside it.
inline constexpr std::uint64_t kUntrustedMemoryMax = 48u << 20;
// Larger files are not looked at by the reference, which wants them in one piece.
inline constexpr std::uint64_t kJudgedFileBytesMax = 8u << 20;

// The largest amount held at once since begin(), as the sanitizers' allocator tells; 0 without.
class MemoryPeak {
 public:
  static void begin() noexcept;
  [[nodiscard]] static std::uint64_t bytes() noexcept;
};

class World;
// Since begin(), when the file of `world` had this size. What it grew does not count: it stands in
// memory as well.
[[nodiscard]] std::uint64_t peak_without_file(World& world, std::uint64_t size_at_begin) noexcept;

class World final : private FileOpener {
 public:
  explicit World(const Recipe& recipe);

  // Makes the image as the recipe says. False where the geometry is impossible.
  [[nodiscard]] bool make();
  // Then damages it.
  void damage();

  [[nodiscard]] const Recipe& recipe() const noexcept { return recipe_; }
  [[nodiscard]] sim::SimDisk& disk() noexcept { return disk_; }
  [[nodiscard]] static Engine& engine();
  [[nodiscard]] OpenOptions options(bool writable);
  // Counts requests anew. A storage opened for reading takes no change.
  [[nodiscard]] Result<std::unique_ptr<Image>> open(const OpenOptions& options);
  [[nodiscard]] std::uint64_t requests() const noexcept { return requests_; }
  // The machine states that were written, out of reach of all damage.
  void note_state(std::vector<std::byte> state) { states_.push_back(std::move(state)); }
  [[nodiscard]] bool is_known_state(ConstBytes state) const noexcept;
  // What the disk shows where nothing was written.
  void read_below(std::uint64_t offset, Bytes target) const;
  [[nodiscard]] bool has_below() const noexcept { return !recipe_.create.backing_name.empty(); }
  [[nodiscard]] bool has_data_file() const noexcept {
    return !recipe_.create.data_file_name.empty();
  }

 private:
  friend class WatchedStorage;
  Result<std::unique_ptr<Storage>> open(Engine& engine, const std::string& name,
                                        const FileOptions& options) override;

  Recipe recipe_;
  sim::SimDisk disk_;
  sim::SimDisk below_;
  sim::SimDisk data_;
  std::vector<std::vector<std::byte>> states_;
  std::uint64_t requests_ = 0;
};

// An error says what is wrong, and which rule of the format when it is one.
void expect_named(const Error& error);
template <class T>
bool is_good(const Result<T>& result) {
  if (!result) {
    expect_named(result.error());
  }
  return result.has_value();
}
// `what` failed although nothing was wrong.
void must_succeed(const char* what, const Result<void>& result);

// `length` bytes of content number `seed`: a few compress well, others not at all.
void fill(Bytes target, unsigned seed);

}  // namespace varve::fuzz
