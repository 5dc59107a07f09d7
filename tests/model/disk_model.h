// DiskModel: what a guest may find on a disk while requests overlap. Every range of the disk is a
// register holding the values a read may return: the value settled last, and those of writes that
// were in flight at the same time. A write that was submitted after another completed replaces it;
// two that were in flight together may be found in either order, sector by sector.
//
// Ranges split where requests begin and end, so requests need no alignment. Threads: none.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "model/stamp.h"

namespace varve::model {

// One value a range may hold, and when the request that brought it lived.
struct Candidate {
  static constexpr std::uint64_t kInFlight = ~std::uint64_t{0};
  Stamp stamp = kZeroStamp;
  std::uint64_t writer = 0;     // The request; 0: it was there before.
  std::uint64_t completed = 0;  // kInFlight until the request has completed.
};

// A piece of a disk and the values it may hold.
struct Register {
  std::uint64_t end = 0;
  std::vector<Candidate> candidates;
};
using RegisterMap = std::map<std::uint64_t, Register>;  // By first byte.

// How a change behaves once it has completed.
enum class Certainty : std::uint8_t {
  certain,  // The range holds the new value.
  maybe,    // Old or new, sector by sector: a hint, or a request that failed.
};

class DiskModel {
 public:
  using RequestId = std::uint64_t;

  // A disk of zeros.
  explicit DiskModel(std::uint64_t size);

  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  void grow(std::uint64_t size);
  // The disk as a snapshot taken now may show it forever: changes in flight are in it or not,
  // sector by sector.
  [[nodiscard]] DiskModel frozen() const;

  // A change that is over at once: nothing else may be in flight.
  void set(std::uint64_t offset, std::uint64_t length, Stamp stamp);

  // A change in flight. `certainty` may be weakened at the end, when the request fails.
  RequestId begin_change(std::uint64_t offset, std::uint64_t length, Stamp stamp);
  void end_change(RequestId id, Certainty certainty);

  // A read in flight; the end judges what it found. An explanation when that was impossible.
  RequestId begin_read(std::uint64_t offset, std::uint64_t length);
  [[nodiscard]] std::optional<std::string> end_read(RequestId id, ConstBytes found);
  void abandon_read(RequestId id);
  // A change that never happens.
  void abandon_change(RequestId id);

  // Reads beside a change of the same bytes may see it half done, byte by byte: the page cache
  // copies without a lock against readers, so a file promises no more. Simulated disks promise
  // whole sectors.
  void allow_torn_reads() noexcept { may_tear_ = true; }

  // Judges bytes read while nothing is in flight.
  [[nodiscard]] std::optional<std::string> judge(std::uint64_t offset, ConstBytes found) const;

  // Whether nothing is in flight.
  [[nodiscard]] bool is_idle() const noexcept { return changes_.empty() && reads_.empty(); }

 private:
  struct Change {
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
    std::uint64_t submitted = 0;
  };
  struct Read {
    RequestId id = 0;
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
    RegisterMap expected;
  };

  static void split(RegisterMap& map, std::uint64_t at);
  static void add_candidate(RegisterMap& map, std::uint64_t offset, std::uint64_t end,
                            const Candidate& candidate);
  [[nodiscard]] static std::optional<std::string> judge_map(const RegisterMap& map,
                                                            std::uint64_t offset, ConstBytes found,
                                                            bool may_tear);
  void settle(RegisterMap::iterator from, std::uint64_t end);

  std::uint64_t size_;
  bool may_tear_ = false;
  std::uint64_t clock_ = 0;
  RegisterMap registers_;
  std::map<RequestId, Change> changes_;
  std::list<Read> reads_;
};

}  // namespace varve::model
