// Internal snapshots in both directions: taken by one program, read, applied and deleted by the
// other.
#include <map>

#include <gtest/gtest.h>
#include <varve/snapshot.h>

#include "interop/workbench.h"

namespace varve::interop {
namespace {

std::vector<Case> cases(bool can_snapshot) {
  std::vector<Case> found;
  for (const Case& example : legal_cases()) {
    if (example.can_snapshot() == can_snapshot) {
      found.push_back(example);
    }
  }
  return found;
}

// One kind of hand on the snapshots of a bench's image, which is closed between the steps.
class Hand {
 public:
  explicit Hand(Workbench& bench) : bench_(bench) {}
  virtual ~Hand() = default;
  virtual void create(const std::string& name) = 0;
  virtual void apply(const std::string& name) = 0;
  virtual void remove(const std::string& name) = 0;
  virtual void run(const Script& script) = 0;
  [[nodiscard]] virtual Actor actor() const = 0;

 protected:
  Workbench& bench_;
};

class VarveHand final : public Hand {
 public:
  using Hand::Hand;
  void create(const std::string& name) override {
    change([&](Image& image) {
      SnapshotCreateOptions options;
      options.name = name;
      options.date_seconds = 1'700'000'000;
      VARVE_EXPECT_OK(create_snapshot(image, options));
    });
  }
  void apply(const std::string& name) override {
    change([&](Image& image) { VARVE_EXPECT_OK(apply_snapshot(image, index(image, name))); });
  }
  void remove(const std::string& name) override {
    change([&](Image& image) { VARVE_EXPECT_OK(delete_snapshot(image, index(image, name))); });
  }
  void run(const Script& script) override { bench_.run_by_varve(script); }
  [[nodiscard]] Actor actor() const override { return Actor::varve; }

 private:
  static std::size_t index(const Image& image, const std::string& name) {
    const Result<std::size_t> found = find_snapshot(image, {name, SnapshotReference::By::name});
    EXPECT_TRUE(found.has_value()) << name;
    return found ? *found : 0;
  }
  template <class Change>
  void change(Change change_image) {
    const std::unique_ptr<Image> image = bench_.open(true);
    ASSERT_NE(image, nullptr);
    change_image(*image);
    VARVE_EXPECT_OK(image->close());
  }
};

class QemuHand final : public Hand {
 public:
  QemuHand(Workbench& bench, const Peer& peer) : Hand(bench), peer_(peer) {}
  void create(const std::string& name) override { snapshot("-c", name); }
  void apply(const std::string& name) override { snapshot("-a", name); }
  void remove(const std::string& name) override { snapshot("-d", name); }
  void run(const Script& script) override { bench_.run_by(peer_, script); }
  [[nodiscard]] Actor actor() const override { return Actor::qemu; }

 private:
  void snapshot(const char* verb, const std::string& name) {
    const model::CommandResult result = peer_.img({"snapshot", verb, name, bench_.image_path()});
    EXPECT_EQ(result.status, 0) << verb << " " << name << "\n" << result.output;
  }
  const Peer& peer_;
};

// What the disk and every snapshot must hold, and a story that changes them through two hands.
class Story {
 public:
  explicit Story(Workbench& bench) : bench_(bench), disk_(new_content(bench.example())) {}

  void run(Hand& hand, const Script& script) {
    interop::apply(bench_.example(), hand.actor(), script, disk_);
    hand.run(script);
  }
  void create(Hand& hand, const std::string& name) {
    hand.create(name);
    snapshots_[name] = disk_;
  }
  void apply(Hand& hand, const std::string& name) {
    hand.apply(name);
    disk_ = snapshots_[name];
  }
  void remove(Hand& hand, const std::string& name) {
    hand.remove(name);
    snapshots_.erase(name);
  }
  void expect_by_varve() {
    bench_.expect_by_varve(disk_);
    const std::unique_ptr<Image> image = bench_.open(false);
    ASSERT_NE(image, nullptr);
    const auto list = list_snapshots(*image);
    ASSERT_TRUE(list.has_value());
    ASSERT_EQ(list->size(), snapshots_.size());
    for (std::size_t i = 0; i < list->size(); ++i) {
      const std::string& name = (*list)[i].name;
      EXPECT_EQ((*list)[i].disk_size, snapshots_[name].size());
      const auto view = open_snapshot(*image, i);
      ASSERT_TRUE(view.has_value()) << describe(view.error());
      Workbench::expect_content(**view, snapshots_[name], name);
      VARVE_EXPECT_OK((*view)->close());
    }
    VARVE_EXPECT_OK(image->close());
  }
  void expect_by(const Peer& peer) {
    bench_.expect_by(peer, disk_);
    for (const auto& [name, content] : snapshots_) {
      bench_.expect_snapshot_by(peer, name, content);
    }
  }

