// Goal: no allocation that fails brings down a program behind the C interface: every call answers
// VARVE_OK or VARVE_NO_MEMORY, and what had been opened can be closed. Method: one life of an image
// in memory, repeated with allocation number i failing, once and from then on. The functions that
// fail are replaced in allocation_test.cc.
//
// VARVE_ALLOCATION_RUNS bounds the runs (0: all); VARVE_SEED chooses them.
#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>

#include <gtest/gtest.h>
#include <varve/varve.h>

#include "sim/allocation_faults.h"
#include "sim/random.h"

namespace varve::test {
namespace {

constexpr std::uint64_t kRuns = 48;
constexpr std::uint64_t kDiskBytes = 1 << 20;

// The calls of one life. Stops at the first that fails; then everything is closed.
class Life {
 public:
  // The first code that was not VARVE_OK.
  varve_code run() {
    const sim::AllocationWindow window;
    live();
    return code_;
  }
  ~Life() {
    const sim::AllocationWindow window;
    // Closing may tell of missing memory as well, but the handle goes.
    EXPECT_NE(varve_queue_close(queue_, nullptr), VARVE_BUSY);
    EXPECT_NE(varve_operation_close(operation_, nullptr), VARVE_BUSY);
    EXPECT_NE(varve_state_writer_close(writer_, nullptr), VARVE_BUSY);
    varve_snapshot_list_free(list_);
    EXPECT_NE(varve_image_close(image_, nullptr), VARVE_BUSY);
    EXPECT_EQ(varve_storage_close(storage_, nullptr), VARVE_OK);
    EXPECT_EQ(varve_engine_destroy(engine_, nullptr), VARVE_OK);
  }
  Life() = default;
  Life(const Life&) = delete;
  Life& operator=(const Life&) = delete;

 private:
  bool must(varve_code code) {
    code_ = code_ == VARVE_OK ? code : code_;
    return code_ == VARVE_OK;
  }
  varve_error* error() {
    error_.size = sizeof(error_);
    return &error_;
  }

  bool open() {
    varve_engine_options engine_options = {};
    engine_options.size = sizeof(engine_options);
    engine_options.backend = VARVE_AIO_THREADS;
    varve_create_options create = {};
    create.size = sizeof(create);
    create.disk_bytes = kDiskBytes;
    varve_open_options open = {};
    open.size = sizeof(open);
    open.flags = VARVE_OPEN_WRITABLE;
    open.operations_max = 4;
    if (!must(varve_engine_create(&engine_options, &engine_, error())) ||
        !must(varve_storage_open_memory(engine_, 0, &storage_, error())) ||
        !must(varve_image_create_in(storage_, nullptr, &create, error()))) {
      return false;
    }
    varve_storage* const taken = std::exchange(storage_, nullptr);
    return must(varve_image_open_storage(taken, &open, &image_, error()));
  }

  bool queue_up() {
    varve_request request = {};
    request.operation = VARVE_WRITE;
    request.length = bytes_.size();
    request.data = bytes_.data();
    if (!must(varve_queue_create(image_, 4, &queue_, error())) ||
        varve_queue_submit(queue_, &request, 1, error()) != 1) {
      return must(error_.code);
    }
    varve_completion done = {};
    while (varve_queue_reap(queue_, &done, 1) == 0) {
      varve_engine_wait(engine_, -1);
    }
    return must(done.code);
  }

  void live() {
    if (!open() || !queue_up() || !must(varve_state_writer_create(image_, &writer_, error())) ||
        !must(varve_state_writer_append(writer_, bytes_.data(), bytes_.size(), error())) ||
        !must(varve_state_writer_finish(writer_, error()))) {
      return;
    }
    varve_snapshot_options options = {};
    options.size = sizeof(options);
    options.name = "a name that is longer than what fits into a short string";
    options.state = writer_;
    varve_check_report report = {};
    report.size = sizeof(report);
    if (must(varve_operation_start_create(image_, &options, nullptr, &operation_, error())) &&
        must(varve_operation_wait_for(operation_, VARVE_PHASE_DONE, error())) &&
        must(varve_snapshot_list_make(image_, &list_, error())) &&
        must(varve_snapshot_apply(image_, 0, error())) &&
        must(varve_image_flush(image_, error()))) {
      must(varve_check(image_, nullptr, &report, error()));
      EXPECT_EQ(report.corruptions, 0u);
    }
  }

  varve_error error_ = {};
  varve_code code_ = VARVE_OK;
  varve_engine* engine_ = nullptr;
  varve_storage* storage_ = nullptr;
  varve_image* image_ = nullptr;
  varve_queue* queue_ = nullptr;
  varve_operation* operation_ = nullptr;
  varve_state_writer* writer_ = nullptr;
  varve_snapshot_list* list_ = nullptr;
  std::array<unsigned char, 70'000> bytes_ = {};
};

TEST(CInterface, EveryAllocationFailsInTurn) {
  sim::AllocationFaults::arm(sim::AllocationFaults::kNever, false);
  ASSERT_EQ(Life().run(), VARVE_OK) << "already without a fault";
  const std::uint64_t allocations = sim::AllocationFaults::disarm();
  ASSERT_GT(allocations, 50u) << "nothing was counted";

  sim::Random choice(sim::seed_from_environment());
  const std::uint64_t limit = sim::environment_number("VARVE_ALLOCATION_RUNS", kRuns);
  std::uint64_t left = 2 * allocations;
  std::uint64_t wanted = limit == 0 ? left : std::min(limit, left);
  std::uint64_t refused = 0;
  for (std::uint64_t index = 0; index < allocations; ++index) {
    for (const bool from_then_on : {false, true}) {
      if (choice.below(left--) >= wanted) {
        continue;
      }
      --wanted;
      varve_code code = VARVE_OK;
      {
        Life life;
        sim::AllocationFaults::arm(index, from_then_on);
        code = life.run();
        sim::AllocationFaults::disarm();
      }
      ASSERT_TRUE(code == VARVE_OK || code == VARVE_NO_MEMORY)
          << varve_code_name(code) << " at allocation " << index << " of " << allocations
          << (from_then_on ? " and all later ones" : "");
      refused += code == VARVE_NO_MEMORY ? 1 : 0;
    }
  }
  // Some the library can do without: a cache may stay small.
  EXPECT_GT(refused, 0u);
}

}  // namespace
}  // namespace varve::test
