// SectorImage: the content of a small file in one piece of memory, with a hash and a meaning for
// every sector, and a way back. A crash state is made by a few changes and undone by rollback(), so
// that a million states cost a million times what differs between neighbours.
//
// Threads: none.
#pragma once

#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "sim/sparse_bytes.h"

namespace varve::sim {

// What is known of a sector without looking at it again. All zeros: a sector of zeros.
struct SectorFacts {
  std::uint64_t hash = 0;
  std::uint64_t identity = 0;  // What the test's Identify says of it.
};

class SectorImage {
 public:
  static constexpr std::uint64_t kSectorBytes = 512;
  // Gives a sector that is not all zeros a number of its own. Must not answer 0.
  using Identify = std::uint64_t (*)(ConstBytes sector);

  explicit SectorImage(const SparseBytes& start, Identify identify = nullptr);
  SectorImage(const SectorImage&) = delete;
  SectorImage& operator=(const SectorImage&) = delete;

  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  [[nodiscard]] ConstBytes bytes() const noexcept {
    return ConstBytes(data_).first(static_cast<std::size_t>(size_));
  }
  // Of content and size: equal for equal files.
  [[nodiscard]] std::uint64_t hash() const noexcept;
  // Of the sector at `index`; past the end: zeros.
  [[nodiscard]] SectorFacts facts(std::uint64_t index) const noexcept {
    return index < facts_.size() ? facts_[static_cast<std::size_t>(index)] : SectorFacts{};
  }
  [[nodiscard]] SectorFacts facts_of(ConstBytes sector) const noexcept;
  // Past the end: zeros.
  void read(std::uint64_t offset, Bytes target) const noexcept;
  [[nodiscard]] SparseBytes to_sparse() const;

  void write(std::uint64_t offset, ConstBytes source);
  void zero(std::uint64_t offset, std::uint64_t length);
  void resize(std::uint64_t size);
  // A whole sector whose facts are known.
  void put_sector(std::uint64_t index, ConstBytes bytes, const SectorFacts& facts);

  // The changes made from now on can be undone; nested marks are.
  using Mark = std::size_t;
  [[nodiscard]] Mark mark() const noexcept { return undo_.size(); }
  void rollback(Mark mark) noexcept;
  // What happened until now stays.
  void forget_changes() noexcept;

 private:
  struct Undo {
    std::uint64_t index = 0;  // kSize: the size was `old`.
    SectorFacts facts;
    std::uint64_t old = 0;  // Where the old bytes stand in undo_bytes_; kNoBytes: zeros.
  };
  static constexpr std::uint64_t kSize = ~std::uint64_t{0};
  static constexpr std::uint64_t kNoBytes = ~std::uint64_t{0};

  [[nodiscard]] static std::uint64_t contribution(std::uint64_t index,
                                                  const SectorFacts& facts) noexcept;
  [[nodiscard]] Bytes sector(std::uint64_t index) noexcept {
    return Bytes(data_).subspan(static_cast<std::size_t>(index * kSectorBytes), kSectorBytes);
  }
  void reserve(std::uint64_t size);
  void remember(std::uint64_t index);
  void extend(std::uint64_t size);
  void set_facts(std::uint64_t index, const SectorFacts& facts) noexcept;
  template <class Change>
  void change_part(std::uint64_t offset, std::size_t length, Change change);

  Identify identify_;
  std::uint64_t size_ = 0;
  std::uint64_t sum_ = 0;
  std::vector<std::byte> data_;  // Whole sectors; zeros behind the end.
  std::vector<SectorFacts> facts_;
  std::vector<Undo> undo_;
  std::vector<std::byte> undo_bytes_;
};

}  // namespace varve::sim
