// Machine state: what was written is read back and verified, costs what its content costs, and is
// part of one snapshot or of nothing.
#include <algorithm>
#include <map>

#include <gtest/gtest.h>
#include <varve/snapshot_operation.h>
#include <varve/state.h>

#include "sim/random.h"
#include "snapshot/facts_table.h"
#include "snapshot/snapshot_ground.h"

namespace varve::test {
namespace {

struct StateCase {
  const char* name;
  CreateOptions create;
};

std::vector<StateCase> state_cases() {
  std::vector<StateCase> cases;
  const auto add = [&](const char* name, std::uint32_t cluster_bytes, std::uint32_t version) {
    StateCase example{name, {}};
    example.create.size_bytes = 3 * kMiB + kSectorBytes;
    example.create.cluster_bytes = cluster_bytes;
    example.create.version = version;
    cases.push_back(example);
    return &cases.back().create;
  };
  add("Plain", 65536, 3);
  add("Version2", 65536, 2);
  add("Tiny", 512, 3)->refcount_bits = 64;
  add("Huge", 2u << 20, 3);
  add("Extended", 16384, 3)->extended_l2 = true;
  for (const std::uint32_t version : {2u, 3u}) {
    CreateOptions* backed = add(version == 2 ? "Backed2" : "Backed3", 4096, version);
    backed->backing_name = "below.raw";
    backed->backing_format = "raw";
  }
  return cases;
}

class StateTest : public SnapshotGround, public ::testing::WithParamInterface<StateCase> {
 protected:
  std::unique_ptr<StateWriter> writer() {
    auto made = StateWriter::create(*image_);
    EXPECT_TRUE(made.has_value()) << describe(made.error());
    return made ? std::move(*made) : nullptr;
  }
  SnapshotCreated take_full(const std::string& name, StateWriter& state) {
    SnapshotCreateOptions options;
    options.state = &state;
    return take(name, options);
  }
  void expect_state(const std::string& name, const ByteVector& expected) {
    auto reader = StateReader::open(*image_, find(name));
    VARVE_MUST(reader);
    EXPECT_TRUE((*reader)->is_verified());
    ASSERT_EQ((*reader)->size(), expected.size());
    ByteVector whole(expected.size());
    VARVE_MUST((*reader)->read_at(0, whole));
    EXPECT_EQ(whole, expected);
    // Again as a stream of odd pieces.
    ByteVector streamed;
    ByteVector piece(100'003);
    for (std::size_t length = 1; length != 0;) {
      const auto read = (*reader)->read(piece);
      VARVE_MUST(read);
      length = *read;
      streamed.insert(streamed.end(), piece.begin(),
                      piece.begin() + static_cast<std::ptrdiff_t>(length));
    }
    EXPECT_EQ(streamed, expected);
  }
};

INSTANTIATE_TEST_SUITE_P(Cases, StateTest, ::testing::ValuesIn(state_cases()),
                         [](const auto& parameter) { return parameter.param.name; });

// Blocks of data, of zeros, and of both.
ByteVector mixed(std::size_t size, unsigned seed) {
  ByteVector bytes = pattern(size, seed);
  for (std::size_t at = 0; at < size; at += 50'000) {
    if (at / 50'000 % 3 == 1) {
      std::fill(bytes.begin() + static_cast<std::ptrdiff_t>(at),
                bytes.begin() + static_cast<std::ptrdiff_t>(std::min(size, at + 50'000)),
                std::byte{0});
    }
  }
  return bytes;
}

// History: 6b7d4c5558.
TEST_P(StateTest, HoldsEverySizeOfBlob) {
  make(GetParam().create);
  VARVE_MUST(image_->write(0, pattern(kMiB, 9)));
  std::map<std::string, ByteVector> blobs;
  const bool is_huge = GetParam().create.cluster_bytes > kMiB;  // Slow to simulate.
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{65536},
                                 std::size_t{65537}, std::size_t{777'777}}) {
    if (is_huge && size > 1 && size <= 65537) {
      continue;
    }
    const std::string name = "s" + std::to_string(size);
    blobs[name] = mixed(size, static_cast<unsigned>(size));
    const auto state = writer();
    for (std::size_t at = 0; at < size; at += 100'001) {
      VARVE_MUST(state->write(
          std::span(blobs[name]).subspan(at, std::min<std::size_t>(100'001, size - at))));
    }
    VARVE_MUST(state->finish());
    const SnapshotCreated taken = take_full(name, *state);
    EXPECT_EQ(taken.id, list().back().id);
    EXPECT_EQ(list().back().vm_state_size, size);
    EXPECT_TRUE(list().back().has_state_digest);
    VARVE_MUST(image_->write(512 * blobs.size(), pattern(5000, 3)));
  }
  check();
  for (const auto& [name, blob] : blobs) {
    expect_state(name, blob);
  }
  // The disk never sees it, and a deleted snapshot gives all of it back.
  VARVE_MUST(apply_snapshot(*image_, find("s777777")));
  while (!list().empty()) {
    VARVE_MUST(delete_snapshot(*image_, 0));
  }
  check();
}

// Parallel writes at offsets, overlapping buffers in small pieces, against a model.
// History: 6b7d4c5558.
TEST_P(StateTest, TakesWritesInAnyOrder) {
  const std::uint64_t seed = sim::seed_from_environment();
  SCOPED_TRACE("VARVE_SEED=" + std::to_string(seed));
  sim::Random random(seed);
  make(GetParam().create);
  const auto state = writer();
  ByteVector model(900'000);
  struct Piece : StateRequest {
    ByteVector bytes;
    bool is_done = false;
  };
  std::size_t size = 0;
  for (int round = 0; round < 12; ++round) {
    // Pieces of one round do not overlap; the rounds rewrite each other.
    std::vector<Piece> pieces(20);
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      Piece& piece = pieces[i];
      piece.offset = i * 45'000 + random.below(20'000);
      piece.bytes = random.chance(25) ? ByteVector(random.below(25'000))
                                      : pattern(random.below(25'000), unsigned(random.below(99)));
      piece.source = piece.bytes;
      piece.complete = [](StateRequest& request, const Result<void>& result) {
        EXPECT_TRUE(result.has_value()) << describe(result.error());
        static_cast<Piece&>(request).is_done = true;
      };
      std::ranges::copy(piece.bytes, model.begin() + static_cast<std::ptrdiff_t>(piece.offset));
      size = std::max(size, static_cast<std::size_t>(piece.offset) + piece.bytes.size());
    }
    std::vector<Piece*> order;
    for (Piece& piece : pieces) {
      order.push_back(&piece);
    }
    while (!order.empty()) {
      Piece*& next = random.pick(order);
      state->submit(*next);
      EXPECT_FALSE(next->is_done) << "completed inside submit";
      next = order.back();
      order.pop_back();
    }
    while (!std::ranges::all_of(pieces, [](const Piece& piece) { return piece.is_done; })) {
      engine_->wait();
    }
  }
  model.resize(size);
  EXPECT_EQ(state->size(), size);
  VARVE_MUST(state->finish());
  take_full("random", *state);
  check();
  expect_state("random", model);
}

// The blob goes, the disk stays, nothing leaks.
TEST_P(StateTest, DropsTheStateAndKeepsTheDisk) {
  make(GetParam().create);
  const ByteVector disk = pattern(kMiB, 1);
  VARVE_MUST(image_->write(0, disk));
  const auto state = writer();
  VARVE_MUST(state->write(pattern(300'000, 2)));
  VARVE_MUST(state->finish());
  take_full("full", *state);
  VARVE_MUST(image_->write(0, pattern(kMiB, 3)));
  {
    auto reader = StateReader::open(*image_, 0);
    VARVE_MUST(reader);
    EXPECT_EQ(drop_snapshot_state(*image_, 0).error().code, ErrorCode::busy);
  }
  VARVE_MUST(drop_snapshot_state(*image_, 0));
  VARVE_MUST(drop_snapshot_state(*image_, 0));
  check();
  EXPECT_EQ(list().at(0).vm_state_size, 0u);
  EXPECT_FALSE(list().at(0).has_state_digest);
  VARVE_MUST(apply_snapshot(*image_, 0));
  ByteVector read(kMiB);
  VARVE_MUST(image_->read(0, read));
  EXPECT_EQ(read, disk);
  VARVE_MUST(delete_snapshot(*image_, 0));
  check();
}

TEST_P(StateTest, GivesBackWhatIsNotAttached) {
  make(GetParam().create);
  VARVE_MUST(image_->write(0, pattern(kMiB, 1)));
  {
    const auto state = writer();
    VARVE_MUST(state->write(pattern(600'000, 2)));
  }
  {
    const auto state = writer();
    VARVE_MUST(state->write(pattern(600'000, 3)));
    VARVE_MUST(state->finish());
    SnapshotCreateOptions options;
    options.settings = std::string(2000, 'x');  // Refused: the state stays the writer's.
    options.state = state.get();
    EXPECT_FALSE(create_snapshot(*image_, options).has_value());
  }
  check();  // No leak.
}

class StateRuleTest : public StateTest {};

INSTANTIATE_TEST_SUITE_P(Plain, StateRuleTest, ::testing::Values(state_cases().front()),
                         [](const auto& parameter) { return parameter.param.name; });

// Above 4 GiB, sparse: what is not written takes no space.
// History: 1ebf561c11.
TEST_P(StateRuleTest, IsAsLargeAsItMustBeAndAsSmallAsItsContent) {
  make(GetParam().create);
  const std::uint64_t before = disk_.content.size();
  const auto state = writer();
  const ByteVector end = pattern(1000, 4);
  VARVE_MUST(state->write_at(0, end));
  VARVE_MUST(state->write_at(5 * kGiB + 17, end));
  VARVE_MUST(state->write_at(kGiB, ByteVector(200'000)));
  VARVE_MUST(state->finish());
  take_full("large", *state);
  reopen();
  EXPECT_EQ(list().at(0).vm_state_size, 5 * kGiB + 17 + 1000);
  // Two clusters of state, two of sums, three tables, L1, snapshot table; and the file's growth.
  EXPECT_LE(disk_.content.size(), before + 16 * 65536 + 4 * kMiB);
  auto reader = StateReader::open(*image_, 0);
  VARVE_MUST(reader);
  ByteVector read(1000);
  VARVE_MUST((*reader)->read_at(5 * kGiB + 17, read));
  EXPECT_EQ(read, end);
  VARVE_MUST((*reader)->read_at(3 * kGiB + 1, read));
  EXPECT_EQ(read, ByteVector(1000));
  reader->reset();
  check();
}

TEST_P(StateRuleTest, RefusesWhatCannotBe) {
  make(GetParam().create);
  auto state = writer();
  EXPECT_EQ(state->extend(kStateBytesMax + 1).error().code, ErrorCode::out_of_range);
  SnapshotCreateOptions options;
  options.state = state.get();
  EXPECT_EQ(create_snapshot(*image_, options).error().code, ErrorCode::invalid_argument);
  VARVE_MUST(state->write(pattern(10, 1)));
  VARVE_MUST(state->finish());
  EXPECT_EQ(state->finish().error().code, ErrorCode::invalid_argument);
  EXPECT_EQ(state->write(pattern(10, 1)).error().code, ErrorCode::invalid_argument);
  take_full("once", *state);
  EXPECT_EQ(create_snapshot(*image_, options).error().code, ErrorCode::invalid_argument);
  state = writer();
  const ByteVector byte(1);
  EXPECT_EQ(state->write_at(~std::uint64_t{0}, byte).error().code, ErrorCode::out_of_range);
  EXPECT_EQ(state->finish().error().code, ErrorCode::out_of_range);
  state.reset();
  open(false);
  EXPECT_EQ(StateWriter::create(*image_).error().code, ErrorCode::read_only);
}

// A guest writes while its state is stored, between the freeze and the publication.
TEST_P(StateRuleTest, IsStoredBehindTheFreezeWhileTheGuestWrites) {
  make(GetParam().create);
  const ByteVector disk = pattern(kMiB, 1);
  VARVE_MUST(image_->write(0, disk));
  const ByteVector blob = mixed(700'000, 8);
  for (const bool is_finished : {false, true}) {
    const auto state = writer();
    SnapshotCreateOptions options;
    options.name = "live";
    options.state = state.get();
    OperationOptions stepwise;
    stepwise.stepwise = true;
    const auto operation = start_create(*image_, options, stepwise);
    VARVE_MUST(operation);
    VARVE_MUST((*operation)->wait_for(SnapshotPhase::ready));
    VARVE_MUST((*operation)->freeze());
    for (std::size_t at = 0; at < blob.size(); at += 70'000) {
      VARVE_MUST(state->write(std::span(blob).subspan(at, 70'000)));
      VARVE_MUST(image_->write(at, pattern(30'000, static_cast<unsigned>(at))));
    }
    if (is_finished) {
      VARVE_MUST(state->finish());
    }
    VARVE_MUST((*operation)->publish());
    const Result<void> done = (*operation)->wait();
    EXPECT_EQ(done.has_value(), is_finished);
    EXPECT_EQ(list().size(), is_finished ? 1u : 0u);
    VARVE_MUST(image_->write(0, is_finished ? pattern(kMiB, 5) : disk));
  }
  check();
  expect_state("live", blob);
  VARVE_MUST(apply_snapshot(*image_, 0));
  ByteVector read(kMiB);
  VARVE_MUST(image_->read(0, read));
  EXPECT_EQ(read, disk);
}

// The image was closed first: nothing is written any more, the clusters leak.
TEST_P(StateRuleTest, AClosedImageTakesNothing) {
  make(GetParam().create);
  auto state = writer();
  VARVE_MUST(state->write(pattern(200'000, 2)));
  VARVE_MUST(image_->close());
  EXPECT_EQ(state->write(pattern(10, 2)).error().code, ErrorCode::invalid_argument);
  EXPECT_EQ(state->finish().error().code, ErrorCode::invalid_argument);
  state.reset();
  open();
  EXPECT_EQ(model::check_image(*image_, false, false).value_or(""), "");
}

// One flipped byte of the blob is found wherever reading comes near it, and nowhere else; one of
// the sums is found at once.
TEST_P(StateRuleTest, SaysWhereItIsDamaged) {
  make(GetParam().create);
  ByteVector blob = pattern(400'000, 7);
  ByteVector mark(64);
  sim::Random random(1);
  std::ranges::generate(mark, [&] { return static_cast<std::byte>(random.below(256)); });
  std::ranges::copy(mark, blob.begin() + 200'000);
  const auto state = writer();
  VARVE_MUST(state->write(blob));
  VARVE_MUST(state->finish());
  take_full("damaged", *state);
  VARVE_MUST(image_->close());
  image_.reset();
  const auto flip = [&](ConstBytes bytes) {
    ByteVector file(disk_.content.size());
    disk_.content.read(0, file);
    const auto found = std::search(file.begin(), file.end(), bytes.begin(), bytes.end());
    ASSERT_NE(found, file.end());
    const ByteVector flipped = {*found ^ std::byte{1}};
    disk_.content.write(static_cast<std::uint64_t>(found - file.begin()), flipped);
  };
  flip(mark);
  open();
  {
    auto reader = StateReader::open(*image_, 0);
    VARVE_MUST(reader);
    ByteVector byte(1);
    VARVE_MUST((*reader)->read_at(196'607, byte));
    VARVE_MUST((*reader)->read_at(262'144, byte));
    ByteVector whole(blob.size());
    for (const Result<void>& read :
         {(*reader)->read_at(250'000, byte), (*reader)->read_at(0, whole)}) {
      ASSERT_FALSE(read.has_value());
      EXPECT_EQ(read.error().corruption, Corruption::state_sum_mismatch);
      EXPECT_EQ(read.error().offset, 196'608u);
    }
    EXPECT_EQ(delete_snapshot(*image_, 0).error().code, ErrorCode::busy);
  }
  VARVE_MUST(image_->close());
  image_.reset();
  const Hash128 sum = hash128(ConstBytes(blob).first(kStateChunkBytes));
  flip(std::as_bytes(std::span(sum)));
  open();
  const auto opened = StateReader::open(*image_, 0);
  ASSERT_FALSE(opened.has_value());
  EXPECT_EQ(opened.error().corruption, Corruption::state_digest_mismatch);
}

}  // namespace
}  // namespace varve::test
