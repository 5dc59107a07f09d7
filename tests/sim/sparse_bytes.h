// SparseBytes: the content and size of a sparse file in memory, the store of every simulated
// storage. An overlay reads through to a base it does not change, so that a crash state costs only
// the pages it changes.
//
// Threads: none. Lifetime: the base outlives its overlays and does not change under them.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/bytes.h"

namespace varve::sim {

class SparseBytes {
 public:
  static constexpr std::uint64_t kPageBytes = 4096;

  SparseBytes() = default;
  // An overlay: reads what `base` holds until it is written here.
  explicit SparseBytes(const SparseBytes* base) : base_(base), size_(base->size_) {}
  SparseBytes(SparseBytes&&) noexcept = default;
  SparseBytes& operator=(SparseBytes&&) noexcept = default;

  // The same content without a base, independent of everything else.
  [[nodiscard]] SparseBytes clone() const;

  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }

  // Past the end: zeros.
  void read(std::uint64_t offset, Bytes target) const;
  // Past the end: grows.
  void write(std::uint64_t offset, ConstBytes source);
  // Zeros inside [offset, offset + length); the size stays.
  void zero(std::uint64_t offset, std::uint64_t length);
  // Cut off bytes are forgotten: growing again shows zeros.
  void resize(std::uint64_t size);

  // All of it as one piece. REQUIRES: small.
  [[nodiscard]] std::vector<std::byte> flat() const;

  // Every page that may hold something, in order of offset; cut at the end of the file.
  void for_each_page(
      const std::function<void(std::uint64_t offset, ConstBytes bytes)>& visit) const;

  // Writes a sparse file for other programs to look at; false when the system refuses.
  [[nodiscard]] bool save(const std::string& path) const;

 private:
  using Page = std::array<std::byte, kPageBytes>;

  [[nodiscard]] const Page* find_page(std::uint64_t index) const;
  Page& make_page(std::uint64_t index);
  void zero_page(std::uint64_t index);
  [[nodiscard]] std::vector<std::uint64_t> pages_between(std::uint64_t first,
                                                         std::uint64_t last) const;

  const SparseBytes* base_ = nullptr;
  std::uint64_t size_ = 0;
  // A null page hides the base's: it reads as zeros.
  std::unordered_map<std::uint64_t, std::unique_ptr<Page>> pages_;
};

}  // namespace varve::sim
