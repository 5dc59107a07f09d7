// The block store: the refcounted cluster space of an image. Clusters are claimed, shared and
// released here; the active disk, snapshots, state and compressed data are its users. It knows
// nothing of guests.
//
// Claim and share change counts in memory; the next flush round writes them before any table (O1).
// A release is a promise that no table in memory refers to the cluster any more: the count follows
// only after a round has made the dropping entry durable (O3) and every request that may have seen
// it has ended (O7). The Reclaimer does that part. Threads: the engine's thread only. No I/O: what
// is missing is answered as a Need.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "meta/eras.h"
#include "meta/need.h"
#include "meta/ordering.h"
#include "meta/refcounts.h"

namespace varve {

struct ClusterRun {
  HostCluster first;
  std::uint64_t count = 0;
  friend constexpr bool operator==(const ClusterRun&, const ClusterRun&) noexcept = default;
};

struct Claim {
  ClusterRun run;
  bool known_zero = false;  // Reads as zeros on storage (O8).
  OwedBarrier owed;
};

class ClusterStore {
 public:
  // Knows the structures in use that can be told at once, whatever their counts say: a damaged
  // count must not hand out the table everything hangs on.
  class Residents {
   public:
    // Whether a cluster of the run holds one; its first cluster.
    [[nodiscard]] virtual std::optional<HostCluster> find_resident(
        ClusterRun run) const noexcept = 0;

   protected:
    ~Residents() = default;
  };
  struct Limits {
    std::uint64_t file_clusters = 0;  // Whole clusters the file has now.
    std::uint64_t first_fresh = 0;  // First cluster wholly beyond the end the file had when opened.
    bool fixed_size = false;        // Never ask for growth.
    bool growth_is_zero = false;
    std::uint64_t quarantine_max = 0;  // Released clusters beyond which a round is wanted.
    const Residents* residents = nullptr;
  };

  ClusterStore(Refcounts& refcounts, Eras& eras) noexcept : refcounts_(&refcounts), eras_(&eras) {}
  // REQUIRES: the refcount table is in place. Errors: no_memory.
  Result<void> reserve(const Limits& limits) noexcept;
  // The refcount table has grown. Errors: no_memory.
  Result<void> reserve_offers(std::uint64_t table_entries) noexcept;

  // Claims up to `wanted` neighbouring clusters, count 0 -> 1. Freed space first, then the end of
  // the file. Errors: no_space (fixed-size storage is full), corrupt (refcount_zero_in_use: what
  // counts as free holds a table).
  [[nodiscard]] Answer<Claim> claim(std::uint64_t wanted) noexcept;

  // Sets aside `count` neighbouring clusters at the end of the file; they are then claimed one
  // block at a time with claim_reserved. For L1, snapshot and refcount tables. A reservation not
  // claimed is forgotten space, nothing more.
  [[nodiscard]] Answer<HostCluster> reserve_run(std::uint64_t count) noexcept;
  // Claims a part of a reservation that lies in one refcount block. Returns how many clusters from
  // `first` are done.
  [[nodiscard]] Answer<std::uint64_t> claim_reserved(ClusterRun run) noexcept;
  // The reservation is claimed, or given up. A control operation and a growth of the disk may have
  // one each.
  void end_reservation() noexcept {
    VARVE_ASSERT(reservations_ != 0);
    reservation_ = --reservations_ == 0 ? kNoOffer : reservation_;
  }

  // Adds one reference to each cluster of a run inside one refcount block. REQUIRES: counted
  // already. Errors: out_of_range (overflow; nothing changed), corrupt.
  [[nodiscard]] Answer<Nothing> share(ClusterRun run) noexcept;

  // Drops one reference of each cluster of the run, later. Never fails: ask has_room_for_drops
  // first.
  void release(ClusterRun run) noexcept;
  // Room for this many separate releases; a Need (round) when a round must come first.
  [[nodiscard]] Answer<Nothing> has_room_for_drops(std::size_t runs) noexcept;

  // The same where the dropping entry is durable already, so that no round needs to come first.
  // Never fails: ask has_room_for_durable_drop first.
  void release_durable(ClusterRun run) noexcept;
  [[nodiscard]] Answer<Nothing> has_room_for_durable_drop() noexcept;

  // So much was released that a round should make it durable soon, without anyone waiting for it.
  [[nodiscard]] bool wants_round() const noexcept {
    return waiting_clusters_ > limits_.quarantine_max;
  }

  // Whether there are refcount blocks for all clusters of the run; where there are none, a wild
  // entry names it. REQUIRES: it is not empty.
  [[nodiscard]] bool can_be_counted(ClusterRun run) const noexcept;

