// Goal: what another program does with an image that a crash of Varve left, before anybody has
// repaired it, costs no published snapshot. Method: states that a power cut leaves of each kind of
// change, before and after it was published; one of them is saved, QEMU reads it, uses it as a
// backing file, commits into it, takes, applies and deletes snapshots, resizes it, and commits
// blocks into it under a running guest; then Varve must find every snapshot that was there, and
// the disk as QEMU should have left it, sound and fit for use. What QEMU refuses must change
// nothing, and is listed in docs/OTHER-PROGRAMS.md.
//
// VARVE_INTEROP_SHARE takes one of so many tests, with one state and one version of QEMU each;
// VARVE_LONG takes eight states of every kind. VARVE_SEED chooses the states.
#include <functional>
#include <map>

#include <gtest/gtest.h>
#include <varve/check.h>
#include <varve/group.h>
#include <varve/snapshot.h>
#include <varve/state.h>

#include "base/endian.h"
#include "base/units.h"
#include "interop/workbench.h"
#include "io/qemu_io.h"
#include "model/lab.h"
#include "sim/crash_disk.h"
#include "sim/crash_states.h"
#include "sim/random.h"

namespace varve::interop {
namespace {

constexpr std::uint64_t kCutCluster = 4096;
constexpr std::uint64_t kCutDiskBytes = 256 * kKiB;
constexpr std::uint64_t kStatesLong = 8;  // Of each kind of state.
constexpr const char* kFirst = "first";

// --- what a crash leaves

// What Varve was doing when the power went.
struct Interrupted {
  const char* name;
  void (*make)(Image& image);
  bool is_lazy = false;
  unsigned version = 3;
};

void must(const Result<void>& result) {
  EXPECT_TRUE(result.has_value()) << (result ? "" : describe(result.error()));
}
template <class T>
void must(const Result<T>& result) {
  EXPECT_TRUE(result.has_value()) << (result ? "" : describe(result.error()));
}

void put(Image& image, std::uint64_t cluster, std::uint64_t count, unsigned seed) {
  must(image.write(cluster * kCutCluster, filled(seed, count * kCutCluster)));
}

void take(Image& image, const char* name) {
  SnapshotCreateOptions options;
  options.name = name;
  must(create_snapshot(image, options));
}

void store_state(Image& image) {
  auto writer = StateWriter::create(image);
  must(writer);
  must((*writer)->write(filled(21, 5 * kCutCluster + 700)));
  must((*writer)->finish());
  SnapshotCreateOptions options;
  options.name = "with state";
  options.state = writer->get();
  must(create_snapshot(image, options));
}

// With a second image that the cut does not concern.
void take_of_group(Image& image) {
  sim::SimDisk disk;
  sim::SimStorage storage(image.engine(), disk);
  CreateOptions create;
  create.size_bytes = kCutDiskBytes;
  must(create_image_in(storage, nullptr, create));
  OpenOptions options;
  options.writable = true;
  auto other = Image::open(std::make_unique<sim::SimStorage>(image.engine(), disk), "/", options);
  must(other);
  std::array<Image*, 2> both = {&image, other->get()};
  SnapshotCreateOptions names;
  names.name = "of a group";
  must(create_group_snapshot(both, names));
}

const std::vector<Interrupted>& interrupted() {
  static const std::vector<Interrupted> kInterrupted = {
      {"Create", [](Image& image) { take(image, "third"); }},
      {"CreateVersion2", [](Image& image) { take(image, "third"); }, false, 2},
      {"Apply", [](Image& image) { must(apply_snapshot(image, 0)); }},
      {"Delete", [](Image& image) { must(delete_snapshot(image, 1)); }},
      {"DeleteVersion2", [](Image& image) { must(delete_snapshot(image, 1)); }, false, 2},
      {"Lazy", [](Image& image) { put(image, 2, 30, 6); }, true},
      {"State", store_state},
      {"Group", take_of_group},
  };
  return kInterrupted;
}

struct CrashedImage {
  std::string what;  // "published, dirty"
  sim::SparseBytes file;
};

std::uint64_t field(ConstBytes file, std::size_t offset) {
  return load_be<std::uint64_t>(file, offset);
}
// L1 and snapshot table: what publishing and switching change.
std::uint64_t roots(ConstBytes file) {
  constexpr std::size_t kL1Offset = 40;
  constexpr std::size_t kSnapshotOffset = 64;
  return field(file, kL1Offset) * 31 + field(file, kSnapshotOffset);
}
bool is_dirty(ConstBytes file) {
  constexpr std::size_t kVersion = 4;
  constexpr std::size_t kIncompatible = 72;
  return load_be<std::uint32_t>(file, kVersion) > 2 && (field(file, kIncompatible) & 1) != 0;
}

void prepare(Image& image) {
  put(image, 0, 20, 1);
  take(image, kFirst);
  put(image, 4, 20, 2);
  take(image, "second");
  put(image, 10, 20, 3);
  must(image.write_zeroes(kCutCluster * 12, kCutCluster * 3, true));
  must(image.flush());
}

// `count` states of each kind, chosen by the seed.
std::vector<CrashedImage> crash(const Interrupted& change, std::uint64_t count) {
  model::GeometryCase geometry = model::make_geometry(change.name, kCutCluster, kCutDiskBytes);
  geometry.create.lazy_refcounts = change.is_lazy;
  geometry.create.version = change.version;
  model::Lab lab(geometry);
  sim::SimDisk disk;
  sim::SimStorage storage(lab.engine(), disk);
  must(lab.create(storage));
  const auto use = [&](std::unique_ptr<Storage> file, void (*action)(Image&)) {
    auto image = lab.open(std::move(file), lab.open_options(true));
    must(image);
    action(**image);
    must((*image)->close());
  };
  use(std::make_unique<sim::SimStorage>(lab.engine(), disk), prepare);
  sim::CrashDisk crashed(disk.content);
  use(std::make_unique<sim::CrashStorage>(lab.engine(), crashed), change.make);

  sim::SectorImage content(disk.content);
  const std::uint64_t old_roots = roots(content.bytes());
  std::map<std::string, std::pair<std::uint64_t, std::vector<CrashedImage>>> kinds;
  sim::Random random(sim::seed_from_environment());
  sim::CrashOptions cuts;
  cuts.seed = sim::seed_from_environment();
  sim::for_each_crash_state(
      crashed, cuts, content, [&](const sim::CrashState&, sim::SectorImage& image) {
        const std::string what =
            std::string(roots(image.bytes()) == old_roots ? "before" : "published") +
            (is_dirty(image.bytes()) ? ", dirty" : "");
        auto& [seen, kept] = kinds[what];
        const std::uint64_t place = random.below(++seen);
        if (kept.size() < count) {
          kept.push_back({what, image.to_sparse()});
        } else if (place < count) {
          kept[static_cast<std::size_t>(place)].file = image.to_sparse();
        }
        return true;
      });
  std::vector<CrashedImage> states;
  for (auto& [what, kind] : kinds) {
    std::ranges::move(kind.second, std::back_inserter(states));
  }
  return states;
}

// --- what an image holds

struct Holdings {
  Content disk;
  std::map<std::string, Content> snapshots;  // By UUID and name.
  std::map<std::string, Content> states;
};

Content read_all(Image& image) {
  Content content(static_cast<std::size_t>(image.size()));
  must(image.read(0, content));
  return content;
}

Holdings look_at(Image& image) {
  Holdings found;
  found.disk = read_all(image);
  const auto list = list_snapshots(image);
  must(list);
  for (std::size_t i = 0; list && i < list->size(); ++i) {
    const SnapshotInfo& info = (*list)[i];
    const auto snapshot = open_snapshot(image, i);
    must(snapshot);
    const std::string name = info.name + " " + info.uuid.text();
    found.snapshots[name] = snapshot ? read_all(**snapshot) : Content();
    Content state(static_cast<std::size_t>(info.vm_state_size));
    if (!state.empty()) {
      must(read_vm_state(image, i, 0, state));
    }
    found.states[name] = state;
  }
  return found;
}

// --- what QEMU does

// A crashed image in a folder, QEMU's hands on it, and what both should make of it.
class Encounter {
 public:
  Encounter(const CrashedImage& crashed, const Peer& peer) : peer_(peer) {
    auto engine = Engine::create({});
    must(engine);
    engine_ = std::move(*engine);
    EXPECT_TRUE(crashed.file.save(path()));
    const auto image = open(false);
    before_ = expected_ = look_at(*image);
    must(image->close());
  }
  [[nodiscard]] std::string path(const char* name = "image.qcow2") const {
    return folder_.file(name);
  }
  [[nodiscard]] const Peer& peer() const { return peer_; }
  [[nodiscard]] Holdings& expected() { return expected_; }

