// Guest: a well-behaved user of one image, one request at a time, who remembers what the disk and
// its snapshots must hold, also when a request failed or the power went at some moment.
//
// Every change makes a new Version. A power cut at a moment may show any version between the last
// one promised durable and the last one begun, sector by sector; a control operation is found done
// or not done, never in part. Threads: the engine's.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <varve/image.h>
#include <varve/snapshot.h>
#include <varve/snapshot_operation.h>
#include <varve/state.h>

#include "model/stamp.h"
#include "sim/crash_disk.h"

namespace varve::model {

// The values one sector may hold. Small: only a failed request leaves more than one.
class StampSet {
 public:
  StampSet() = default;
  explicit StampSet(Stamp stamp) noexcept { add(stamp); }
  void add(Stamp stamp) noexcept;
  void add(const StampSet& other) noexcept;
  [[nodiscard]] bool contains(Stamp stamp) const noexcept;
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] Stamp operator[](std::size_t index) const noexcept { return stamps_[index]; }

 private:
  static constexpr std::size_t kMax = 16;
  std::array<Stamp, kMax> stamps_{};
  std::size_t size_ = 0;
};

struct DiskState {
  std::uint64_t size = 0;
  std::vector<StampSet> sectors;
};

struct SnapshotState {
  std::string name;
  DiskState disk;
  Stamp state_stamp = kZeroStamp;  // The machine state: this stamp's bytes from offset 0 ...
  std::uint64_t state_bytes = 0;   // ... up to here; 0: none.
};

struct Version {
  DiskState disk;
  std::vector<SnapshotState> snapshots;
  sim::Moment begun = 0;       // Nothing of it can be seen before.
  bool switches_disk = false;  // Apply: the disk is the one before or this one, whole.
  std::uint64_t clusters = 0;  // Host clusters its request may have claimed or dropped.
};

// What a power cut at some moment may leave of a disk and its snapshots.
struct Expectation {
  // What was promised last; what was begun since then only adds to what may be found. So a content
  // that was good under a number stays good under it.
  std::uint64_t number = 0;
  std::vector<std::uint64_t> sizes;
  std::vector<std::vector<StampSet>> disks;  // The sectors of one of these.
  std::vector<const Version*> lists;         // The snapshots of one of these.
  std::uint64_t leaks_max = 0;               // Clusters that were in flight.
};

// What the guest needs to know of the image to foretell its answers.
struct GuestRules {
  std::uint64_t cluster_bytes = 65536;
  std::uint64_t discard_from = 0;  // Clusters before this are left alone by a discard (v2, which
                                   // has no zero clusters, where the backing file has data).
};

// A snapshot operation that goes on beside a guest's requests.
struct LiveOperation {
  enum class Kind : std::uint8_t { create, apply, remove };
  Kind kind = Kind::create;
  std::unique_ptr<SnapshotOperation> operation;
  SnapshotState snapshot;             // Created or applied.
  std::vector<SnapshotState> before;  // The list when it began.
  std::size_t fixed_at = 0;           // The version its success makes durable.
  bool is_switched = false;
  bool is_cancelled = false;
};

class Guest {
 public:
  using Clock = std::function<sim::Moment()>;

  // `initial` is what the disk holds now; `clock` answers a new moment at each call (a CrashDisk's
  // mark, or a counter). Stamps are taken from `first_stamp` on.
  Guest(const GuestRules& rules, Version initial, Clock clock, Stamp first_stamp);

  // Requests. Offsets and lengths are multiples of 512. The image's own answer is passed on; the
  // model follows it.
  Result<void> write(Image& image, std::uint64_t offset, std::uint64_t length);
  Result<void> write_zeroes(Image& image, std::uint64_t offset, std::uint64_t length,
                            bool may_unmap);
  Result<void> discard(Image& image, std::uint64_t offset, std::uint64_t length);
  Result<void> write_compressed(Image& image, std::uint64_t cluster);
  Result<void> flush(Image& image);
  // Two writes of a sector each and, between them, a flush, all in flight at once.
  Result<void> write_two_and_flush(Image& image, std::uint64_t first, std::uint64_t second);
  Result<void> grow(Image& image, std::uint64_t new_size);
  Result<void> create_snapshot(Image& image, const std::string& name);
  // With a machine state of so many bytes, in whole sectors.
  Result<void> create_full_snapshot(Image& image, const std::string& name,
                                    std::uint64_t state_bytes);
  Result<void> apply_snapshot(Image& image, std::size_t index);
  Result<void> delete_snapshot(Image& image, std::size_t index);
  // The same behind an operation that works still.
  Result<void> delete_snapshot_in_turn(Image& image, std::size_t index);
  Result<void> rename_snapshot(Image& image, std::size_t index, const std::string& name);
  // Snapshot operations beside requests, one at a time (guest_live.cc); requests run them on. A
  // creation is frozen when the call returns and stands until it is published.
  Result<void> freeze_snapshot(Image& image, const std::string& name);
  Result<void> publish_snapshot();
  Result<void> start_apply(Image& image, std::size_t index);
  Result<void> start_delete(Image& image, std::size_t index);
  void cancel_operation();
  [[nodiscard]] bool is_live() const noexcept { return live_.has_value(); }
  // Runs what is under way to its end. An operation that was cancelled is no failure.
  Result<void> finish_operation(Image& image);
  // The image was opened again after what it had failed to flush may have gone: what it shows is
  // what the guest goes on from. What is wrong with it, or nothing.
  [[nodiscard]] std::optional<std::string> look_again(Image& image);
  // A successful close makes everything durable, as a flush does.
  Result<void> close(Image& image);

