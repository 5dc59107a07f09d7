// Scenarios: what a guest does while faults are injected or the power is cut. Each is a
// preparation, whose result is durable, and an act, which is put under the microscope.
#pragma once

#include <functional>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "model/lab.h"

namespace varve::model {

// A guest at work on an image. Remembers the first failure and goes on.
class Session {
 public:
  Session(Image& image, Guest& guest, const GeometryCase& geometry) noexcept
      : image_(&image), guest_(guest), geometry_(geometry) {}

  // Ranges are cut at the end of the disk; nothing left means nothing to do.
  void write(std::uint64_t offset, std::uint64_t length);
  void write_zeroes(std::uint64_t offset, std::uint64_t length, bool may_unmap);
  void discard(std::uint64_t offset, std::uint64_t length);
  void write_compressed(std::uint64_t number) {
    note(guest_.write_compressed(*image_, number % clusters()));
  }
  void flush() { note(guest_.flush(*image_)); }
  void grow(std::uint64_t more) { note(guest_.grow(*image_, guest_.size() + more)); }
  void create_full_snapshot(const char* name, std::uint64_t state_bytes) {
    note(guest_.create_full_snapshot(*image_, name, state_bytes));
  }
  void create_snapshot(const char* name) { note(guest_.create_snapshot(*image_, name)); }
  // On a list that a failure left shorter these do nothing.
  void apply_snapshot(std::size_t index);
  void delete_snapshot(std::size_t index);
  void delete_snapshot_in_turn(std::size_t index);
  void rename_snapshot(std::size_t index, const char* name);
  // Beside requests; see Guest.
  void freeze_snapshot(const char* name) { note(guest_.freeze_snapshot(*image_, name)); }
  void publish_snapshot() { note(guest_.publish_snapshot()); }
  void start_apply(std::size_t index);
  void start_delete(std::size_t index);
  void cancel() { guest_.cancel_operation(); }
  [[nodiscard]] bool is_live() const noexcept { return guest_.is_live(); }
  [[nodiscard]] std::size_t snapshots() const noexcept { return guest_.now().snapshots.size(); }
  void repair_all();
  // Two writes of a sector each and a flush at once.
  void write_two_and_flush(std::uint64_t first, std::uint64_t second) {
    note(guest_.write_two_and_flush(*image_, first, second));
  }
  // What whoever holds the files can do between two openings of the image, or before a flush.
  struct Host {
    struct Opening {
      DiscardMode discard = DiscardMode::ignore;
      bool switches_lazy = false;      // Another program turns lazy counts on, or off, before it.
      bool forgets_abandoned = false;  // See CrashDisk.
    };
    std::function<Result<Image*>(const Opening& opening)> reopen;
    std::function<void()> fail_next_flush;
  };
  void allow(Host host) { host_ = std::move(host); }
  // The image is closed and opened again; what is left of it is forgotten instead, as when the
  // process is killed, where `is_killed`. REQUIRES: a host, as for what follows.
  void reopen(const Host::Opening& opening, bool is_killed);
  // A flush fails, the guest asks for more and is refused; then the image is opened again, without
  // what was not durable.
  void fail_flush();
  // Whether the image is there: not where it could not be opened again.
  [[nodiscard]] bool is_open() const noexcept { return is_open_; }
  // What was found wrong on the way; empty: nothing.
  [[nodiscard]] const std::string& verdict() const noexcept { return verdict_; }
  [[nodiscard]] bool was_killed() const noexcept { return was_killed_; }
  // Called by whoever wants to know when a step of several began.
  void begin_step() {
    if (step_began_) {
      step_began_();
    }
  }
  void watch_steps(std::function<void()> step_began) { step_began_ = std::move(step_began); }
  void finish() { note(guest_.finish_operation(*image_)); }

  [[nodiscard]] std::uint64_t cluster() const noexcept { return geometry_.cluster_bytes(); }
  // Whole clusters of the disk as it was created; and where one of them begins, counted round.
  [[nodiscard]] std::uint64_t clusters() const noexcept {
    return geometry_.create.size_bytes / cluster();
  }
  [[nodiscard]] std::uint64_t at(std::uint64_t number) const noexcept {
    return number % clusters() * cluster();
  }
  // A part of a cluster, in whole sectors.
  [[nodiscard]] std::uint64_t part() const noexcept {
    return cluster() / 4 < 512 ? 512 : cluster() / 4;
  }
  [[nodiscard]] std::uint64_t size() const noexcept { return guest_.size(); }
  [[nodiscard]] const GeometryCase& geometry() const noexcept { return geometry_; }
  [[nodiscard]] const std::optional<Error>& failure() const noexcept { return failure_; }

 private:
  void open_again(const Host::Opening& opening);
  [[nodiscard]] std::uint64_t clip(std::uint64_t offset, std::uint64_t length) const noexcept {
    return offset >= size() ? 0 : (length < size() - offset ? length : size() - offset);
  }
  void note(const Result<void>& result) {
    if (!result && !failure_) {
      failure_ = result.error();
    }
  }

  Image* image_;
  Guest& guest_;
  const GeometryCase& geometry_;
  std::optional<Error> failure_;
  Host host_;
  std::string verdict_;
  bool is_open_ = true;
  std::function<void()> step_began_;
  bool was_killed_ = false;
};

struct Scenario {
  std::string name;
  std::function<void(Session&)> prepare;
  std::function<void(Session&)> act;
  std::function<bool(const GeometryCase&)> fits;      // Unset: every geometry.
  std::function<bool(const GeometryCase&)> is_whole;  // Else a share is explored. Unset: all.
  DiscardMode discard = DiscardMode::ignore;
  bool leave_open = false;  // The preparation ends as by a crash after a flush.
  bool add_bitmap = false;  // The preparation ends with a persistent bitmap, made by qemu-img.
  bool control = false;     // Snapshot operations: v2 images may show wrong COPIED flags.
};

[[nodiscard]] const std::vector<Scenario>& scenarios();

// An image a preparation made, and what it holds.
struct Prepared {
  FilePair files;
  Version version;
  Stamp next_stamp = Lab::kFirstStamp;
};
// Nothing, and `why`, when it failed (empty: a program needed is missing).
[[nodiscard]] std::optional<Prepared> prepare(Lab& lab, const Scenario& scenario, std::string& why);

// One scenario on one geometry, as a test parameter.
struct ScenarioCase {
  Scenario scenario;
  GeometryCase geometry;
  [[nodiscard]] std::string name() const { return scenario.name + "_" + geometry.name; }
};
[[nodiscard]] std::vector<ScenarioCase> scenario_cases();
// Those of which a share is explored only.
[[nodiscard]] std::vector<ScenarioCase> share_cases();
// The cases dealt out into parts, of which (up to four) every one holds every scenario and
// geometry. VARVE_SCENARIO_SHARE says into how many (1 unless set); `turn` counts them.
[[nodiscard]] std::vector<ScenarioCase> part_of_scenario_cases(std::size_t turn);
[[nodiscard]] std::vector<ScenarioCase> part_of_scenario_cases(std::size_t turn, std::size_t parts);
[[nodiscard]] std::vector<ScenarioCase> part_of_share_cases(std::size_t turn);
inline std::ostream& operator<<(std::ostream& stream, const ScenarioCase& parameter) {
  return stream << parameter.name();
}

}  // namespace varve::model
