// The numbered rules that keep an image whole through a crash. Comments, tests and the simulated
// storage refer to them by these names; docs/INVARIANTS.md tells the harm each prevents.
#pragma once

namespace varve {

// "Durable" is on stable storage; a barrier is a completed fdatasync; a count is a refcount.
enum class OrderRule : unsigned char {
  o1_counts_not_below_references = 1,  // A durable count is never below the durable references.
  o2_data_before_pointer,      // Data and copies are durable before the entry that shows them.
  o3_rounds_are_snapshots,     // A flush round writes tables as they were when it began.
  o4_growth_has_own_barriers,  // A new refcount block is durable before what it describes is handed
                               // out.
  o5_roots_switch_last,  // L1, refcount table, snapshot table, header: after all they make live.
  o6_one_header_writer,  // One writer for the header sector; the dirty bit counts its holders.
  o7_freed_is_unreachable_and_idle,  // Reuse only after the dropping entry is durable and every
                                     // reader has ended.
  o8_known_zero_is_fresh,      // Only space this session added beyond end and counts is known to be
                               // zero.
  o9_failed_flush_poisons,     // After a failed fdatasync nothing is known until reopen.
  o10_writable_means_settled,  // Whatever becomes writable is settled first.
  o11_small_sectors_serialised,  // Read-modify-write of a device block is serialised per block.
  o12_bitmaps_marked_in_use,     // The first write marks other programs' bitmaps IN_USE, durably.
};

// The barrier a caller of the cluster store owes before a reference to what it got may become
// durable: the flush round with this number (or a later one) writes the counts before any table.
// Users outside rounds wait for it.
struct OwedBarrier {
  unsigned long long round = 0;
};

}  // namespace varve
