// Goal: a power cut or a failing device while a state is written or published costs nothing but the
// snapshot under way, and leaves nothing but leaks. Method: one run on a CrashDisk, a seeded sample
// of what a cut may leave; the same run with each I/O failing in turn.
#include <array>
#include <functional>
#include <optional>

#include <gtest/gtest.h>
#include <varve/snapshot_operation.h>
#include <varve/state.h>

#include "model/lab.h"
#include "sim/crash_states.h"
#include "sim/faulty_storage.h"
#include "sim/random.h"
#include "snapshot/guest_chain.h"
#include "snapshot/snapshot_ground.h"

namespace varve::test {
namespace {

constexpr std::uint64_t kStatesExamined = 60;

class StateCrashTest : public SnapshotGround {
 protected:
  StateCrashTest() : blob_(pattern(30'000, 5)), old_(pattern(40'000, 6)) {
    std::fill(blob_.begin() + 8'000, blob_.begin() + 17'000, std::byte{0});
  }
  // An image that holds a full snapshot already.
  void prepare(std::uint32_t version) {
    CreateOptions options = options_of(256 * kKiB, 4096);
    options.version = version;
    make(options);
    VARVE_MUST(image_->write(0, pattern(64 * kKiB, 1)));
    ASSERT_TRUE(take_full(*image_, "old", old_).has_value());
    VARVE_MUST(image_->close());
    image_.reset();
  }
  static Result<void> take_full(Image& image, const std::string& name, const ByteVector& blob) {
    auto state = StateWriter::create(image);
    if (!state) {
      return state.error();
    }
    for (std::size_t at = 0; at < blob.size(); at += 9'000) {
      const Result<void> written = (*state)->write(
          std::span(blob).subspan(at, std::min<std::size_t>(9'000, blob.size() - at)));
      if (!written) {
        return written;
      }
    }
    if (const Result<void> finished = (*state)->finish(); !finished) {
      return finished;
    }
    SnapshotCreateOptions options;
    options.name = name;
    options.state = state->get();
    const auto created = create_snapshot(image, options);
    return created ? Result<void>() : created.error();
  }
  static void expect_state(Image& image, const std::string& name, const ByteVector& blob) {
    const auto index = find_snapshot(image, {.text = name});
    ASSERT_TRUE(index.has_value()) << name;
    auto reader = StateReader::open(image, *index);
    VARVE_MUST(reader);
    ByteVector read((*reader)->size());
    VARVE_MUST((*reader)->read_at(0, read));
    EXPECT_EQ(read, blob) << name;
  }
  std::unique_ptr<Image> open_on(std::unique_ptr<Storage> storage) {
    OpenOptions options;
    options.writable = true;
    auto opened = Image::open(std::move(storage), "/lab", options);
    EXPECT_TRUE(opened.has_value()) << describe(opened.error());
    return opened ? std::move(*opened) : nullptr;
  }
  // Opens what was left, and uses it.
  void examine(const sim::SparseBytes& content, bool must_have_new, bool may_mismatch) {
    sim::SimDisk disk;
    disk.content = content.clone();
    const auto image = open_on(std::make_unique<sim::SimStorage>(*engine_, disk));
    ASSERT_NE(image, nullptr);
    EXPECT_EQ(model::check_image(*image, may_mismatch, false).value_or(""), "");
    expect_state(*image, "old", old_);
    if (find_snapshot(*image, {.text = "new"}).has_value()) {
      expect_state(*image, "new", blob_);
    } else {
      EXPECT_FALSE(must_have_new);
    }
    VARVE_MUST(image->write(4096, pattern(30'000, 8)));
    EXPECT_TRUE(take_full(*image, "after", old_).has_value());
    expect_state(*image, "after", old_);
    expect_state(*image, "old", old_);
    VARVE_MUST(image->close());
  }
  // A seeded sample of what cuts of the run may leave.
  void for_each_cut(
      const sim::CrashDisk& disk,
      const std::function<void(const sim::CrashState&, const sim::SparseBytes&)>& visit) {
    const std::uint64_t seed = sim::seed_from_environment();
    SCOPED_TRACE("VARVE_SEED=" + std::to_string(seed));
    sim::CrashOptions options;
    options.seed = seed;
    std::uint64_t left = 0;
    sim::SectorImage counted(disk.start());
    sim::for_each_crash_state(disk, options, counted, [&](const auto&, auto&) {
      ++left;
      return true;
    });
    sim::Random choice(seed);
    std::uint64_t wanted = std::min(left, kStatesExamined);
    sim::SectorImage image(disk.start());
    sim::for_each_crash_state(disk, options, image,
                              [&](const sim::CrashState& state, sim::SectorImage& content) {
                                if (choice.below(left--) < wanted) {
                                  --wanted;
                                  SCOPED_TRACE(state.text());
                                  visit(state, content.to_sparse());
                                }
                                return !HasFailure();
                              });
  }
  void explore_cuts(std::uint32_t version) {
    prepare(version);
    sim::CrashDisk disk(disk_.content);
    sim::Moment published = 0;
    {
      const auto image = open_on(std::make_unique<sim::CrashStorage>(*engine_, disk));
      ASSERT_NE(image, nullptr);
      ASSERT_TRUE(take_full(*image, "new", blob_).has_value());
      published = disk.mark();
      VARVE_MUST(image->write(0, pattern(20'000, 3)));
      VARVE_MUST(image->close());
    }
    for_each_cut(disk, [&](const sim::CrashState& state, const sim::SparseBytes& content) {
      examine(content, state.moment >= published, version < 3);
    });
  }

  ByteVector blob_;
  ByteVector old_;
};

TEST_F(StateCrashTest, CutsLeaveNothingButLeaks) {
  explore_cuts(3);
}

TEST_F(StateCrashTest, CutsLeaveNothingButLeaksInVersion2) {
  explore_cuts(2);
}

// Dropped: the state is there whole or gone, the snapshot's disk is as ever.
TEST_F(StateCrashTest, CutsInDroppingAStateLeaveAllOfItOrNothing) {
  prepare(3);
  sim::CrashDisk disk(disk_.content);
  sim::Moment dropped = 0;
  {
    const auto image = open_on(std::make_unique<sim::CrashStorage>(*engine_, disk));
    ASSERT_NE(image, nullptr);
    VARVE_MUST(image->write(0, pattern(20'000, 3)));
    VARVE_MUST(drop_snapshot_state(*image, 0));
    dropped = disk.mark();
    VARVE_MUST(image->write(30'000, pattern(20'000, 4)));
    VARVE_MUST(image->close());
  }
  for_each_cut(disk, [&](const sim::CrashState& state, const sim::SparseBytes& content) {
    sim::SimDisk left;
    left.content = content.clone();
    const auto image = open_on(std::make_unique<sim::SimStorage>(*engine_, left));
    ASSERT_NE(image, nullptr);
    EXPECT_EQ(model::check_image(*image, false, false).value_or(""), "");
    if (list_snapshots(*image).value().at(0).vm_state_size != 0) {
      EXPECT_LT(state.moment, dropped);
      expect_state(*image, "old", old_);
    }
    VARVE_MUST(apply_snapshot(*image, 0));
    ByteVector read(64 * kKiB);
    VARVE_MUST(image->read(0, read));
    EXPECT_EQ(read, pattern(64 * kKiB, 1));
    VARVE_MUST(image->close());
  });
}

// Parallel writes of a state, and its publication, while a guest writes and flushes the disk.
class StateBesideGuest : public StateCrashTest {
 protected:
  static constexpr std::byte kFirst{0x11};
  static constexpr std::size_t kPieces = 5;

  void prepare_guest() {
    prepare(3);
    sim::SimDisk disk;
    disk.content = disk_.content.clone();
    const auto image = open_on(std::make_unique<sim::SimStorage>(*engine_, disk));
    VARVE_MUST(image->write(0, ByteVector(GuestChain::kBytes, kFirst)));
    VARVE_MUST(image->close());
    disk_.content = std::move(disk.content);
  }
  // All pieces in flight at once, the last one first.
  Result<void> write_state(StateWriter& state) {
    struct Piece {
      StateRequest request;
      std::optional<Result<void>> result;
    };
    std::array<Piece, kPieces> pieces;
    const std::size_t length = blob_.size() / kPieces;
    for (std::size_t i = kPieces; i-- > 0;) {
      pieces[i].request.offset = i * length;
      pieces[i].request.source = std::span(blob_).subspan(i * length, length);
      pieces[i].request.owner = &pieces[i];
      pieces[i].request.complete = [](StateRequest& request, const Result<void>& result) {
        static_cast<Piece*>(request.owner)->result.emplace(result);
      };
      state.submit(pieces[i].request);
    }
    Result<void> outcome;
    for (Piece& piece : pieces) {
      while (!piece.result) {
        engine_->wait();
      }
      outcome = outcome ? *piece.result : outcome;
    }
    const Result<void> finished = state.finish();
    return outcome ? finished : outcome;
  }
  void publish(Image& image, StateWriter& state, GuestChain& guest) {
    struct Freeze {
      GuestChain* guest;
      std::vector<GuestChain::Span>* spans;
    } freeze{&guest, &frozen_};
    SnapshotCreateOptions wishes;
    wishes.name = "new";
    wishes.state = &state;
    OperationOptions options;
    options.owner = &freeze;
    options.changed = [](SnapshotOperation& operation, void* owner) {
      const auto& at = *static_cast<Freeze*>(owner);
      if (operation.progress().phase == SnapshotPhase::walking) {
        *at.spans = at.guest->frozen_now();
      }
    };
    auto creation = start_create(image, wishes, options);
    VARVE_MUST(creation);
    VARVE_MUST((*creation)->wait());
  }
  void judge(const sim::SparseBytes& content, const GuestChain& guest, sim::Moment moment) {
    sim::SimDisk disk;
    disk.content = content.clone();
    const auto image = open_on(std::make_unique<sim::SimStorage>(*engine_, disk));
    ASSERT_NE(image, nullptr);
    EXPECT_EQ(model::check_image(*image, false, false).value_or(""), "");
    EXPECT_EQ(guest.judge(*image, guest.left_at(moment)), "");
    expect_state(*image, "old", old_);
    const auto index = find_snapshot(*image, {.text = "new"});
    EXPECT_TRUE(index.has_value() || moment < published_);
    if (index) {
      expect_state(*image, "new", blob_);
      auto snapshot = open_snapshot(*image, *index);
      VARVE_MUST(snapshot);
      EXPECT_EQ(guest.judge(**snapshot, frozen_), "");
      VARVE_MUST((*snapshot)->close());
    }
    ++found_[index ? 1 : 0];
    VARVE_MUST(image->close());
  }
  // The power goes again while the image is opened and settled.
  void judge_again(const sim::SparseBytes& content, const GuestChain& guest, sim::Moment moment) {
    sim::CrashDisk disk(content);
    {
      const auto image = open_on(std::make_unique<sim::CrashStorage>(*engine_, disk));
      ASSERT_NE(image, nullptr);
      VARVE_MUST(image->close());
    }
    unsigned left = 3;
    for_each_cut(disk, [&](const sim::CrashState&, const sim::SparseBytes& again) {
      if (left != 0) {
        --left;
        judge(again, guest, moment);
      }
    });
  }

  std::vector<GuestChain::Span> frozen_;
  sim::Moment published_ = 0;
  std::array<unsigned, 2> found_{};
};

TEST_F(StateBesideGuest, CutsLeaveTheWholeStateOrNothing) {
  prepare_guest();
  sim::CrashDisk disk(disk_.content);
  GuestChain guest(kFirst, [&disk] { return disk.mark(); });
  {
    const auto image = open_on(std::make_unique<sim::CrashStorage>(*engine_, disk));
    ASSERT_NE(image, nullptr);
    guest.start(*image);
    auto state = StateWriter::create(*image);
    VARVE_MUST(state);
    VARVE_MUST(write_state(**state));
    publish(*image, **state, guest);
    published_ = disk.mark();
    state->reset();
    guest.stop(*engine_);
    VARVE_MUST(guest.result());
    VARVE_MUST(image->close());
  }
  unsigned visited = 0;
  for_each_cut(disk, [&](const sim::CrashState& state, const sim::SparseBytes& content) {
    judge(content, guest, state.moment);
    if (++visited % 8 == 0) {
      judge_again(content, guest, state.moment);
    }
  });
  EXPECT_GT(found_[0], 0u);
  EXPECT_GT(found_[1], 0u);
}

// History: d1ea98d56d.
TEST_F(StateCrashTest, EveryFailureIsToldAndCostsNothingElse) {
  prepare(3);
  std::uint64_t nth = 0;
  for (bool was_hit = true; was_hit; ++nth) {
    SCOPED_TRACE("I/O " + std::to_string(nth));
    sim::SimDisk disk;
    disk.content = disk_.content.clone();
    sim::FaultPlan plan;
    auto image = open_on(std::make_unique<sim::FaultyStorage>(
        std::make_unique<sim::SimStorage>(*engine_, disk), plan));
    ASSERT_NE(image, nullptr);
    plan.reset_counts();
    plan.fail_index(nth, nth % 2 == 0 ? EIO : ENOSPC);
    const Result<void> taken = take_full(*image, "new", blob_);
    was_hit = plan.hits() != 0;
    EXPECT_TRUE(was_hit || taken.has_value());
    plan.lift();
    if (image->close()) {
      // Only the guard does without what it reads: the old snapshot's L1, before the first change.
      EXPECT_FALSE(was_hit && nth == 1 && taken.has_value());
    }
    image.reset();
    examine(disk.content, taken.has_value(), false);
    ASSERT_FALSE(HasFailure());
  }
  EXPECT_GT(nth, 15u);
}

}  // namespace
}  // namespace varve::test