  // The file has grown to this many clusters.
  void set_file_clusters(std::uint64_t clusters) noexcept { limits_.file_clusters = clusters; }
  [[nodiscard]] std::uint64_t file_clusters() const noexcept { return limits_.file_clusters; }
  [[nodiscard]] std::uint64_t append_position() const noexcept { return append_; }
  // Refcount growth has taken `area` at or behind the end for itself; the new blocks count up to
  // `counted_end`, and everything between the area and there is free.
  void growth_took(ClusterRun area, std::uint64_t counted_end) noexcept;

  // --- for Commit and Reclaimer
  // -------------------------------------------------------------------------------------
  struct Drop {
    ClusterRun run;
    std::uint64_t era = 0;
  };
  void begin_round(
      std::uint64_t round) noexcept;  // What was released until now rides on this round.
  void end_round(bool is_durable) noexcept;
  [[nodiscard]] bool has_drops() const noexcept {
    return !waiting_.empty() || !riding_.empty() || !durable_.empty();
  }
  [[nodiscard]] bool has_undurable_drops() const noexcept {
    return !waiting_.empty() || !riding_.empty();
  }
  // The oldest drop that is durable and idle, or null. While drops are held there is none.
  [[nodiscard]] Drop* next_reclaimable() noexcept;
  // `count` clusters at the front of the drop have had their counts lowered; those at 0 are free
  // for claims.
  void reclaimed(Drop& drop, std::uint64_t count) noexcept;
  // A control operation holds every drop back until what it publishes is durable.
  void hold_drops() noexcept { ++drop_holders_; }
  void let_drops_go() noexcept {
    VARVE_ASSERT(drop_holders_ != 0);
    --drop_holders_;
  }
  [[nodiscard]] bool are_drops_held() const noexcept { return drop_holders_ != 0; }
  [[nodiscard]] std::uint64_t quarantined_clusters() const noexcept { return quarantined_; }
  // Clusters at or above this one are beyond everything claimed: the file may end there.
  [[nodiscard]] std::uint64_t used_end() const noexcept { return append_; }
  // Whether nothing is counted from used_end() to the end of the file, as far as is known.
  [[nodiscard]] bool is_free_to_end() const noexcept {
    return counted_zero_until_ >= limits_.file_clusters;
  }

 private:
  [[nodiscard]] Answer<std::optional<ClusterRun>> find_freed(std::uint64_t wanted) noexcept;
  [[nodiscard]] Answer<Claim> claim_freed(ClusterRun freed) noexcept;
  // REQUIRES: find_end() has just answered.
  [[nodiscard]] Answer<Claim> claim_at_end(std::uint64_t wanted) noexcept;
  [[nodiscard]] bool offer_unscanned() noexcept;
  [[nodiscard]] Answer<Nothing> skip_counted() noexcept;
  // The same; on a device without a free cluster what was dropped may bring some.
  [[nodiscard]] Answer<Nothing> find_end() noexcept;
  [[nodiscard]] Result<void> check_vacant(ClusterRun run) const noexcept;
  void offer(HostCluster cluster) noexcept;
  void lower_too_early() noexcept;  // Rule::o3, broken.

  Refcounts* refcounts_;
  Eras* eras_;
  Limits limits_;
  std::uint64_t round_ = 0;
  std::uint64_t append_ = 0;              // Next cluster at the end.
  std::uint64_t counted_zero_until_ = 0;  // Counts in [append_, this) are known to be 0.
  std::uint64_t unscanned_block_ =
      0;  // Blocks from here to unscanned_end_ may hold freed space of earlier sessions.
  std::uint64_t unscanned_end_ = 0;
  // For each refcount block the lowest place a free cluster may be found, or kNoOffer.
  static constexpr std::uint64_t kNoOffer = ~std::uint64_t{0};
  std::vector<std::uint64_t> offers_;
  // First cluster set aside and not yet counted: the search for free ones stops before it, until
  // all that was set aside is claimed.
  std::uint64_t reservation_ = kNoOffer;
  unsigned reservations_ = 0;
  std::uint64_t lowest_offer_ = 0;  // No block below this one has an offer,
  std::uint64_t offers_end_ = 0;    // and none from here on.
  std::vector<Drop> waiting_;
  std::vector<Drop> riding_;
  std::vector<Drop> durable_;
  std::size_t durable_front_ = 0;
  std::uint64_t quarantined_ = 0;       // Clusters released and not yet reclaimed ...
  std::uint64_t waiting_clusters_ = 0;  // ... and of these, released since the last round began.
  unsigned drop_holders_ = 0;
};

}  // namespace varve
