// Steps of code that runs straight through and waits by running the engine: opening, growing,
// repairing. Not inside a completion. Threads: the engine's thread only.
#pragma once

#include "meta/batch.h"
#include "meta/metadata.h"

namespace varve {

// What must happen before a session's first change has happened. Errors: those of FirstWrite.
[[nodiscard]] Result<void> make_ready_to_change(Metadata& metadata) noexcept;

// Nothing runs by itself any more: who gives the metadata up asks this first, whatever failed. A
// write that was refused may have sent the corrupt mark on its way.
void wait_until_idle(Metadata& metadata) noexcept;

// Everything that was changed in memory is on disk.
[[nodiscard]] Result<void> flush_and_wait(Metadata& metadata) noexcept;

// Makes durable what was written past the caches. A failure poisons the image (O9).
[[nodiscard]] Result<void> barrier(Metadata& metadata) noexcept;

// Runs writes over entries in use, past the caches. On failure the file may hold any of them, and
// the image is poisoned.
[[nodiscard]] Result<void> write_in_place(Metadata& metadata, Batch& batch) noexcept;

// Claims clusters that stand one behind the other. Counted, which is not durable yet. Errors: those
// of ClusterStore's claims.
[[nodiscard]] Result<ClusterRun> claim_run(Metadata& metadata, std::uint64_t clusters) noexcept;

// Success: durable. On failure what the header says is unknown, and the image is poisoned.
[[nodiscard]] Result<void> write_header(Metadata& metadata, const HeaderPatch& patch) noexcept;

}  // namespace varve
