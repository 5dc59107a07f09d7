// Both directions of the matrix: what one program writes, the other finds clean and reads alike.
#include "interop/matrix.h"

#include <gtest/gtest.h>

#include "interop/workbench.h"

namespace varve::interop {
namespace {

using MakeScript = Script (*)(const Case&, Actor);

class VarveWrites : public ::testing::TestWithParam<Case> {
 protected:
  static void run(MakeScript make_script) {
    VARVE_NEED_PEERS();
    Workbench bench(GetParam());
    bench.create_by_varve();
    const Script script = make_script(GetParam(), Actor::varve);
    Content content = new_content(GetParam());
    apply(GetParam(), Actor::varve, script, content);
    bench.run_by_varve(script);
    for (const Peer& peer : peers()) {
      bench.expect_by(peer, content);
    }
    bench.expect_by_varve(content);
  }
};

TEST_P(VarveWrites, Data) {
  run(write_script);
}
TEST_P(VarveWrites, Discards) {
  run(discard_script);
}
TEST_P(VarveWrites, Zeros) {
  run(zero_script);
}
TEST_P(VarveWrites, Growth) {
  run(grow_script);
}

class QemuWrites : public ::testing::TestWithParam<Case> {
 protected:
  static void run(MakeScript make_script) {
    VARVE_NEED_PEERS();
    Workbench bench(GetParam());
    const Peer& peer = choose_peer();
    SCOPED_TRACE(peer.name());
    bench.create_by(peer);
    const Script script = make_script(GetParam(), Actor::qemu);
    Content content = new_content(GetParam());
    apply(GetParam(), Actor::qemu, script, content);
    bench.run_by(peer, script);
    bench.expect_by_varve(content);
    go_on(bench, peer, content);
  }

 private:
  // The versions take turns: each case by one, each kind of step by all.
  static const Peer& choose_peer() {
    std::size_t turn = 0;
    const ::testing::TestInfo* info = ::testing::UnitTest::GetInstance()->current_test_info();
    for (const char* letter = info->name(); *letter != '\0'; ++letter) {
      turn += static_cast<unsigned char>(*letter);
    }
    return peers()[turn % peers().size()];
  }

  // What QEMU wrote, Varve changes: writes over every kind of cluster it made.
  static void go_on(Workbench& bench, const Peer& peer, Content& content) {
    const std::uint64_t cluster = GetParam().cluster_bytes;
    const Script more = {{Step::Action::write, cluster / 2, 2 * cluster, 7},
                         {Step::Action::zero, 4 * cluster + 1, cluster, 0},
                         {Step::Action::write, content.size() / 2 + 5, 5000, 8}};
    apply(GetParam(), Actor::varve, more, content);
    bench.run_by_varve(more);
    bench.expect_by(peer, content);
  }
};

TEST_P(QemuWrites, Data) {
  run(write_script);
}
TEST_P(QemuWrites, Discards) {
  run(discard_script);
}
TEST_P(QemuWrites, Zeros) {
  run(zero_script);
}
TEST_P(QemuWrites, Growth) {
  if (GetParam().version == 2 && GetParam().kind == Kind::backing &&
      GetParam().backing_bytes() > GetParam().disk_bytes()) {
    return;  // QEMU cannot hide what a longer backing file holds, and refuses.
  }
  run(grow_script);
}

const auto kNameCase = [](const auto& parameter) { return name_of(parameter.param); };
INSTANTIATE_TEST_SUITE_P(Matrix, VarveWrites, ::testing::ValuesIn(legal_cases()), kNameCase);
INSTANTIATE_TEST_SUITE_P(Matrix, QemuWrites, ::testing::ValuesIn(legal_cases()), kNameCase);

}  // namespace
}  // namespace varve::interop
