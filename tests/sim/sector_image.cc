#include "sim/sector_image.h"

#include <algorithm>
#include <array>

#include "base/checked.h"
#include "sim/random.h"

namespace varve::sim {

SectorImage::SectorImage(const SparseBytes& start, Identify identify) : identify_(identify) {
  resize(start.size());
  start.for_each_page([this](std::uint64_t offset, ConstBytes bytes) { write(offset, bytes); });
  forget_changes();
}

std::uint64_t SectorImage::hash() const noexcept {
  return sum_ + Random::mix(size_ + 1);
}

std::uint64_t SectorImage::contribution(std::uint64_t index, const SectorFacts& facts) noexcept {
  return facts.hash == 0 ? 0 : Random::mix(facts.hash ^ (index * 0x9e3779b97f4a7c15u));
}

SectorFacts SectorImage::facts_of(ConstBytes sector) const noexcept {
  // Four lanes, so that one multiplication need not wait for the other.
  std::array<std::uint64_t, 4> lanes = {1, 2, 3, 4};
  std::uint64_t any = 0;
  for (std::size_t at = 0; at < sector.size(); at += 32) {
    for (std::size_t lane = 0; lane < lanes.size(); ++lane) {
      const auto word = load_be<std::uint64_t>(sector, at + lane * 8);
      any |= word;
      lanes[lane] = (lanes[lane] ^ word) * 0xff51afd7ed558ccdu;
      lanes[lane] ^= lanes[lane] >> 32;
    }
  }
  SectorFacts facts;
  if (any != 0) {
    facts.hash = Random::mix(lanes[0]) + 3 * Random::mix(lanes[1]) + 5 * Random::mix(lanes[2]) +
                 7 * Random::mix(lanes[3]);
    facts.hash += facts.hash == 0 ? 1 : 0;
    facts.identity = identify_ != nullptr ? identify_(sector) : facts.hash;
  }
  return facts;
}

void SectorImage::read(std::uint64_t offset, Bytes target) const noexcept {
  zero_bytes(target);
  if (offset < size_) {
    const ConstBytes found = bytes().subspan(static_cast<std::size_t>(offset));
    const std::size_t length = std::min(target.size(), found.size());
    copy_bytes(target.first(length), found.first(length));
  }
}

SparseBytes SectorImage::to_sparse() const {
  SparseBytes sparse;
  for (std::uint64_t at = 0; at < size_; at += SparseBytes::kPageBytes) {
    const auto length = std::min<std::uint64_t>(SparseBytes::kPageBytes, size_ - at);
    const ConstBytes page =
        bytes().subspan(static_cast<std::size_t>(at), static_cast<std::size_t>(length));
    if (!is_all_zero(page)) {
      sparse.write(at, page);
    }
  }
  sparse.resize(size_);
  return sparse;
}

void SectorImage::reserve(std::uint64_t size) {
  const auto sectors = static_cast<std::size_t>(divide_up(size, kSectorBytes));
  if (sectors > facts_.size()) {
    facts_.resize(sectors);
    data_.resize(sectors * kSectorBytes);
  }
}

void SectorImage::extend(std::uint64_t size) {
  if (size > size_) {
    undo_.push_back({kSize, {}, size_});
    reserve(size);
    size_ = size;
  }
}

void SectorImage::remember(std::uint64_t index) {
  Undo undo{index, facts_[static_cast<std::size_t>(index)], kNoBytes};
  if (undo.facts.hash != 0) {
    undo.old = undo_bytes_.size();
    const ConstBytes old = sector(index);
    undo_bytes_.insert(undo_bytes_.end(), old.begin(), old.end());
  }
  undo_.push_back(undo);
}

void SectorImage::set_facts(std::uint64_t index, const SectorFacts& facts) noexcept {
  SectorFacts& kept = facts_[static_cast<std::size_t>(index)];
  sum_ += contribution(index, facts) - contribution(index, kept);
  kept = facts;
}

void SectorImage::put_sector(std::uint64_t index, ConstBytes bytes, const SectorFacts& facts) {
  extend((index + 1) * kSectorBytes);
  if (facts_[static_cast<std::size_t>(index)].hash == facts.hash) {
    return;
  }
  remember(index);
  copy_bytes(sector(index), bytes);
  set_facts(index, facts);
}

// Applies `change` to each touched piece of each touched sector.
template <class Change>
void SectorImage::change_part(std::uint64_t offset, std::size_t length, Change change) {
  std::size_t done = 0;
  while (done < length) {
    const std::uint64_t at = offset + done;
    const std::uint64_t index = at / kSectorBytes;
    const auto inside = static_cast<std::size_t>(at % kSectorBytes);
    const std::size_t piece = std::min<std::size_t>(length - done, kSectorBytes - inside);
    remember(index);
    change(sector(index).subspan(inside, piece), done);
    set_facts(index, facts_of(sector(index)));
    done += piece;
  }
}

void SectorImage::write(std::uint64_t offset, ConstBytes source) {
  extend(offset + source.size());
  change_part(offset, source.size(), [&](Bytes target, std::size_t at) {
    copy_bytes(target, source.subspan(at, target.size()));
  });
}

void SectorImage::zero(std::uint64_t offset, std::uint64_t length) {
  std::uint64_t at = offset;
  const std::uint64_t end = std::min(size_, checked_add(offset, length).value_or(size_));
  while (at < end) {
    const std::uint64_t next = std::min(end, round_down(at, kSectorBytes) + kSectorBytes);
    if (facts(at / kSectorBytes).hash != 0) {
      change_part(at, static_cast<std::size_t>(next - at),
                  [](Bytes target, std::size_t) { zero_bytes(target); });
    }
    at = next;
  }
}

void SectorImage::resize(std::uint64_t size) {
  if (size < size_) {
    zero(size, size_ - size);
    undo_.push_back({kSize, {}, size_});
    size_ = size;
  } else {
    extend(size);
  }
}

void SectorImage::rollback(Mark mark) noexcept {
  while (undo_.size() > mark) {
    const Undo& undo = undo_.back();
    if (undo.index == kSize) {
      size_ = undo.old;
    } else {
      if (undo.old == kNoBytes) {
        zero_bytes(sector(undo.index));
      } else {
        const auto old = static_cast<std::size_t>(undo.old);
        copy_bytes(sector(undo.index), ConstBytes(undo_bytes_).subspan(old, kSectorBytes));
        undo_bytes_.resize(old);
      }
      set_facts(undo.index, undo.facts);
    }
    undo_.pop_back();
  }
}

void SectorImage::forget_changes() noexcept {
  undo_.clear();
  undo_bytes_.clear();
}

}  // namespace varve::sim
