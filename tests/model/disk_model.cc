#include "model/disk_model.h"

#include <algorithm>

#include "base/assert.h"
#include "base/checked.h"
#include "base/units.h"

namespace varve::model {

DiskModel::DiskModel(std::uint64_t size) : size_(size) {
  if (size > 0) {
    registers_[0] = {size, {Candidate{}}};
  }
}

void DiskModel::grow(std::uint64_t size) {
  VARVE_ASSERT(size >= size_);
  if (size > size_) {
    registers_[size_] = {size, {Candidate{}}};
    size_ = size;
  }
}

DiskModel DiskModel::frozen() const {
  DiskModel copy = *this;
  copy.changes_.clear();
  copy.reads_.clear();
  for (auto& [begin, piece] : copy.registers_) {
    for (Candidate& candidate : piece.candidates) {
      candidate.completed = std::min(candidate.completed, copy.clock_);
    }
  }
  return copy;
}

void DiskModel::split(RegisterMap& map, std::uint64_t at) {
  auto after = map.upper_bound(at);
  if (after == map.begin()) {
    return;
  }
  const auto found = std::prev(after);
  if (found->first == at || found->second.end <= at) {
    return;
  }
  Register tail = found->second;
  found->second.end = at;
  map.emplace_hint(after, at, std::move(tail));
}

void DiskModel::add_candidate(RegisterMap& map, std::uint64_t offset, std::uint64_t end,
                              const Candidate& candidate) {
  split(map, offset);
  split(map, end);
  for (auto it = map.lower_bound(offset); it != map.end() && it->first < end; ++it) {
    it->second.candidates.push_back(candidate);
  }
}

void DiskModel::set(std::uint64_t offset, std::uint64_t length, Stamp stamp) {
  end_change(begin_change(offset, length, stamp), Certainty::certain);
}

DiskModel::RequestId DiskModel::begin_change(std::uint64_t offset, std::uint64_t length,
                                             Stamp stamp) {
  VARVE_ASSERT(range_fits(offset, length, size_));
  const RequestId id = ++clock_;
  changes_[id] = {offset, length, id};
  if (length == 0) {
    return id;
  }
  const Candidate candidate{stamp, id, Candidate::kInFlight};
  add_candidate(registers_, offset, offset + length, candidate);
  for (Read& read : reads_) {
    const std::uint64_t from = std::max(offset, read.offset);
    const std::uint64_t to = std::min(offset + length, read.offset + read.length);
    if (from < to) {
      add_candidate(read.expected, from, to, candidate);
    }
  }
  return id;
}

void DiskModel::end_change(RequestId id, Certainty certainty) {
  const auto found = changes_.find(id);
  VARVE_ASSERT(found != changes_.end());
  const Change change = found->second;
  changes_.erase(found);
  const std::uint64_t now = ++clock_;
  const std::uint64_t end = change.offset + change.length;
  const auto first = registers_.lower_bound(change.offset);
  for (auto it = first; it != registers_.end() && it->first < end; ++it) {
    auto& candidates = it->second.candidates;
    for (Candidate& candidate : candidates) {
      if (candidate.writer == id) {
        candidate.completed = now;
      }
    }
    if (certainty == Certainty::certain) {
      // What was over before this change began cannot be found any more.
      std::erase_if(candidates, [&](const Candidate& candidate) {
        return candidate.completed < change.submitted;
      });
    }
  }
  settle(first, end);
}

void DiskModel::abandon_change(RequestId id) {
  changes_.erase(id);
  for (auto& [begin, piece] : registers_) {
    std::erase_if(piece.candidates,
                  [&](const Candidate& candidate) { return candidate.writer == id; });
  }
}

// Joins neighbours that say the same, so that the map does not grow with the number of requests.
void DiskModel::settle(RegisterMap::iterator from, std::uint64_t end) {
  const auto is_plain = [](const Register& piece) {
    return std::all_of(piece.candidates.begin(), piece.candidates.end(), [&](const Candidate& c) {
      return c.completed != Candidate::kInFlight && c.stamp == piece.candidates.front().stamp;
    });
  };
  auto it = from == registers_.begin() ? from : std::prev(from);
  while (it != registers_.end() && it->first <= end) {
    const auto next = std::next(it);
    if (next == registers_.end()) {
      break;
    }
    if (is_plain(it->second) && is_plain(next->second) &&
        it->second.candidates.front().stamp == next->second.candidates.front().stamp) {
      // The later completion of the two: dropping a value later than possible only allows more.
      Candidate joined = it->second.candidates.front();
      for (const Register* piece : {&it->second, &next->second}) {
        for (const Candidate& candidate : piece->candidates) {
          joined.completed = std::max(joined.completed, candidate.completed);
        }
      }
      it->second.candidates.assign(1, joined);
      it->second.end = next->second.end;
      registers_.erase(next);
    } else {
      it = next;
    }
  }
}

DiskModel::RequestId DiskModel::begin_read(std::uint64_t offset, std::uint64_t length) {
  VARVE_ASSERT(range_fits(offset, length, size_));
  Read read;
  read.id = ++clock_;
  read.offset = offset;
  read.length = length;
  auto it = registers_.upper_bound(offset);
  if (it != registers_.begin()) {
    --it;
  }
  for (; it != registers_.end() && it->first < offset + length; ++it) {
    if (it->second.end > offset) {
      read.expected.emplace_hint(read.expected.end(), it->first, it->second);
    }
  }
  reads_.push_back(std::move(read));
  return reads_.back().id;
}

std::optional<std::string> DiskModel::end_read(RequestId id, ConstBytes found) {
  const auto read =
      std::find_if(reads_.begin(), reads_.end(), [&](const Read& r) { return r.id == id; });
  VARVE_ASSERT(read != reads_.end() && found.size() == read->length);
  auto verdict = judge_map(read->expected, read->offset, found, may_tear_);
  reads_.erase(read);
  return verdict;
}

void DiskModel::abandon_read(RequestId id) {
  reads_.remove_if([&](const Read& read) { return read.id == id; });
}

std::optional<std::string> DiskModel::judge(std::uint64_t offset, ConstBytes found) const {
  return judge_map(registers_, offset, found, false);
}

std::optional<std::string> DiskModel::judge_map(const RegisterMap& map, std::uint64_t offset,
                                                ConstBytes found, bool may_tear) {
  const std::uint64_t end = offset + found.size();
  auto it = map.upper_bound(offset);
  if (it != map.begin()) {
    --it;
  }
  for (std::uint64_t at = offset; at < end;) {
    while (it != map.end() && it->second.end <= at) {
      ++it;
    }
    VARVE_ASSERT(it != map.end() && it->first <= at);
    const std::uint64_t sector_end = round_down(at, kSectorBytes) + kSectorBytes;
    const std::uint64_t to = std::min({end, it->second.end, sector_end});
    const ConstBytes piece =
        found.subspan(static_cast<std::size_t>(at - offset), static_cast<std::size_t>(to - at));
    const auto& candidates = it->second.candidates;
    // The newest is the likeliest.
    const auto is_possible = [&](ConstBytes bytes, std::uint64_t where) {
      return std::any_of(candidates.rbegin(), candidates.rend(), [&](const Candidate& candidate) {
        return matches_stamp(bytes, candidate.stamp, where);
      });
    };
    bool is_good = is_possible(piece, at);
    if (!is_good && may_tear && candidates.size() > 1) {
      is_good = true;
      for (std::size_t i = 0; i < piece.size() && is_good; ++i) {
        is_good = is_possible(piece.subspan(i, 1), at + i);
      }
    }
    if (!is_good) {
      std::string text = "at " + std::to_string(at) + "+" + std::to_string(to - at) + " found " +
                         describe_bytes(piece, at) + ", possible are";
      for (const Candidate& candidate : candidates) {
        text += " " + (candidate.stamp == kZeroStamp ? std::string("zeros")
                                                     : "stamp " + std::to_string(candidate.stamp));
      }
      return text;
    }
    at = to;
  }
  return std::nullopt;
}

}  // namespace varve::model
