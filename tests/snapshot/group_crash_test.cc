// Goal: a power cut at any moment of a group snapshot, in either image, with guests at work on
// both, leaves the snapshot in all images or in none once it is settled, every disk as its guest
// may find it, and nothing but leaks; the same when the power goes again while it is settled.
// Method: two CrashDisks whose moments are noted together; a seeded sample of what a cut may leave
// of both. VARVE_GROUP_CUTS chooses how many (VARVE_LONG: 40 times as many).
#include <array>

#include <gtest/gtest.h>
#include <varve/group.h>

#include "model/lab.h"
#include "sim/crash_states.h"
#include "sim/decorator_storage.h"
#include "sim/random.h"
#include "snapshot/guest_chain.h"
#include "snapshot/snapshot_ground.h"

namespace varve::test {
namespace {

constexpr std::size_t kImages = 2;
constexpr std::uint64_t kCuts = 48;
constexpr unsigned kSecondCuts = 2;

struct JointMoment {
  std::array<sim::Moment, kImages> at{};
};
using Contents = std::array<sim::SparseBytes, kImages>;

// Two disks of one machine: a power cut hits both at once.
struct Machine {
  std::array<std::unique_ptr<sim::CrashDisk>, kImages> disks;
  std::vector<JointMoment> moments;

  const JointMoment& note() {
    moments.emplace_back();
    for (std::size_t i = 0; i < kImages; ++i) {
      moments.back().at[i] = disks[i]->mark();
    }
    return moments.back();
  }
};

// Notes a moment of the machine before every change of one of its disks.
class NotingStorage final : public sim::DecoratorStorage {
 public:
  NotingStorage(Engine& engine, Machine& machine, std::size_t image)
      : DecoratorStorage(std::make_unique<sim::CrashStorage>(engine, *machine.disks[image])),
        machine_(machine) {}
  void submit(StorageRequest& request) noexcept override {
    if (request.operation != StorageOperation::read) {
      machine_.note();
    }
    forward(request);
  }

