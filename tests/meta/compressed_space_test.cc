#include "meta/compressed_space.h"

#include "meta/meta_fixture.h"

namespace varve::test {
namespace {

class CompressedSpaceTest : public MetaTest {
 protected:
  Result<CompressedExtent> pack(std::uint64_t bytes) {
    return ask_until(*metadata_, [&] { return metadata_->compressed_space.claim(bytes); });
  }
};

TEST_F(CompressedSpaceTest, AnOpenClusterThatIsNotCountedIsDamage) {
  open(small(4096, 16));
  const HostOffset first = pack(100)->offset;
  EXPECT_EQ(pack(100)->offset, first + 100);
  const HostCluster cluster = metadata_->geometry.cluster_of(first);
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(metadata_->refcounts.subtract(cluster, 1).has_value());
  }
  const Result<CompressedExtent> refused = pack(100);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().corruption, Corruption::refcount_too_low);
  EXPECT_EQ(count_of(cluster.value()), 0u);
}

}  // namespace
}  // namespace varve::test
