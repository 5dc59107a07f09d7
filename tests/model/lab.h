// Lab: one geometry set up for experiments: the engine, the backing file, and how its images are
// opened on simulated storages. And the oracle: everything that must be true of an image found
// after a fault or a power cut.
//
// Threads: the engine's. Lifetime: the lab outlives every image it opened.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include <varve/check.h>
#include <varve/engine.h>
#include <varve/image.h>

#include "model/geometry_cases.h"
#include "model/guest.h"
#include "model/reference_qcow2.h"
#include "sim/sim_disk.h"

namespace varve::model {

// An engine that needs nothing of the kernel.
[[nodiscard]] std::unique_ptr<Engine> make_test_engine();

class Lab : private FileOpener {
 public:
  explicit Lab(const GeometryCase& geometry);

  [[nodiscard]] const GeometryCase& geometry() const noexcept { return geometry_; }
  [[nodiscard]] Engine& engine() noexcept { return *engine_; }
  [[nodiscard]] const sim::SimDisk& backing() const noexcept { return backing_; }
  [[nodiscard]] GuestRules rules() const noexcept;
  // What a new image of this geometry holds: the backing file's stamp, then zeros.
  [[nodiscard]] Version initial_version() const;
  static constexpr Stamp kBackingStamp = 1;
  static constexpr Stamp kFirstStamp = 10;
  // Never written by a guest: stands in free clusters, and no read may ever show it.
  static constexpr Stamp kCanaryStamp = 9;

  [[nodiscard]] OpenOptions open_options(bool writable,
                                         DiscardMode discard = DiscardMode::ignore) noexcept;
  // Makes the image anew in `storage`.
  Result<void> create(Storage& storage) {
    return create_image_in(storage, nullptr, geometry_.create);
  }
  [[nodiscard]] Result<std::unique_ptr<Image>> open(std::unique_ptr<Storage> storage,
                                                    const OpenOptions& options) {
    return Image::open(std::move(storage), "/lab", options);
  }
  [[nodiscard]] Result<std::unique_ptr<Image>> open_disk(sim::SimDisk& disk,
                                                         const OpenOptions& options) {
    return open(std::make_unique<sim::SimStorage>(engine(), disk), options);
  }

  // The reference's reading of the same bytes, backing file included.
  [[nodiscard]] std::optional<ReferenceQcow2> reference(const sim::SparseBytes& file,
                                                        std::string& why) const;

 private:
  Result<std::unique_ptr<Storage>> open(Engine& engine, const std::string& name,
                                        const FileOptions& options) override;

  GeometryCase geometry_;
  std::unique_ptr<Engine> engine_;
  sim::SimDisk backing_;
};

[[nodiscard]] Guest::View view_of(const ReferenceQcow2& image);

// Fills the free clusters of a closed image with the canary, and adds `more` such clusters at its
// end. False, and `why`, when the image makes no sense.
[[nodiscard]] bool plant_canaries(sim::SparseBytes& file, std::uint64_t more, std::string& why);

// What an examination does beyond the necessary.
struct Examination {
  bool excuse_mismatches = false;  // Wrong COPIED flags are harmless here (v2 has no dirty bit).
  bool may_apply = true;           // Snapshots can be applied: no bitmaps are in the way.
  bool go_on = true;               // Use the image afterwards, and look again.
  bool ask_qemu = false;           // Also qemu-img check.
  bool is_judged = false;          // The reference has judged the bytes already.
};

// Examines the image in `file`, as a power cut at `moment` of what `guest` did left it: both
// opinions on the tables, read-only and writable opening, content, snapshots, and continued use.
// What is wrong, or nothing.
[[nodiscard]] std::optional<std::string> examine(Lab& lab, const Guest& guest,
                                                 const sim::SparseBytes& file, sim::Moment moment,
                                                 const Examination& examination);

// Overwrites, takes, applies and deletes snapshots: what a wrong count destroys shows then. What
// went wrong, or nothing.
[[nodiscard]] std::optional<std::string> go_on_using(Image& image, Guest& guest, bool may_apply);

// The library's own check of an open image: what it found, or nothing.
[[nodiscard]] std::optional<std::string> check_image(Image& image, bool excuse_mismatches,
                                                     bool leaks_too);
// The reference's check of a closed one.
[[nodiscard]] std::optional<std::string> check_bytes(const ReferenceQcow2& image,
                                                     bool excuse_mismatches, bool leaks_too);

}  // namespace varve::model