 private:
  Machine& machine_;
};

class GroupCrash : public ::testing::Test {
 protected:
  struct OpenImages {
    std::array<std::unique_ptr<Image>, kImages> images;
    std::vector<Image*> all;
  };
  template <class MakeStorage>
  OpenImages open(MakeStorage&& make_storage) {
    OpenImages opened;
    for (std::size_t i = 0; i < kImages; ++i) {
      OpenOptions options;
      options.writable = true;
      auto image = Image::open(make_storage(i), "/lab", options);
      EXPECT_TRUE(image.has_value()) << describe(image.error());
      opened.images[i] = image ? std::move(*image) : nullptr;
      opened.all.push_back(opened.images[i].get());
    }
    return opened;
  }
  OpenImages open_noting(Machine& machine) {
    return open(
        [&](std::size_t i) { return std::make_unique<NotingStorage>(*engine_, machine, i); });
  }
  void prepare() {
    for (std::size_t i = 0; i < kImages; ++i) {
      sim::SimDisk disk;
      CreateOptions options;
      options.size_bytes = 2 * GuestChain::kBytes;
      options.cluster_bytes = GuestChain::kClusterBytes;
      {
        sim::SimStorage storage(*engine_, disk);
        VARVE_MUST(create_image_in(storage, nullptr, options));
      }
      OpenOptions writable;
      writable.writable = true;
      auto image = Image::open(std::make_unique<sim::SimStorage>(*engine_, disk), "/lab", writable);
      VARVE_MUST(image);
      VARVE_MUST((*image)->write(0, ByteVector(GuestChain::kBytes, first_of(i))));
      VARVE_MUST((*image)->close());
      before_[i] = disk.content.clone();
      machine_.disks[i] = std::make_unique<sim::CrashDisk>(before_[i]);
      chains_[i] =
          std::make_unique<GuestChain>(first_of(i), [this, i] { return machine_.note().at[i]; });
    }
  }
  static std::byte first_of(std::size_t image) { return static_cast<std::byte>(1 + image); }
  // The whole run, without a cut.
  void run() {
    OpenImages opened = open_noting(machine_);
    for (std::size_t i = 0; i < kImages; ++i) {
      chains_[i]->start(*opened.images[i]);
    }
    GroupSteps steps;
    steps.owner = this;
    steps.resume = [](void* owner) {
      auto& self = *static_cast<GroupCrash*>(owner);
      for (std::size_t i = 0; i < kImages; ++i) {
        self.frozen_[i] = self.chains_[i]->frozen_now();
      }
    };
    SnapshotCreateOptions options;
    options.name = "group";
    VARVE_MUST(create_group_snapshot(opened.all, options, steps));
    published_ = machine_.note();
    for (std::size_t i = 0; i < kImages; ++i) {
      chains_[i]->stop(*engine_);
      VARVE_MUST(chains_[i]->result());
      EXPECT_GT(chains_[i]->writes(), 3u);
      VARVE_MUST(opened.images[i]->close());
    }
    machine_.note();
  }
  // A choice of what a cut of these disks at `moment` may leave.
  [[nodiscard]] Contents choose(Machine& machine, const JointMoment& moment) {
    Contents contents;
    for (std::size_t i = 0; i < kImages; ++i) {
      sim::CrashOptions options;
      options.seed = random_.next();
      options.from = moment.at[i];
      sim::SectorImage image(machine.disks[i]->start());
      std::uint64_t seen = 0;
      sim::for_each_crash_state(*machine.disks[i], options, image,
                                [&](const sim::CrashState& state, sim::SectorImage& content) {
                                  if (state.moment != moment.at[i]) {
                                    return false;
                                  }
                                  if (random_.below(++seen) == 0) {
                                    contents[i] = content.to_sparse();
                                  }
                                  return true;
                                });
      EXPECT_GT(seen, 0u);
    }
    return contents;
  }
  // The machine starts again: its images are opened and settled.
  void settle(const Contents& contents, const JointMoment& moment) {
    std::array<sim::SimDisk, kImages> disks;
    for (std::size_t i = 0; i < kImages; ++i) {
      disks[i].content = contents[i].clone();
    }
    OpenImages opened =
        open([&](std::size_t i) { return std::make_unique<sim::SimStorage>(*engine_, disks[i]); });
    const auto settled = settle_group(opened.all);
    VARVE_MUST(settled);
    const std::size_t members = list_snapshots(*opened.images[0])->size();
    EXPECT_TRUE(settled->undecided.empty() && (members == 0 || settled->missing.empty()));
    const bool must_be = moment.at[0] >= published_.at[0];
    EXPECT_GE(members, must_be ? 1u : 0u);
    for (std::size_t i = 0; i < kImages; ++i) {
      SCOPED_TRACE("image " + std::to_string(i));
      Image& image = *opened.images[i];
      EXPECT_EQ(model::check_image(image, false, false).value_or(""), "");
      EXPECT_EQ(chains_[i]->judge(image, chains_[i]->left_at(moment.at[i])), "");
      ASSERT_EQ(list_snapshots(image)->size(), members);
      if (members != 0) {
        EXPECT_FALSE(list_snapshots(image)->front().pending);
        auto snapshot = open_snapshot(image, 0);
        VARVE_MUST(snapshot);
        EXPECT_EQ(chains_[i]->judge(**snapshot, frozen_[i]), "");
        VARVE_MUST((*snapshot)->close());
      }
      VARVE_MUST(image.close());
    }
    found_[members != 0 ? 1 : 0] += 1;
  }
  // The power goes again while the images are opened and settled.
  void settle_twice(const Contents& contents, const JointMoment& moment) {
    Machine machine;
    for (std::size_t i = 0; i < kImages; ++i) {
      machine.disks[i] = std::make_unique<sim::CrashDisk>(contents[i]);
    }
    {
      OpenImages opened = open_noting(machine);
      VARVE_MUST(settle_group(opened.all));
      for (auto& image : opened.images) {
        VARVE_MUST(image->close());
      }
    }
    machine.note();
    for (unsigned i = 0; i < kSecondCuts; ++i) {
      settle(choose(machine, random_.pick(machine.moments)), moment);
    }
  }

  std::unique_ptr<Engine> engine_ = model::make_test_engine();
  std::array<sim::SparseBytes, kImages> before_;
  Machine machine_;
  std::array<std::unique_ptr<GuestChain>, kImages> chains_;
  std::array<std::vector<GuestChain::Span>, kImages> frozen_;
  JointMoment published_;
  std::array<std::uint64_t, 2> found_{};  // Cuts that left nothing, and the whole group.
  sim::Random random_{sim::seed_from_environment()};
};

TEST_F(GroupCrash, CutsLeaveTheGroupOrNothing) {
  SCOPED_TRACE("VARVE_SEED=" + std::to_string(sim::seed_from_environment()));
  prepare();
  run();
  ASSERT_FALSE(HasFailure());
  const bool is_long = sim::environment_number("VARVE_LONG", 0) != 0;
  const std::uint64_t cuts =
      sim::environment_number("VARVE_GROUP_CUTS", is_long ? 40 * kCuts : kCuts);
  for (std::uint64_t cut = 0; cut < cuts && !HasFailure(); ++cut) {
    const JointMoment moment = machine_.moments[cut * machine_.moments.size() / cuts];
    SCOPED_TRACE("cut at moments " + std::to_string(moment.at[0]) + " and " +
                 std::to_string(moment.at[1]));
    const Contents contents = choose(machine_, moment);
    settle(contents, moment);
    if (cut % 4 == 1) {
      settle_twice(contents, moment);
    }
  }
  EXPECT_GT(found_[0], 0u);
  EXPECT_GT(found_[1], 0u);
}

}  // namespace
}  // namespace varve::test
