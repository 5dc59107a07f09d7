#include "model/scenarios.h"

#include <algorithm>
#include <map>

#include "base/mutation.h"
#include "base/units.h"
#include "model/qemu_img.h"
#include "sim/random.h"

namespace varve::model {

void Session::write(std::uint64_t offset, std::uint64_t length) {
  if (const std::uint64_t clipped = clip(offset, length); clipped > 0) {
    note(guest_.write(*image_, offset, clipped));
  }
}

void Session::write_zeroes(std::uint64_t offset, std::uint64_t length, bool may_unmap) {
  if (const std::uint64_t clipped = clip(offset, length); clipped > 0) {
    note(guest_.write_zeroes(*image_, offset, clipped, may_unmap));
  }
}

void Session::discard(std::uint64_t offset, std::uint64_t length) {
  if (const std::uint64_t clipped = clip(offset, length); clipped > 0) {
    note(guest_.discard(*image_, offset, clipped));
  }
}

void Session::apply_snapshot(std::size_t index) {
  if (index < guest_.now().snapshots.size()) {
    note(guest_.apply_snapshot(*image_, index));
  }
}

void Session::delete_snapshot(std::size_t index) {
  if (index < guest_.now().snapshots.size()) {
    note(guest_.delete_snapshot(*image_, index));
  }
}

void Session::delete_snapshot_in_turn(std::size_t index) {
  if (index < guest_.now().snapshots.size()) {
    note(guest_.delete_snapshot_in_turn(*image_, index));
  }
}

void Session::start_apply(std::size_t index) {
  if (index < guest_.now().snapshots.size()) {
    note(guest_.start_apply(*image_, index));
  }
}

void Session::start_delete(std::size_t index) {
  if (index < guest_.now().snapshots.size()) {
    note(guest_.start_delete(*image_, index));
  }
}

void Session::rename_snapshot(std::size_t index, const char* name) {
  if (index < guest_.now().snapshots.size()) {
    note(guest_.rename_snapshot(*image_, index, name));
  }
}

void Session::repair_all() {
  const Result<RepairReport> report = repair(*image_, Repair::all);
  note(report ? Result<void>() : report.error());
  if (report && report->left) {
    note(*report->left);
  }
}

void Session::reopen(const Host::Opening& opening, bool is_killed) {
  if (is_killed) {
    flush();
    was_killed_ = true;
  } else {
    note(guest_.close(*image_));
  }
  open_again(opening);
}

void Session::open_again(const Host::Opening& opening) {
  const Result<Image*> opened = host_.reopen(opening);
  if (opened) {
    image_ = *opened;
  } else {
    is_open_ = false;
    note(opened.error());
  }
}

void Session::fail_flush() {
  write(part(), kSectorBytes);
  host_.fail_next_flush();
  const bool has_failed = !guest_.flush(*image_);
  const Result<void> written = guest_.write(*image_, 0, kSectorBytes);
  const Result<void> flushed = guest_.flush(*image_);
  const bool is_refused = !written && written.error().code == ErrorCode::poisoned && !flushed &&
                          flushed.error().code == ErrorCode::poisoned;
  // With O9 broken it is for the states to tell.
  if (!kHasMutations && !(has_failed && is_refused)) {
    verdict_ = "after a failed flush the image goes on";
  }
  was_killed_ = true;
  Host::Opening opening;
  opening.forgets_abandoned = true;
  open_again(opening);
  if (verdict_.empty() && !failure_) {
    verdict_ = guest_.look_again(*image_).value_or("");
  }
}

namespace {

bool can_snapshot(const GeometryCase& geometry) {
  return geometry.can_snapshot();
}

void write_some(Session& session) {
  session.write(0, 3 * session.cluster());
  session.flush();
}

void two_snapshots(Session& session) {
  session.write(0, 2 * session.cluster());
  session.create_snapshot("first");
  session.write(session.part(), 2 * session.cluster());
  session.create_snapshot("second");
  session.write(session.cluster(), 2 * session.cluster());
  session.flush();
}

void allocate(Session& session) {
  const std::uint64_t cluster = session.cluster();
  session.write(3 * cluster, session.part());
  session.write(session.size() - 3 * kSectorBytes, 2 * kSectorBytes);
  session.flush();
  session.write(3 * cluster + session.part(), 2 * cluster);
  session.write(5 * cluster, kSectorBytes);
}

void copy_on_write(Session& session) {
  const std::uint64_t cluster = session.cluster();
  session.write(session.part(), kSectorBytes);
  session.write(cluster + cluster / 2 / kSectorBytes * kSectorBytes, cluster);
  session.flush();
  session.write(0, kSectorBytes);
  session.write(2 * cluster, cluster);
}

void write_in_place(Session& session) {
  session.write(0, kSectorBytes);
  session.write(session.cluster() - kSectorBytes, 2 * kSectorBytes);
  session.flush();
  session.write(0, 2 * session.cluster());
}

void zero(Session& session) {
  const std::uint64_t cluster = session.cluster();
  session.write_zeroes(0, cluster, false);
  session.write_zeroes(cluster, cluster, true);
  session.write_zeroes(2 * cluster, kSectorBytes, false);
  session.write_zeroes(3 * cluster, cluster, true);
  session.flush();
  session.write(cluster, kSectorBytes);
  session.write_zeroes(cluster, 2 * kSectorBytes, true);
}

void discard_and_reuse(Session& session) {
  const std::uint64_t cluster = session.cluster();
  session.discard(0, cluster);
  session.discard(2 * cluster, 2 * cluster);
  session.write(0, kSectorBytes);
  session.flush();
  session.discard(cluster, cluster);
  session.write(2 * cluster, cluster);
  session.flush();
  session.write(cluster, session.part());
  session.write(3 * cluster, session.part());
}

void compress(Session& session) {
  const std::uint64_t cluster = session.cluster();
  session.write_compressed(1);
  session.write_compressed(3);
  session.flush();
  session.write(3 * cluster, kSectorBytes);
  session.write_compressed(2);
  session.discard(cluster, cluster);
  session.write_compressed(0);
}

void flush_often(Session& session) {
  const std::uint64_t cluster = session.cluster();
  session.write(3 * cluster, cluster);
  session.flush();
  session.flush();
  session.write(0, kSectorBytes);
  session.flush();
  session.write(3 * cluster + kSectorBytes, cluster);
  session.flush();
}

void grow(Session& session) {
  const std::uint64_t old = session.size();
  session.grow(2 * session.cluster());
  session.write(old - kSectorBytes, 2 * kSectorBytes);
  session.flush();
  session.grow(kSectorBytes);
  session.write(session.size() - kSectorBytes, kSectorBytes);
}

void grow_l1(Session& session) {
  session.grow(2 * kMiB);
  session.write(session.size() - 2 * kSectorBytes, 2 * kSectorBytes);
  session.write(0, kSectorBytes);
}

void create_one(Session& session) {
  session.write(0, kSectorBytes);
  session.create_snapshot("third");
  session.write(session.part(), session.cluster());
  session.flush();
  session.write(0, kSectorBytes);
}

void apply_both(Session& session) {
  session.apply_snapshot(0);
  session.write(0, kSectorBytes);
  session.flush();
  session.apply_snapshot(1);
  session.write(session.cluster(), kSectorBytes);
}

void delete_both(Session& session) {
  session.delete_snapshot(0);
  session.write(0, kSectorBytes);
  session.delete_snapshot(0);
  session.write(session.cluster(), kSectorBytes);
}

void rename_both(Session& session) {
  session.rename_snapshot(0, "a name much longer than the one before it");
  session.rename_snapshot(1, "x");
}

void cycle(Session& session) {
  session.create_snapshot("third");
  session.write(0, session.cluster());
  session.delete_snapshot(0);
  session.apply_snapshot(0);
  session.discard(session.cluster(), session.cluster());
  session.create_snapshot("fourth");
  session.delete_snapshot(1);
  session.write(0, session.part());
}

void create_live(Session& session) {
  session.write(0, kSectorBytes);
  session.freeze_snapshot("third");
  session.write(session.part(), session.cluster());
  session.discard(2 * session.cluster(), session.cluster());
  session.flush();
  session.grow(session.cluster());
  session.publish_snapshot();
  session.write(0, kSectorBytes);
  session.write_zeroes(session.cluster(), session.cluster(), true);
  session.flush();
  session.grow(2 * session.cluster());
  session.finish();
  session.write(0, kSectorBytes);
}

void cancel_live(Session& session) {
  session.freeze_snapshot("third");
  session.write(0, kSectorBytes);
  session.flush();
  session.publish_snapshot();
  session.write(session.cluster(), kSectorBytes);
  session.cancel();
  session.write(2 * session.cluster(), kSectorBytes);
  session.finish();
  session.write(0, kSectorBytes);
  session.flush();
}

void apply_live(Session& session) {
  session.start_apply(0);
  session.write(0, kSectorBytes);
  session.write(session.cluster(), session.cluster());
  session.flush();
  session.write(0, 2 * kSectorBytes);
  session.finish();
  session.write(session.cluster(), kSectorBytes);
}

void delete_live(Session& session) {
  session.start_delete(0);
  session.write(0, kSectorBytes);
  session.discard(session.cluster(), session.cluster());
  session.flush();
  session.write(2 * session.cluster(), kSectorBytes);
  session.grow(session.cluster());
  session.finish();
  session.write(0, kSectorBytes);
}

// What goes on beside guests is dear to explore: whole on two shapes, a share of it on others.
bool is_live_whole(const GeometryCase& geometry) {
  return geometry.name == "C512Refcount64" || geometry.name == "C4kVersion2";
}
bool can_live(const GeometryCase& geometry) {
  return is_live_whole(geometry) || geometry.name == "C512Backing" || geometry.name == "C4k" ||
         geometry.name == "C16kExtended" || geometry.name == "C64k";
}

std::vector<Scenario> make_scenarios() {
  std::vector<Scenario> list;
  const auto add = [&](const char* name, void (*prepare)(Session&), void (*act)(Session&)) {
    list.emplace_back();
    list.back().name = name;
    list.back().prepare = prepare;
    list.back().act = act;
    return &list.back();
  };
  const auto add_control = [&](const char* name, void (*act)(Session&)) {
    Scenario* scenario = add(name, two_snapshots, act);
    scenario->fits = can_snapshot;
    scenario->control = true;
  };
  add("AllocatingWrite", write_some, allocate);
  add("CopyOnWrite", two_snapshots, copy_on_write)->fits = can_snapshot;
  add("InPlaceWrite", write_some, write_in_place);
  add("WriteZeroes", write_some, zero);
  add(
      "Discard", [](Session& s) { s.write(0, 4 * s.cluster()); }, discard_and_reuse);
  add(
      "DiscardUnmap", [](Session& s) { s.write(0, 4 * s.cluster()); }, discard_and_reuse)
      ->discard = DiscardMode::unmap;
  add("DiscardShared", two_snapshots, discard_and_reuse)->fits = can_snapshot;
  add("CompressedWrite", write_some, compress)->fits = [](const GeometryCase& geometry) {
    return geometry.can_compress();
  };
  add("Flush", write_some, flush_often);
  add("Grow", write_some, grow);
  add("GrowL1", write_some, grow_l1)->fits = [](const GeometryCase& geometry) {
    return geometry.name == "C512Refcount64";
  };
  add_control("SnapshotCreate", create_one);
  add_control("SnapshotApply", apply_both);
  add_control("SnapshotDelete", delete_both);
  add_control("SnapshotRename", rename_both);
  add_control("SnapshotCycle", cycle);
  const auto add_live = [&](const char* name, void (*act)(Session&)) {
    Scenario* scenario = add(name, two_snapshots, act);
    scenario->fits = can_live;
    scenario->is_whole = is_live_whole;
    scenario->control = true;
  };
  add_live("LiveCreate", create_live);
  add_live("LiveCancel", cancel_live);
  add_live("LiveApply", apply_live);
  add_live("LiveDelete", delete_live);
  Scenario* dirty = add("OpenDirty", write_some, write_in_place);
  dirty->leave_open = true;
  dirty->fits = [](const GeometryCase& geometry) { return geometry.create.lazy_refcounts; };
  Scenario* bitmap = add("BitmapInUse", write_some, write_in_place);
  bitmap->add_bitmap = true;
  bitmap->fits = [](const GeometryCase& geometry) {
    return geometry.create.version >= 3 && geometry.backing_bytes == 0 && !geometry.has_data_file();
  };
  return list;
}

// Lets qemu-img add a bitmap to the image; false and `why` when it refuses.
bool add_bitmap(sim::SparseBytes& file, std::string& why) {
  if (!has_program("qemu-img")) {
    why.clear();
    return false;
  }
  TemporaryFolder folder;
  const std::string path = folder.file("image.qcow2");
  const bool saved = file.save(path);
  const CommandResult result = run_command({"qemu-img", "bitmap", "--add", path, "bitmap"});
  auto loaded = load_file(path);
  if (!saved || result.status != 0 || !loaded) {
    why = "qemu-img bitmap: " + result.output;
    return false;
  }
  file = std::move(*loaded);
  return true;
}

}  // namespace

const std::vector<Scenario>& scenarios() {
  static const std::vector<Scenario> list = make_scenarios();
  return list;
}

std::optional<Prepared> prepare(Lab& lab, const Scenario& scenario, std::string& why) {
  DiskPair disks;
  why = "preparation failed";
  {
    sim::SimStorage storage(lab.engine(), disks.image);
    sim::SimStorage data(lab.engine(), disks.data);
    if (const Result<void> created = lab.create(storage, &data); !created) {
      why = "create: " + describe(created.error());
      return std::nullopt;
    }
  }
  auto image = lab.open_disks(disks, lab.open_options(true, scenario.discard));
  if (!image) {
    why = "open: " + describe(image.error());
    return std::nullopt;
  }
  sim::Moment clock = 0;
  Guest guest(
      lab.rules(), lab.initial_version(), [&clock] { return ++clock; }, Lab::kFirstStamp);
  Session session(**image, guest, lab.geometry());
  scenario.prepare(session);
  session.flush();
  const Result<void> closed = scenario.leave_open ? Result<void>() : guest.close(**image);
  if (session.failure() || !closed) {
    why = "preparation: " + describe(session.failure() ? *session.failure() : closed.error());
    return std::nullopt;
  }
  Prepared prepared;
  prepared.files.image = disks.image.content.clone();
  prepared.files.data = disks.data.content.clone();
  image->reset();
  prepared.version = guest.now();
  prepared.next_stamp = guest.next_stamp();
  if (scenario.add_bitmap && !add_bitmap(prepared.files.image, why)) {
    return std::nullopt;
  }
  // Few of them at the end, so that the file still has to grow. Not behind a dirty image, whose
  // counts do not say what is free.
  if (!scenario.leave_open && !plant_canaries(prepared.files, 2, why)) {
    return std::nullopt;
  }
  why.clear();
  return prepared;
}

namespace {

std::vector<ScenarioCase> cases_that_are(bool whole) {
  std::vector<ScenarioCase> cases;
  for (const GeometryCase& geometry : geometry_cases()) {
    for (const Scenario& scenario : scenarios()) {
      const bool is_whole = !scenario.is_whole || scenario.is_whole(geometry);
      if (is_whole == whole && (!scenario.fits || scenario.fits(geometry))) {
        cases.push_back({scenario, geometry});
      }
    }
  }
  return cases;
}

std::vector<ScenarioCase> part_of(std::vector<ScenarioCase> all, std::size_t turn,
                                  std::size_t parts) {
  std::map<std::string, std::vector<ScenarioCase>> by_scenario;
  for (ScenarioCase& parameter : all) {
    by_scenario[parameter.scenario.name].push_back(std::move(parameter));
  }
  std::vector<ScenarioCase> part;
  for (auto& [name, cases] : by_scenario) {
    // A scenario of few geometries is in every part with one of them.
    const std::size_t step = std::min(parts, cases.size());
    for (std::size_t place = turn++ % step; place < cases.size(); place += step) {
      part.push_back(std::move(cases[place]));
    }
  }
  return part;
}

std::size_t parts_wanted() {
  return std::max<std::size_t>(sim::environment_number("VARVE_SCENARIO_SHARE", 1), 1);
}

}  // namespace

std::vector<ScenarioCase> scenario_cases() {
  return cases_that_are(true);
}

std::vector<ScenarioCase> share_cases() {
  return cases_that_are(false);
}

std::vector<ScenarioCase> part_of_scenario_cases(std::size_t turn) {
  return part_of_scenario_cases(turn, parts_wanted());
}

std::vector<ScenarioCase> part_of_scenario_cases(std::size_t turn, std::size_t parts) {
  return part_of(scenario_cases(), turn, parts);
}

std::vector<ScenarioCase> part_of_share_cases(std::size_t turn) {
  return part_of(share_cases(), turn, parts_wanted());
}

}  // namespace varve::model