  // Whether it did, and what it said.
  bool img(const std::vector<std::string>& arguments) {
    const model::CommandResult result = peer_.img(arguments);
    said_ += result.output;
    return result.status == 0;
  }
  bool io(const std::vector<std::string>& arguments) {
    const model::CommandResult result = peer_.io(arguments);
    said_ += result.output;
    return result.status == 0 && result.output.find("rror") == std::string::npos;
  }
  // The disk as QEMU reads it, through this file.
  bool reads_alike(const std::string& file) {
    if (!img({"convert", "-f", "qcow2", "-O", "raw", file, path("copy.raw")})) {
      return false;
    }
    const auto copy = model::load_file(path("copy.raw"));
    Content content(copy ? static_cast<std::size_t>(copy->size()) : 0);
    if (copy) {
      copy->read(0, content);
    }
    EXPECT_TRUE(content == before_.disk) << "QEMU reads another disk";
    return true;
  }
  // An overlay with changes of its own. The disk with them is what a commit should leave.
  bool make_overlay() {
    constexpr unsigned kSeed = 30;
    const auto pattern = pattern_of(kSeed);
    sim::SparseBytes bytes;
    bytes.write(0, pattern);
    EXPECT_TRUE(bytes.save(path("pattern")));
    const std::string write = "write -s " + path("pattern") + " 8192 81920";
    if (!img({"create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", path(), path("overlay.qcow2")}) ||
        !io({"-f", "qcow2", "-c", write, path("overlay.qcow2")})) {
      return false;
    }
    std::ranges::copy(filled(kSeed, 81'920), expected_.disk.begin() + 8192);
    return true;
  }
  bool commit_under_a_guest();

  // After QEMU: nothing is lost, and the image serves on.
  void judge(bool has_done) {
    SCOPED_TRACE(said_);
    const auto image = open(true);
    ASSERT_NE(image, nullptr);
    const Holdings& expected = has_done ? expected_ : before_;
    const Holdings found = look_at(*image);
    EXPECT_TRUE(found.disk == expected.disk) << "the disk is another";
    for (const auto& [name, content] : expected.snapshots) {
      const auto same = found.snapshots.find(name);
      ASSERT_NE(same, found.snapshots.end()) << name << " is lost";
      EXPECT_TRUE(same->second == content) << name << " shows another disk";
      EXPECT_TRUE(found.states.at(name) == expected.states.at(name))
          << name << " has another state";
    }
    expect_sound(*image);
    put(*image, 0, 40, 50);
    take(*image, "afterwards");
    put(*image, 5, 40, 51);
    expect_sound(*image);
    while (!list_snapshots(*image)->empty()) {
      must(delete_snapshot(*image, 0));
    }
    expect_sound(*image);
    must(image->close());
    const model::CommandResult checked = peer_.img({"check", path()});
    EXPECT_TRUE(checked.status == 0 || checked.status == 3) << checked.output;
  }

 private:
  [[nodiscard]] std::unique_ptr<Image> open(bool writable) {
    OpenOptions options;
    options.writable = writable;
    auto image = Image::open(*engine_, path(), options);
    must(image);
    return image ? std::move(*image) : nullptr;
  }
  static void expect_sound(Image& image) {
    const auto report = check(image);
    must(report);
    EXPECT_EQ(report->corruptions, 0u);
  }

  const Peer& peer_;
  model::TemporaryFolder folder_;
  std::unique_ptr<Engine> engine_;
  Holdings before_;
  Holdings expected_;
  std::string said_;
};

// The guest of a machine that goes on; where there is only the newer version's storage daemon, a
// client of that.
bool Encounter::commit_under_a_guest() {
  if (!make_overlay()) {
    return false;
  }
  const std::string disk =
      "driver=qcow2,node-name=top,file.driver=file,file.filename=" + path("overlay.qcow2");
  std::vector<std::string> machine = {peer_.program("qemu-system-x86_64"),
                                      "-nodefaults",
                                      "-display",
                                      "none",
                                      "-accel",
                                      "tcg",
                                      "-m",
                                      "16",
                                      "-qmp",
                                      "stdio",
                                      "-blockdev",
                                      disk,
                                      "-device",
                                      "virtio-blk-pci,drive=top"};
  if (!model::has_program(machine.front())) {
    machine = {peer_.program("qemu-storage-daemon"),
               "--chardev",
               "stdio,id=qmp",
               "--monitor",
               "chardev=qmp",
               "--blockdev",
               disk};
  }
  test::Dialogue qmp(machine);
  qmp.say(R"({"execute":"qmp_capabilities"})");
  qmp.say(R"({"execute":"block-commit","arguments":{"job-id":"commit","device":"top"}})");
  said_ += qmp.read_until("BLOCK_JOB_READY", "\"error\"");
  if (said_.ends_with("BLOCK_JOB_READY")) {
    qmp.say(R"({"execute":"block-job-complete","arguments":{"device":"commit"}})");
    said_ += qmp.read_until("BLOCK_JOB_COMPLETED", "\"error\"");
  }
  const bool is_done = said_.ends_with("BLOCK_JOB_COMPLETED");
  qmp.say(R"({"execute":"quit"})");
  said_ += qmp.read_until("");
  return is_done;
}

std::string uuid_name(const Holdings& holdings, const std::string& name) {
  for (const auto& [full, content] : holdings.snapshots) {
    if (full.starts_with(name + " ")) {
      return full;
    }
  }
  return name;
}

// One thing QEMU does; whether it did.
struct Action {
  const char* name;
  bool (*act)(Encounter& encounter);
};

const std::vector<Action>& actions() {
  static const std::vector<Action> kActions = {
      {"Read", [](Encounter& it) { return it.reads_alike(it.path()); }},
      {"Back",
       [](Encounter& it) {
         return it.img({"create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", it.path(),
                        it.path("overlay.qcow2")}) &&
                it.reads_alike(it.path("overlay.qcow2"));
       }},
      {"Commit",
       [](Encounter& it) {
         return it.make_overlay() && it.img({"commit", "-q", it.path("overlay.qcow2")});
       }},
      {"CommitUnderAGuest", [](Encounter& it) { return it.commit_under_a_guest(); }},
      {"TakeSnapshot",
       [](Encounter& it) {
         return it.img({"snapshot", "-c", "of qemu", it.path()});
       }},
      {"ApplySnapshot",
       [](Encounter& it) {
         it.expected().disk = it.expected().snapshots.at(uuid_name(it.expected(), kFirst));
         return it.img({"snapshot", "-a", kFirst, it.path()});
       }},
      {"DeleteSnapshot",
       [](Encounter& it) {
         it.expected().snapshots.erase(uuid_name(it.expected(), kFirst));
         return it.img({"snapshot", "-d", kFirst, it.path()});
       }},
      {"Resize",
       [](Encounter& it) {
         it.expected().disk.resize(kCutDiskBytes + 64 * kKiB);
         return it.img({"resize", "-q", it.path(), "+64K"});
       }},
  };
  return kActions;
}

// What QEMU refuses, of the versions there are: "the change, the state: the action".
bool may_refuse(const Interrupted& change, const Action& action) {
  // Version 2 keeps no size with a snapshot.
  return change.version == 2 && std::string_view(action.name) == "Resize";
}

class OtherPrograms : public ::testing::TestWithParam<std::pair<std::size_t, std::size_t>> {};

TEST_P(OtherPrograms, CostNoPublishedSnapshot) {
  VARVE_NEED_PEERS();
  const Interrupted& change = interrupted()[GetParam().first];
  const Action& action = actions()[GetParam().second];
  const bool is_long = sim::environment_number("VARVE_LONG", 0) != 0;
  std::vector<CrashedImage> states = crash(change, is_long ? kStatesLong : 1);
  ASSERT_FALSE(states.empty());
  const bool is_share = part_count() > 1;
  const std::string name = std::string(change.name) + action.name;
  const std::size_t turn = turn_of(name, states.size() * peers().size());
  for (std::size_t i = 0; i < states.size() * peers().size(); ++i) {
    if (is_share && i != turn) {
      continue;
    }
    const CrashedImage& state = states[i / peers().size()];
    const Peer& peer = peers()[i % peers().size()];
    SCOPED_TRACE(peer.name() + ", " + state.what);
    Encounter encounter(state, peer);
    const bool has_done = action.act(encounter);
    std::printf("%s, %s: %s by %s %s\n", change.name, state.what.c_str(), action.name,
                peer.name().c_str(), has_done ? "done" : "refused");
    EXPECT_TRUE(has_done || may_refuse(change, action));
    encounter.judge(has_done);
  }
}

std::vector<std::pair<std::size_t, std::size_t>> encounters() {
  std::vector<std::pair<std::size_t, std::size_t>> all;
  for (std::size_t change = 0; change < interrupted().size(); ++change) {
    for (std::size_t action = 0; action < actions().size(); ++action) {
      if ((change + action) % part_count() == 0) {
        all.emplace_back(change, action);
      }
    }
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Encounters, OtherPrograms, ::testing::ValuesIn(encounters()),
                         [](const auto& parameter) {
                           return std::string(interrupted()[parameter.param.first].name) +
                                  actions()[parameter.param.second].name;
                         });

}  // namespace
}  // namespace varve::interop
