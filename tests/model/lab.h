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

// The file of an image, and its data file where it has one.
struct FilePair {
  sim::SparseBytes image;
  sim::SparseBytes data;
};

// The same as disks.
struct DiskPair {
  DiskPair() = default;
  // Overlays: `files` outlives them.
  explicit DiskPair(const FilePair& files) {
    image.content = sim::SparseBytes(&files.image);
    data.content = sim::SparseBytes(&files.data);
  }
  sim::SimDisk image;
  sim::SimDisk data;
};

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
  // Makes the image anew in `storage`; `data` where the geometry has a data file.
  Result<void> create(Storage& storage, Storage* data = nullptr) {
    return create_image_in(storage, geometry_.has_data_file() ? data : nullptr, geometry_.create);
  }
  // `data` is the data file, where the geometry has one.
  [[nodiscard]] Result<std::unique_ptr<Image>> open(std::unique_ptr<Storage> storage,
                                                    const OpenOptions& options,
                                                    std::unique_ptr<Storage> data = nullptr);
  [[nodiscard]] Result<std::unique_ptr<Image>> open_disks(DiskPair& disks,
                                                          const OpenOptions& options) {
    return open(std::make_unique<sim::SimStorage>(engine(), disks.image), options,
                std::make_unique<sim::SimStorage>(engine(), disks.data));
  }

  // The reference's reading of the same bytes, backing file and data file included.
  [[nodiscard]] std::optional<ReferenceQcow2> reference(const sim::SparseBytes& file,
                                                        std::string& why) const;
  [[nodiscard]] std::optional<ReferenceQcow2> reference(const FilePair& files,
                                                        std::string& why) const {
    return reference(files.image, files.data, why);
  }
  // `data` outlives the reference.
  [[nodiscard]] std::optional<ReferenceQcow2> reference(const sim::SparseBytes& file,
                                                        const sim::SparseBytes& data,
                                                        std::string& why) const;

 private:
  Result<std::unique_ptr<Storage>> open(Engine& engine, const std::string& name,
                                        const FileOptions& options) override;

  GeometryCase geometry_;
  std::unique_ptr<Engine> engine_;
  sim::SimDisk backing_;
  std::unique_ptr<Storage> data_file_;  // For the image that is being opened.
};

[[nodiscard]] Guest::View view_of(const ReferenceQcow2& image);

// Fills the free clusters of a closed image with the canary, and adds `more` such clusters at its
// end; of a data file that is not raw, what no entry shows. False, and `why`, when the image makes
// no sense.
[[nodiscard]] bool plant_canaries(FilePair& files, std::uint64_t more, std::string& why);

// What an examination does beyond the necessary.
struct Examination {
  bool excuse_mismatches = false;  // Wrong COPIED flags are harmless here (v2 has no dirty bit).
  bool may_apply = true;           // Snapshots can be applied: no bitmaps are in the way.
  bool go_on = true;               // Use the image afterwards, and look again.
  bool ask_qemu = false;           // Also qemu-img check.
  bool is_judged = false;          // The reference has judged the bytes already.
};

// Examines the image in `files`, as a power cut at `moment` of what `guest` did left it: both
// opinions on the tables, read-only and writable opening, content, snapshots, and continued use.
// What is wrong, or nothing.
[[nodiscard]] std::optional<std::string> examine(Lab& lab, const Guest& guest,
                                                 const FilePair& files, sim::Moment moment,
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
