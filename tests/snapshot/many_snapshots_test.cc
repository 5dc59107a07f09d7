// Long lives of snapshots: any number of them, of disks of any size, against the model's guest.
#include <gtest/gtest.h>

#include "model/guest.h"
#include "snapshot/snapshot_ground.h"

namespace varve::test {
namespace {

class ManySnapshots : public SnapshotGround {
 protected:
  void begin(const CreateOptions& options) {
    make(options);
    model::Version initial;
    initial.disk.size = options.size_bytes;
    initial.disk.sectors.assign(options.size_bytes / kSectorBytes,
                                model::StampSet(model::kZeroStamp));
    model::GuestRules rules;
    rules.cluster_bytes = options.cluster_bytes;
    guest_.emplace(
        rules, std::move(initial), [this] { return ++clock_; }, kFirstStamp);
  }
  [[nodiscard]] std::size_t snapshots() const { return guest_->now().snapshots.size(); }
  // Writes up to three clusters somewhere, or at `offset`.
  Result<void> write(std::optional<std::uint64_t> offset = std::nullopt) {
    const std::uint64_t at =
        offset.value_or(random_.next() % (guest_->size() / kSectorBytes) * kSectorBytes);
    const std::uint64_t length = (random_.next() % 24 + 1) * kSectorBytes;
    return guest_->write(*image_, at, std::min(length, guest_->size() - at));
  }
  // The disk, every snapshot's disk and every state are what they must be.
  void expect_all_whole() {
    EXPECT_EQ(guest_->judge_now(model::view_of(*image_)).value_or(""), "");
    EXPECT_EQ(guest_->violation(), "");
  }
  Result<void> step(unsigned number) {
    const std::string name = "snapshot " + std::to_string(number);
    const std::size_t some = snapshots() == 0 ? 0 : random_.next() % snapshots();
    switch (random_.next() % 8) {
      case 0:
        return guest_->create_snapshot(*image_, name);
      case 1:
        return guest_->create_full_snapshot(*image_, name, (random_.next() % 40) * kSectorBytes);
      case 2:
        return snapshots() == 0 ? Result<void>() : guest_->apply_snapshot(*image_, some);
      case 3:
      case 4:
        return snapshots() < 3 ? Result<void>() : guest_->delete_snapshot(*image_, some);
      default:
        return write();
    }
  }

  static constexpr model::Stamp kFirstStamp = 1;
  sim::Random random_{sim::seed_from_environment()};
  sim::Moment clock_ = 0;
  std::optional<model::Guest> guest_;
};

// History: 641636d19e.
TEST_F(ManySnapshots, TakenAppliedAndDeletedInAnyOrderStayWhole) {
  SCOPED_TRACE("VARVE_SEED=" + std::to_string(sim::seed_from_environment()));
  constexpr unsigned kSteps = 1000;
  constexpr unsigned kStepsBetweenLooks = 100;
  begin(options_of(40 * kKiB + kSectorBytes, 4096));
  for (unsigned i = 1; i <= kSteps; ++i) {
    const Result<void> done = step(i);
    ASSERT_TRUE(done.has_value()) << i << ": " << describe(done.error());
    if (i % kStepsBetweenLooks == 0) {
      ASSERT_NO_FATAL_FAILURE(expect_all_whole());
      ASSERT_NO_FATAL_FAILURE(check(i == kSteps));
      ASSERT_NO_FATAL_FAILURE(expect_all_whole());
    }
  }
}

// History: 35d7ace74b, 7fa140abf6, a1391444fe. The L1 tables have 2, 97 and 130 entries: none ends
// with a sector.
TEST_F(ManySnapshots, OfDisksOfOtherSizesAreAppliedBothWays) {
  SCOPED_TRACE("VARVE_SEED=" + std::to_string(sim::seed_from_environment()));
  begin(options_of(40 * kKiB + kSectorBytes, 512));
  const std::uint64_t sizes[] = {guest_->size(), 97 * 32 * kKiB - kSectorBytes,
                                 130 * 32 * kKiB - 7 * kSectorBytes};
  for (const std::uint64_t size : sizes) {
    if (size > guest_->size()) {
      VARVE_MUST(guest_->grow(*image_, size));
    }
    VARVE_MUST(write(0));
    VARVE_MUST(write(size - 3 * kSectorBytes));
    VARVE_MUST(guest_->create_snapshot(*image_, std::to_string(size)));
    VARVE_MUST(write(size - 2 * kSectorBytes));
  }
  for (const std::size_t index : {0u, 2u, 1u, 0u, 1u, 2u, 0u}) {
    SCOPED_TRACE(index);
    VARVE_MUST(guest_->apply_snapshot(*image_, index));
    ASSERT_EQ(image_->size(), sizes[index]);
    ASSERT_NO_FATAL_FAILURE(expect_all_whole());
    VARVE_MUST(write(0));
    VARVE_MUST(write(sizes[index] - kSectorBytes));
    // What grows behind the applied disk is zero, whatever a larger one held there.
    if (index == 0) {
      VARVE_MUST(guest_->grow(*image_, sizes[1]));
      ASSERT_NO_FATAL_FAILURE(expect_all_whole());
    }
    ASSERT_NO_FATAL_FAILURE(check(index == 1));
    ASSERT_NO_FATAL_FAILURE(expect_all_whole());
  }
}

}  // namespace
}  // namespace varve::test
