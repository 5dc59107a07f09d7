// Goal: whatever a call to the system is interrupted by, or leaves undone, nobody above lib/io
// notices. Method: scenarios on a real file, through the storage of threads; system call number i
// is interrupted, put off, or moves only part of its bytes. Nothing may fail, and the file must
// hold what it holds without that.
//
// VARVE_TRANSFER_RUNS bounds the runs per case (0: every index and kind); VARVE_SEED chooses them.
#include <algorithm>
#include <cerrno>

#include <gtest/gtest.h>

#include "fault/call_plan.h"
#include "io/system_call.h"
#include "model/qemu_img.h"
#include "model/scenarios.h"
#include "sim/random.h"

namespace varve::model {
namespace {

// The call with about half of its bytes.
SystemCall part_of(SystemCall call) {
  if (call.vector_count > 1) {
    --call.vector_count;
  } else if (call.vector_count == 1) {
    call.single = {call.vectors->data, call.vectors->size / 2};
    call.vector_count = 0;
  } else if (call.single.size > 1) {
    call.single.size /= 2;
  }
  return call;
}

}  // namespace
}  // namespace varve::model

// The linker sends lib/io's calls here (tests/fault/CMakeLists.txt).
extern "C" {
std::int64_t __real__ZN5varve15run_system_callEiRKNS_10SystemCallE(  // NOLINT
    int descriptor, const varve::SystemCall& call) noexcept;
std::int64_t __wrap__ZN5varve15run_system_callEiRKNS_10SystemCallE(  // NOLINT
    int descriptor, const varve::SystemCall& call) noexcept {
  using varve::model::Trouble;
  switch (varve::model::call_plan.next()) {
    case Trouble::interrupted:
      return -EINTR;
    case Trouble::put_off:
      return -EAGAIN;
    case Trouble::part:
      return __real__ZN5varve15run_system_callEiRKNS_10SystemCallE(descriptor,
                                                                   varve::model::part_of(call));
    case Trouble::broken:
      return -EIO;
    case Trouble::full:
      return -ENOSPC;
    case Trouble::none:
      break;
  }
  return __real__ZN5varve15run_system_callEiRKNS_10SystemCallE(descriptor, call);
}
}

namespace varve::model {
namespace {

constexpr std::uint64_t kTransferRuns = 30;  // In an ordinary run.

struct TransferKind {
  const char* name;
  Trouble trouble;
  bool every_other;
};
constexpr TransferKind kTransferKinds[] = {
    {"interrupted once", Trouble::interrupted, false},
    {"put off once", Trouble::put_off, false},
    {"in part once", Trouble::part, false},
    {"interrupted every other time", Trouble::interrupted, true},
    {"in part every other time", Trouble::part, true},
};

class Transfers : public testing::TestWithParam<ScenarioCase> {
 protected:
  // One run; what was wrong, or nothing.
  std::optional<std::string> run() {
    const std::string path = folder_.file("image.qcow2");
    if (!prepared_->files.image.save(path)) {
      return "the image cannot be saved";
    }
    auto storage = open_file(lab_.engine(), path, {.writable = true});
    if (!storage) {
      return describe(storage.error());
    }
    auto image =
        lab_.open(std::move(*storage), lab_.open_options(true, GetParam().scenario.discard));
    if (!image) {
      return "open: " + describe(image.error());
    }
    sim::Moment clock = 0;
    Guest guest(
        lab_.rules(), prepared_->version, [&clock] { return ++clock; }, prepared_->next_stamp);
    Session session(**image, guest, GetParam().geometry);
    GetParam().scenario.act(session);
    if (session.failure()) {
      return describe(*session.failure());
    }
    if (auto verdict = guest.judge_now(view_of(**image))) {
      return verdict;
    }
    if (const Result<void> closed = guest.close(**image); !closed) {
      return "close: " + describe(closed.error());
    }
    return judge(path, guest);
  }

  std::optional<std::string> judge(const std::string& path, const Guest& guest) {
    std::string why = "the image cannot be read";
    const auto content = load_file(path);
    const auto reference = content ? lab_.reference(*content, why) : std::nullopt;
    if (!reference) {
      return why;
    }
    const auto checked = check_bytes(*reference, false, true);
    return checked ? checked : guest.judge_now(view_of(*reference));
  }

  Lab lab_{GetParam().geometry};
  TemporaryFolder folder_;
  std::optional<Prepared> prepared_;
};

// History: c06fc7ce14.
TEST_P(Transfers, AreWholeWhateverTheCallsDo) {
  const std::uint64_t seed = sim::seed_from_environment();
  call_plan.reset(Trouble::none, 0, false);
  std::string why;
  prepared_ = prepare(lab_, GetParam().scenario, why);
  ASSERT_TRUE(prepared_) << why;
  ASSERT_EQ(run().value_or(""), "") << "already without trouble";
  const std::uint64_t calls = call_plan.seen;
  ASSERT_GT(calls, 10u) << "nothing was counted";

  const std::uint64_t limit = sim::environment_number("VARVE_TRANSFER_RUNS", kTransferRuns);
  std::uint64_t left = calls * std::size(kTransferKinds);
  std::uint64_t wanted = limit == 0 ? left : std::min(limit, left);
  sim::Random choice(seed);
  for (std::uint64_t index = 0; index < calls; ++index) {
    for (const TransferKind& kind : kTransferKinds) {
      if (choice.below(left--) >= wanted) {
        continue;
      }
      --wanted;
      call_plan.reset(kind.trouble, index, kind.every_other);
      ASSERT_EQ(run().value_or(""), "") << "VARVE_SEED=" << seed << ", system call " << index
                                        << " of " << calls << ": " << kind.name;
      EXPECT_GT(call_plan.hits, 0u);
    }
  }
}

// A few that make every kind of call, on small and on middling clusters.
std::vector<ScenarioCase> cases() {
  std::vector<ScenarioCase> chosen;
  for (const ScenarioCase& parameter : scenario_cases()) {
    const std::string name = parameter.name();
    if (name == "CompressedWrite_C4k" || name == "DiscardUnmap_C4k" ||
        name == "CopyOnWrite_C512Backing" || name == "WriteZeroes_C16kExtended" ||
        name == "Grow_C4kVersion2" || name == "SnapshotCycle_C512Refcount64") {
      chosen.push_back(parameter);
    }
  }
  return chosen;
}

INSTANTIATE_TEST_SUITE_P(Scenarios, Transfers, testing::ValuesIn(cases()),
                         [](const testing::TestParamInfo<ScenarioCase>& parameter) {
                           return parameter.param.name();
                         });

}  // namespace
}  // namespace varve::model
