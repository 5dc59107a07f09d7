// varve snapshot with machine state, diff, export and import, from the command line.
#include "tool/side_by_side.h"

namespace varve::tool {
namespace {

class OwnSnapshots : public SideBySide {
 protected:
  void SetUp() override {
    SideBySide::SetUp();
    if (IsSkipped() || HasFatalFailure()) {
      return;
    }
    prepare(
        "qemu-img create -q -f qcow2 a.qcow2 4M && qemu-img create -q -f qcow2 b.qcow2 4M && head "
        "-c "
        "300000 /dev/urandom >state && head -c 200000 /dev/urandom >data");
  }
  [[nodiscard]] Outcome run_varve(const std::string& script) {
    return run_ours("VARVE='" + tool_path() + "'; " + script);
  }
};

TEST_F(OwnSnapshots, AFullSnapshotGivesItsStateBack) {
  const Outcome outcome = run_varve(
      "$VARVE snapshot create a.qcow2 b.qcow2 --name full --full --state - <state >/dev/null && "
      "$VARVE snapshot read-state a.qcow2 full | cmp - state && $VARVE snapshot read-state b.qcow2 "
      "full; $QEMU check -q a.qcow2 && $QEMU check -q b.qcow2 && $QEMU snapshot -l a.qcow2 | grep "
      "-c '293 KiB'");
  EXPECT_EQ(outcome.output, "1\n") << outcome.errors;
  EXPECT_EQ(outcome.errors, "varve: b.qcow2: snapshot 'full' holds no machine state\n");
  EXPECT_NE(run_varve("$VARVE snapshot create a.qcow2 --name x --full").status, 0);
  EXPECT_NE(run_varve("$VARVE snapshot create a.qcow2 --name x --state state").status, 0);
}

TEST_F(OwnSnapshots, DiffNamesRangesOfTheDisk) {
  const Outcome outcome = run_varve(
      "$VARVE snapshot create a.qcow2 --name one >/dev/null && $VARVE io -c 'write -q 1M 64k' "
      "a.qcow2 && $VARVE snapshot create a.qcow2 --name two >/dev/null && $VARVE io -c 'write -q "
      "3M 128k' a.qcow2 && $VARVE snapshot diff a.qcow2 one two --json && $VARVE snapshot diff "
      "a.qcow2 two");
  EXPECT_EQ(outcome.output,
            "[\n    {\n        \"start\": 1048576,\n        \"length\": 65536\n    }\n]\n"
            "Offset          Length\n0x300000        0x20000\n")
      << outcome.errors;
}

TEST_F(OwnSnapshots, ExportAndImportCarryDisksAndDifferences) {
  const Outcome outcome = run_varve(
      "$VARVE io -c 'write -q -s data 64k 200000' a.qcow2 && $VARVE snapshot create a.qcow2 --name "
      "one >/dev/null && $VARVE io -c 'write -q -s data 2M 200000' a.qcow2 && $VARVE snapshot "
      "export a.qcow2 one --output whole && $VARVE snapshot export a.qcow2 --from one >change && "
      "$VARVE snapshot import b.qcow2 --input whole && $VARVE snapshot import b.qcow2 <change && "
      "$QEMU compare a.qcow2 b.qcow2");
  EXPECT_EQ(outcome.output,
            "b.qcow2: 262144 bytes of data, 3932160 bytes of zeros imported\n"
            "b.qcow2: 262144 bytes of data, 0 bytes of zeros imported; right only where the disk "
            "was the stream's base\n"
            "Images are identical.\n")
      << outcome.errors;
  const Outcome damaged = run_varve(
      "$VARVE snapshot export a.qcow2 | head -c 100 >cut; $VARVE snapshot import b.qcow2 --input "
      "cut");
  EXPECT_EQ(damaged.status, 1);
  EXPECT_NE(damaged.errors.find("the stream is cut off"), std::string::npos) << damaged.errors;
}

}  // namespace
}  // namespace varve::tool
