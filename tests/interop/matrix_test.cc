// Both directions of the matrix: what one program writes, the other finds clean and reads alike.
#include "interop/matrix.h"

#include <set>

#include <gtest/gtest.h>

#include "interop/workbench.h"

namespace varve::interop {
namespace {

class VarveWrites : public ::testing::TestWithParam<ChangedCase> {};

// Of a share of the matrix the newest QEMU looks at everything, the others at what is their turn.
bool is_asked(const Peer& peer, const ChangedCase& changed) {
  return part_count() == 1 || &peer == &peers().back() ||
         &peer == &peers()[turn_of(name_of(changed), peers().size())];
}

// History: 93e32b3e20.
TEST_P(VarveWrites, WhatQemuFindsCleanAndReadsAlike) {
  VARVE_NEED_PEERS();
  const Case& example = GetParam().example;
  Workbench bench(example);
  bench.create_by_varve();
  const Script script = script_of(GetParam(), Actor::varve);
  Content content = new_content(example);
  apply(example, Actor::varve, script, content);
  bench.run_by_varve(script);
  for (const Peer& peer : peers()) {
    if (is_asked(peer, GetParam())) {
      bench.expect_by(peer, content);
    }
  }
  bench.expect_by_varve(content);
}

class QemuWrites : public ::testing::TestWithParam<ChangedCase> {};

TEST_P(QemuWrites, WhatVarveFindsCleanAndReadsAlikeAndChanges) {
  VARVE_NEED_PEERS();
  const Case& example = GetParam().example;
  // The versions take turns: each case by one, each kind of change by all.
  const Peer& peer = peers()[turn_of(name_of(GetParam()), peers().size())];
  SCOPED_TRACE(peer.name());
  Workbench bench(example);
  bench.create_by(peer);
  const Script script = script_of(GetParam(), Actor::qemu);
  Content content = new_content(example);
  apply(example, Actor::qemu, script, content);
  bench.run_by(peer, script);
  bench.expect_by_varve(content);
  // What QEMU wrote, Varve changes: writes over every kind of cluster it made.
  const std::uint64_t cluster = example.cluster_bytes;
  const Script more = {{Step::Action::write, cluster / 2, 2 * cluster, 7},
                       {Step::Action::zero, 4 * cluster + 1, cluster, 0},
                       {Step::Action::write, content.size() / 2 + 5, 5000, 8}};
  apply(example, Actor::varve, more, content);
  bench.run_by_varve(more);
  bench.expect_by(peer, content);
}

// QEMU cannot hide what a longer backing file holds in version 2, and refuses to grow over it.
std::vector<ChangedCase> what_qemu_can(std::vector<ChangedCase> cases) {
  std::erase_if(cases, [](const ChangedCase& changed) {
    const Case& example = changed.example;
    return changed.change == Change::growth && example.version == 2 &&
           example.kind == Kind::backing && example.backing_bytes() > example.disk_bytes();
  });
  return cases;
}

const auto kNameChanges = [](const auto& parameter) { return name_of(parameter.param); };
INSTANTIATE_TEST_SUITE_P(Matrix, VarveWrites, ::testing::ValuesIn(part_of_changes(0)),
                         kNameChanges);
INSTANTIATE_TEST_SUITE_P(Matrix, QemuWrites, ::testing::ValuesIn(what_qemu_can(part_of_changes(1))),
                         kNameChanges);

// Which versions, cluster sizes, widths, kinds, changes and peers there are in a part.
std::set<std::string> values_of(const std::vector<ChangedCase>& cases) {
  std::set<std::string> values;
  for (const ChangedCase& changed : cases) {
    const Case& example = changed.example;
    values.insert("version " + std::to_string(example.version));
    values.insert("cluster " + std::to_string(example.cluster_bytes));
    values.insert("bits " + std::to_string(example.refcount_bits));
    values.insert("kind " + std::to_string(static_cast<int>(example.kind)));
    values.insert("change " + std::to_string(static_cast<int>(changed.change)));
    values.insert("peer " + std::to_string(turn_of(name_of(changed), 2)));
  }
  return values;
}

std::vector<ChangedCase> with_a_change(const std::vector<Case>& cases) {
  std::vector<ChangedCase> changed;
  for (const Case& example : cases) {
    changed.push_back({example, Change::writes});
  }
  return changed;
}

TEST(Parts, HoldEveryValueAndTogetherTheMatrix) {
  const std::vector<Case> all = legal_cases();
  for (std::size_t parts = 1; parts <= kChangePartsMax; ++parts) {
    std::size_t changes = 0;
    for (std::size_t turn = 0; turn < parts; ++turn) {
      SCOPED_TRACE(std::to_string(turn) + " of " + std::to_string(parts));
      const std::vector<ChangedCase> changed = part_of_changes(turn, parts);
      EXPECT_EQ(values_of(changed), values_of(part_of_changes(0, 1)));
      changes += changed.size();
    }
    EXPECT_EQ(changes, std::size(kChanges) * all.size());
  }
  for (std::size_t parts = 1; parts <= kCasePartsMax; ++parts) {
    std::size_t cases = 0;
    for (std::size_t turn = 0; turn < parts; ++turn) {
      SCOPED_TRACE(std::to_string(turn) + " of " + std::to_string(parts));
      const std::vector<Case> plain = part_of_cases(all, turn, parts);
      EXPECT_EQ(values_of(with_a_change(plain)), values_of(with_a_change(all)));
      cases += plain.size();
    }
    EXPECT_EQ(cases, all.size());
  }
}

}  // namespace
}  // namespace varve::interop