  [[nodiscard]] const Version& now() const noexcept { return versions_.back(); }
  [[nodiscard]] std::uint64_t size() const noexcept { return now().disk.size; }
  [[nodiscard]] std::uint64_t cluster_bytes() const noexcept { return rules_.cluster_bytes; }
  [[nodiscard]] const GuestRules& rules() const noexcept { return rules_; }
  [[nodiscard]] Stamp next_stamp() const noexcept { return next_stamp_; }
  // A rule of the library was broken while running (a failed operation left a mixture): its words.
  [[nodiscard]] const std::string& violation() const noexcept { return violation_; }

  // How a disk is read: from an image, or through the reference. False and a reason on failure.
  struct View {
    std::uint64_t size = 0;
    std::vector<std::string> snapshot_names;
    std::function<bool(std::uint64_t offset, Bytes target, std::string& why)> read;
    std::function<bool(std::size_t index, Bytes target, std::string& why)> read_snapshot;
    std::function<bool(std::size_t index, Bytes target, std::string& why)> read_state;
  };

  // Whether a power cut at `moment` may have left what `view` shows: the reason why not, or
  // nothing. `seen`, when given, receives the version found, each sector with its one value.
  [[nodiscard]] std::optional<std::string> judge(const View& view, sim::Moment moment,
                                                 Version* seen = nullptr) const;
  // The same as numbers, for judges of their own. Valid while the guest does nothing.
  [[nodiscard]] Expectation expectation(sim::Moment moment) const;

  // The moments at which more became certain than before, in ascending order.
  [[nodiscard]] std::vector<sim::Moment> promised_moments() const;

  // Whether the disk of `seen` is the one the guest began with.
  [[nodiscard]] bool is_untouched(const Version& seen) const noexcept;
  [[nodiscard]] bool is_untouched(const std::vector<SectorIdentity>& disk) const noexcept;
  // The same without a power cut: nothing but the last version.
  [[nodiscard]] std::optional<std::string> judge_now(const View& view) const;

 private:
  struct Floor {
    sim::Moment from = 0;
    std::size_t disk = 0;  // Versions from here on may be seen; earlier ones not.
    std::size_t list = 0;
    std::size_t size = 0;
  };

  void begin_live(LiveOperation::Kind kind);
  Result<void> started(Result<std::unique_ptr<SnapshotOperation>> operation, Image& image);
  static void phase_changed(SnapshotOperation& operation, void* owner);
  void switch_disk();
  Result<void> change(std::uint64_t length, std::function<void(Version&)> how,
                      const std::function<Result<void>()>& call);

  // A new version, by a request that touches `length` bytes of the disk, or all of it.
  Version& begin(std::uint64_t length);
  Version& begin_control();
  Result<void> create(Image& image, const SnapshotState& snapshot, StateWriter* state);
  Result<void> remove(Image& image, std::size_t index, const std::function<Result<void>()>& call);
  [[nodiscard]] std::pair<Floor, std::size_t> range_at(sim::Moment moment) const;
  Result<void> finish(const Result<void>& result, bool control);
  void promise(bool disk, bool list, bool size);
  void set_range(Version& version, std::uint64_t offset, std::uint64_t length,
                 const StampSet& value) const;
  [[nodiscard]] std::optional<std::string> judge_range(const View& view, const Floor& floor,
                                                       std::size_t high, Version* seen) const;
  [[nodiscard]] std::optional<std::string> judge_disk(const View& view, std::size_t low,
                                                      std::size_t high, Version* seen) const;
  [[nodiscard]] std::optional<std::string> judge_list(const View& view, std::size_t low,
                                                      std::size_t high, Version* seen) const;
  void reconcile_list(Image& image, const Version& before);

  GuestRules rules_;
  Clock clock_;
  Stamp next_stamp_;
  std::vector<Version> versions_;
  std::vector<Floor> floors_;
  std::string violation_;
  std::optional<LiveOperation> live_;
  // What the request under way does to the disk: an apply that switches under it has held it.
  std::function<void(Version&)> change_;
};

// Judges `bytes`, which stand at `offset`, against `expected`; fills `seen` with what was found.
[[nodiscard]] std::optional<std::string> judge_sectors(ConstBytes bytes, std::uint64_t offset,
                                                       const std::vector<StampSet>& expected,
                                                       std::vector<StampSet>* seen);

// The view an open image gives. The image outlives it.
[[nodiscard]] Guest::View view_of(Image& image);

}  // namespace varve::model
