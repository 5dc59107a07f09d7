// Goal: the watch on the order of writes cries out where a rule is broken, and only there. Method:
// writes by hand to an image made by the library.
#include "model/order_storage.h"

#include <array>

#include <gtest/gtest.h>

#include "base/bytes.h"
#include "base/units.h"
#include "model/missing.h"
#include "model/scenarios.h"
#include "sim/blocking.h"

namespace varve::model {
namespace {

constexpr std::uint64_t kCluster = 4096;
constexpr std::uint64_t kOffsetMask = 0x00ff'ffff'ffff'fe00;

class OrderTest : public ::testing::Test {
 protected:
  void make(void (*act)(Session&), bool add_bitmap = false) {
    Scenario scenario;
    scenario.prepare = act;
    scenario.add_bitmap = add_bitmap;
    std::string why;
    auto prepared = prepare(lab_, scenario, why);
    if (!prepared) {
      VARVE_NOT_PREPARED(why);
    }
    disk_.content = std::move(prepared->files.image);
  }
  // From here on writes are watched.
  void watch() {
    storage_ = std::make_unique<OrderStorage>(
        std::make_unique<sim::SimStorage>(lab_.engine(), disk_), disk_.content, record_);
  }
  [[nodiscard]] std::string rule() const { return record_.violation.substr(0, 3); }

  [[nodiscard]] std::uint64_t field(std::uint64_t offset) const {
    std::array<std::byte, 8> raw{};
    disk_.content.read(offset, raw);
    return load_be<std::uint64_t>(raw, 0);
  }
  [[nodiscard]] std::uint64_t l2_entry_at() const { return field(field(40)) & kOffsetMask; }
  [[nodiscard]] std::uint64_t data_at() const { return field(l2_entry_at()) & kOffsetMask; }

  void set_entry(std::uint64_t value) {
    std::array<std::byte, 8> raw{};
    store_be(Bytes(raw), 0, value);
    EXPECT_TRUE(sim::blocking_write(*storage_, l2_entry_at(), raw, IoTag::l2));
  }
  void write_data(std::uint64_t offset) {
    const std::vector<std::byte> bytes(kCluster, std::byte{7});
    EXPECT_TRUE(sim::blocking_write(*storage_, offset, bytes, IoTag::guest_data));
  }
  void flush() { EXPECT_TRUE(sim::blocking_flush(*storage_)); }

  Lab lab_{make_geometry("C4k", kCluster, 16 * kCluster)};
  sim::SimDisk disk_;
  OrderRecord record_;
  std::unique_ptr<OrderStorage> storage_;
};

void write_one(Session& session) {
  session.write(0, session.cluster());
}

TEST_F(OrderTest, ASharedClusterIsNotWrittenInPlace) {
  make([](Session& session) {
    write_one(session);
    session.create_snapshot("one");
  });
  watch();
  write_data(data_at());
  EXPECT_EQ(rule(), "H2:");
}

// A count too high is nobody's reference.
TEST_F(OrderTest, AClusterThatIsOnlyCountedTwiceMayBe) {
  make(write_one);
  const std::uint64_t block = field(field(48)) & kOffsetMask;
  const std::array<std::byte, 2> two = {std::byte{0}, std::byte{2}};
  disk_.content.write(block + 2 * (data_at() / kCluster), two);
  watch();
  write_data(data_at());
  EXPECT_EQ(record_.violation, "");
}

// History: ecbda7a225, cloud-hypervisor 8624.
TEST_F(OrderTest, AnEntryDoesNotShowWhatALifeBeforeLeft) {
  make(write_one);
  watch();
  const std::uint64_t entry = field(l2_entry_at());
  set_entry(0);
  flush();
  set_entry(entry);
  EXPECT_EQ(rule(), "O8:");
}

// The write belongs to the life that ends with it.
TEST_F(OrderTest, AWriteBesideTheDropIsOfTheOldLife) {
  make(write_one);
  watch();
  const std::uint64_t entry = field(l2_entry_at());
  write_data(data_at());
  set_entry(0);
  flush();
  set_entry(entry);
  EXPECT_EQ(rule(), "O8:");
}

TEST_F(OrderTest, AnEntryShowsWhatIsWrittenAnew) {
  make(write_one);
  watch();
  const std::uint64_t entry = field(l2_entry_at());
  set_entry(0);
  flush();
  write_data(entry & kOffsetMask);
  set_entry(entry);
  EXPECT_EQ(rule(), "O2:") << "it is not durable yet";
  record_.violation.clear();
  flush();
  set_entry(entry);
  EXPECT_EQ(record_.violation, "");
}

// A cluster kept behind zeros stays its disk's: it may be written before the zeros are durable.
TEST_F(OrderTest, AKeptClusterMayBeWrittenBesideTheZeros) {
  make(write_one);
  watch();
  const std::uint64_t entry = field(l2_entry_at());
  set_entry(entry | 1);
  write_data(entry & kOffsetMask);
  flush();
  set_entry(entry);
  EXPECT_EQ(record_.violation, "");
}

class OrderOfBitmaps : public OrderTest {
 protected:
  void SetUp() override {
    make(write_one, true);
    if (HasFailure() || IsSkipped()) {
      return;
    }
    watch();
    constexpr std::uint64_t kBitmaps = 0x2385'2875;
    std::uint64_t at = field(96) & 0xffff'ffff;  // header_length
    while (field(at) >> 32 != kBitmaps) {
      ASSERT_NE(field(at), 0u) << "no bitmaps";
      at += 8 + ((field(at) & 0xffff'ffff) + 7) / 8 * 8;
    }
    flags_at_ = field(at + 24) + 12;
  }
  void mark() {
    const std::array<std::byte, 4> flags = {std::byte{0}, std::byte{0}, std::byte{0}, std::byte{3}};
    EXPECT_TRUE(sim::blocking_write(*storage_, flags_at_, flags, IoTag::bitmap));
  }

 private:
  std::uint64_t flags_at_ = 0;
};

// History: a505475b95.
TEST_F(OrderOfBitmaps, NothingChangesUnderATrustedOne) {
  write_data(data_at());
  EXPECT_EQ(rule(), "O12");
}

TEST_F(OrderOfBitmaps, AMarkCountsWhenItIsDurable) {
  mark();
  write_data(data_at());
  EXPECT_EQ(rule(), "O12");
  record_.violation.clear();
  flush();
  write_data(data_at());
  EXPECT_EQ(record_.violation, "");
}

}  // namespace
}  // namespace varve::model