  [[nodiscard]] Script over_everything(unsigned seed) const {
    const std::uint64_t cluster = bench_.example().cluster_bytes;
    return {{Step::Action::write, cluster / 4, 2 * cluster, seed},
            {Step::Action::zero_unmap, 4 * cluster, cluster, 0},
            {Step::Action::discard, 5 * cluster, cluster, 0},
            {Step::Action::write, disk_.size() - 3000, 2999, seed + 1},
            {Step::Action::write, 6 * cluster + 3, 7, seed + 2}};
  }

 private:
  Workbench& bench_;
  Content disk_;
  std::map<std::string, Content> snapshots_;
};

// Three snapshots by `first`, then applied, changed and deleted by `second`.
void tell(Workbench& bench, Story& story, Hand& first, Hand& second, const Peer& peer) {
  story.run(first, first_writes(bench.example()));
  story.create(first, "one");
  story.run(first, story.over_everything(3));
  story.create(first, "two");
  story.run(first, story.over_everything(5));
  story.create(first, "three");
  story.expect_by_varve();
  if (first.actor() == Actor::varve) {
    story.expect_by(peer);
  }
  story.apply(second, "one");
  story.run(second, story.over_everything(1));
  story.remove(second, "two");
  story.create(second, "four");
  story.apply(second, "three");
  story.expect_by_varve();
  story.expect_by(peer);
  for (const char* name : {"three", "one", "four"}) {
    story.remove(second, name);
  }
  story.run(second, story.over_everything(2));
  story.expect_by_varve();
  story.expect_by(peer);
}

const auto kNameCase = [](const auto& parameter) { return name_of(parameter.param); };

class SnapshotsByQemu : public ::testing::TestWithParam<Case> {};

TEST_P(SnapshotsByQemu, ThenByVarve) {
  VARVE_NEED_PEERS();
  Workbench bench(GetParam());
  bench.create_by(peers().front());
  Story story(bench);
  VarveHand varve(bench);
  QemuHand qemu(bench, peers().front());
  tell(bench, story, qemu, varve, peers().front());
}

class SnapshotsByVarve : public ::testing::TestWithParam<Case> {};

TEST_P(SnapshotsByVarve, ThenByQemu) {
  VARVE_NEED_PEERS();
  Workbench bench(GetParam());
  bench.create_by_varve();
  Story story(bench);
  VarveHand varve(bench);
  QemuHand qemu(bench, peers().back());
  tell(bench, story, varve, qemu, peers().back());
}

// Another share for either direction: of two every case goes one way.
INSTANTIATE_TEST_SUITE_P(Matrix, SnapshotsByQemu,
                         ::testing::ValuesIn(part_of_cases(cases(true), 0)), kNameCase);
INSTANTIATE_TEST_SUITE_P(Matrix, SnapshotsByVarve,
                         ::testing::ValuesIn(part_of_cases(cases(true), 1)), kNameCase);

class NoSnapshots : public ::testing::TestWithParam<Case> {};

TEST_P(NoSnapshots, AreRefusedByBoth) {
  VARVE_NEED_PEERS();
  Workbench bench(GetParam());
  bench.create_by_varve();
  const Script script = first_writes(GetParam());
  bench.run_by_varve(script);
  Content content = new_content(GetParam());
  apply(GetParam(), Actor::varve, script, content);
  const std::unique_ptr<Image> image = bench.open(true);
  ASSERT_NE(image, nullptr);
  SnapshotCreateOptions options;
  options.name = "refused";
  const Result<SnapshotCreated> created = create_snapshot(*image, options);
  ASSERT_FALSE(created.has_value());
  EXPECT_EQ(created.error().code, ErrorCode::unsupported) << describe(created.error());
  const std::string_view what = created.error().what;
  const bool is_named = GetParam().kind == Kind::data_file
                            ? what.find("data file") != std::string_view::npos
                            : what.find("refcount") != std::string_view::npos;
  EXPECT_TRUE(is_named) << describe(created.error());
  VARVE_EXPECT_OK(image->close());
  bench.expect_by_varve(content);
  for (const Peer& peer : peers()) {
    bench.expect_by(peer, content);
  }
  for (const Peer& peer : peers()) {  // Their refusals leave a leaked cluster behind.
    EXPECT_NE(peer.img({"snapshot", "-c", "refused", bench.image_path()}).status, 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Matrix, NoSnapshots, ::testing::ValuesIn(part_of_cases(cases(false), 0)),
                         kNameCase);

}  // namespace
}  // namespace varve::interop
