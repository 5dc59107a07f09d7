// Snapshot options and results between the two interfaces.
#pragma once

#include <varve/snapshot.h>
#include <varve/varve.h>

namespace varve::capi {

[[nodiscard]] Result<SnapshotCreateOptions> snapshot_options(const varve_snapshot_options* given);

[[nodiscard]] varve_uuid c_uuid(const Uuid& uuid) noexcept;
[[nodiscard]] Uuid uuid_of(const varve_uuid& uuid) noexcept;

// Ids are decimal numbers of 32 bits: they fit.
void copy_id(const std::string& id, char (&target)[16]) noexcept;

}  // namespace varve::capi
