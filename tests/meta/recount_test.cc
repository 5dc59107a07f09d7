#include "meta/recount.h"

#include "meta/meta_fixture.h"

namespace varve::test {
namespace {

class RecountTest : public MetaTest {
 protected:
  void map(std::uint64_t offset) { data_.push_back(map_data(GuestOffset(offset))); }
  // Changes counts and COPIED flags all over the file.
  void damage(sim::Random& random) {
    const std::vector<std::uint64_t> blocks = metadata_->refcounts.table();
    for (std::uint64_t i = 0; i < 4 * blocks.size(); ++i) {
      const std::uint64_t block = blocks[random.below(blocks.size())];
      if (block != 0) {
        put_be64(block + random.below(64) * 8, random.below(4));
      }
    }
    for (std::uint64_t slot = 0; slot < metadata_->l1.size(); ++slot) {
      const L1Entry entry = metadata_->l1.entry(slot);
      if (!entry.is_allocated()) {
        continue;
      }
      const std::uint64_t at = entry.offset().value() + random.below(4) * 8;
      put_be64(at, be64_at(at) & ~L2Entry::kCopied);
      if (random.chance(50)) {
        put_be64(metadata_->l1.offset_of(slot).value(), entry.offset().value());
      }
    }
  }

  std::vector<HostCluster> data_;
};

// Goal: what is recounted at a time makes no difference. Method: the same damaged image with
// windows of many sizes, compared byte by byte; VARVE_SEED.
TEST_F(RecountTest, InWindowsOfAnySizeLeavesTheSameImage) {
  const std::uint64_t seed = sim::seed_from_environment();
  SCOPED_TRACE("VARVE_SEED=" + std::to_string(seed));
  sim::Random random(seed);
  open(small());
  for (std::uint64_t table = 0; table < 12; ++table) {
    for (std::uint64_t i = 0; i < 8; ++i) {
      map(table * 3 * metadata_->geometry.l2_coverage() + i % 4 * 512 + i / 4 * 4096);
    }
  }
  ASSERT_TRUE(flush().has_value());
  damage(random);
  const sim::SparseBytes damaged = disk_.content.clone();
  std::vector<std::byte> expected;
  for (const std::uint64_t window : {kRecountWindow, std::uint64_t{64}, std::uint64_t{7}}) {
    SCOPED_TRACE(window);
    disk_.content = damaged.clone();
    load();
    const Result<void> recounted = recount(*metadata_, Recounted::all, window);
    ASSERT_TRUE(recounted.has_value()) << describe(recounted.error());
    if (expected.empty()) {
      expected = disk_.content.flat();
    }
    EXPECT_TRUE(disk_.content.flat() == expected);
    for (const HostCluster cluster : data_) {
      EXPECT_EQ(stored_count_of(cluster.value()), 1u);
    }
    for (std::uint64_t slot = 0; slot < metadata_->l1.size(); ++slot) {
      const L1Entry entry(be64_at(metadata_->l1.offset_of(slot).value()));
      if (entry.is_allocated()) {
        EXPECT_TRUE(entry.is_copied());
        EXPECT_TRUE(L2Entry(be64_at(entry.offset().value())).is_copied());
        EXPECT_EQ(stored_count_of(entry.offset().value() / 512), 1u);
      }
    }
  }
}

}  // namespace
}  // namespace varve::test
