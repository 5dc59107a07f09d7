#include "meta/straight_line.h"

#include "meta/meta_fixture.h"
#include "meta/shutdown.h"

namespace varve::test {
namespace {

class StraightLineTest : public MetaTest {};

TEST_F(StraightLineTest, ARunOfAnyLengthIsClaimedInOnePiece) {
  open(small());  // 64 counts per block.
  for (const std::uint64_t length : {1u, 2u, 63u, 200u}) {
    const Result<ClusterRun> run = claim_run(*metadata_, length);
    ASSERT_TRUE(run.has_value()) << describe(run.error());
    EXPECT_EQ(run->count, length);
    for (std::uint64_t i = 0; i < length; ++i) {
      ASSERT_EQ(count_of(run->first.value() + i), 1u) << i << " of " << length;
    }
  }
}

TEST_F(StraightLineTest, AFullDeviceHasNoRunOfAnyLength) {
  disk_.content.resize(64 * 512);
  open(small(), true);
  while (claim(1).has_value()) {
  }
  for (const std::uint64_t length : {1u, 5u}) {
    const Result<ClusterRun> run = claim_run(*metadata_, length);
    ASSERT_FALSE(run.has_value());
    EXPECT_EQ(run.error().code, ErrorCode::no_space);
  }
}

// What was set aside may turn out to be counted when its block is read again.
TEST_F(StraightLineTest, ARunThatCannotBeCountedIsNotSetAsideForEver) {
  open(small());
  constexpr std::uint64_t kLength = 300;
  Answer<HostCluster> reserved = metadata_->store.reserve_run(kLength);
  while (reserved.need() != nullptr && reserved.need()->kind != Need::Kind::file_growth) {
    BlockingWaiter waiter(*engine_);
    metadata_->satisfy(*reserved.need(), waiter);
    ASSERT_TRUE(waiter.wait().has_value());
    reserved = metadata_->store.reserve_run(kLength);
  }
  const std::uint64_t last = metadata_->refcounts.block_end() - 2;
  const std::uint64_t count_at = metadata_->refcounts.table()[last] + 5 * 8;
  put_be64(count_at, ~std::uint64_t{0});
  const Result<ClusterRun> run = claim_run(*metadata_, kLength);
  ASSERT_FALSE(run.has_value());
  EXPECT_EQ(run.error().code, ErrorCode::out_of_range) << describe(run.error());
  EXPECT_EQ(run.error().offset, count_at);
  const std::uint64_t end = metadata_->store.append_position();
  EXPECT_TRUE(claim(1).has_value());
  EXPECT_TRUE(claim_run(*metadata_, 100).has_value());
  EXPECT_GT(metadata_->store.append_position(), end);
}

// A request that ends while the image is closed.
class LateRequest final : public Waiter {
 public:
  explicit LateRequest(Metadata& metadata) : metadata_(&metadata), era_(metadata.eras.enter()) {}
  void resume(const Result<void>&) noexcept override {
    if (++turns_ == 50) {
      metadata_->leave_era(era_);
    } else {
      metadata_->defer(*this, {});
    }
  }

 private:
  Metadata* metadata_;
  std::uint64_t era_;
  int turns_ = 0;
};

TEST_F(StraightLineTest, ShuttingDownReclaimsWhatALateRequestHeldBack) {
  open(small());
  const Claim claimed = claim(1).value();
  LateRequest late(*metadata_);
  metadata_->store.release(claimed.run);
  metadata_->defer(late, {});
  ASSERT_TRUE(shut_down(*metadata_).has_value());
  EXPECT_FALSE(metadata_->store.has_drops());
  EXPECT_EQ(stored_count_of(claimed.run.first.value()), 0u);
}

}  // namespace
}  // namespace varve::test
