// Goal: a guest that copies a table while a deletion, or the undoing of a creation, gives back what
// was shared loses no COPIED flag with it: a clean image has one on every cluster counted once.
// Method: clusters of 512 bytes with counts of 64 bits and caches of two tables, so that a table
// and what it maps lie in many refcount blocks that must be waited for; one write after each number
// of polls. The reference and QEMU look for missing flags.
#include <gtest/gtest.h>

#include "snapshot/operation_ground.h"

namespace varve::test {
namespace {

constexpr std::uint64_t kSmallCluster = 512;
constexpr std::uint64_t kCopiedDiskBytes = 96 * kKiB;
constexpr std::uint64_t kTableBytes = 32 * kKiB;  // What one maps.

class CopiedTest : public OperationTest {
 protected:
  void prepare() {
    CreateOptions options = options_of(kCopiedDiskBytes, kSmallCluster);
    options.refcount_bits = 64;
    make(options);
    VARVE_MUST(image_->write(0, ByteVector(kCopiedDiskBytes, std::byte{1})));
    // Every table is copied away from what it maps: its own count lies in a block that is come to
    // last.
    take("old");
    for (std::uint64_t end = kTableBytes; end <= kCopiedDiskBytes; end += kTableBytes) {
      VARVE_MUST(image_->write(end - kSmallCluster, ByteVector(kSmallCluster, std::byte{1})));
    }
    VARVE_MUST(image_->flush());
    VARVE_MUST(delete_snapshot(*image_, 0));
    take("one");
    open_with([](std::unique_ptr<Storage> storage) { return storage; });
  }
  // The guest writes into a table nobody has written since the snapshot.
  void write_and_wait(const SnapshotOperation& operation) {
    GuestRequest write(*image_, BlockOperation::write, 3 * kSmallCluster, kSmallCluster,
                       std::byte{2});
    while (!operation.is_done() || !write.result) {
      engine_->wait();
    }
    VARVE_MUST(*write.result);
  }
};

TEST_F(CopiedTest, ACopyMadeDuringADeletionLosesNoFlag) {
  bool is_over = false;
  for (unsigned polls = 0; !is_over && !HasFailure(); ++polls) {
    SCOPED_TRACE("after " + std::to_string(polls) + " polls");
    prepare();
    auto deletion = start_delete(*image_, 0);
    VARVE_MUST(deletion);
    run_polls(polls);
    is_over = (*deletion)->is_done();
    write_and_wait(**deletion);
    VARVE_MUST((*deletion)->result());
    check(false);
  }
}

TEST_F(CopiedTest, ACopyMadeWhileACreationIsUndoneLosesNoFlag) {
  bool is_over = false;
  for (unsigned polls = 0; !is_over && !HasFailure(); polls += 1 + polls / 8) {
    prepare();
    VARVE_MUST(delete_snapshot(*image_, 0));
    const Operation creation = start("two");
    run_polls(polls);
    is_over = creation->progress().phase >= SnapshotPhase::publishing;
    creation->cancel();
    for (unsigned more = polls % 5; more > 0; --more) {
      run_polls(more);
    }
    SCOPED_TRACE("after " + std::to_string(polls) + " polls");
    write_and_wait(*creation);
    check(false);
  }
}

}  // namespace
}  // namespace varve::test
