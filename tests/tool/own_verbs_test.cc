// What the tool does beyond qemu-img: its own verbs, engines, strict formats, locks and signals.

#include <varve/engine.h>

#include "io/sandbox.h"
#include "tool/side_by_side.h"

namespace varve::tool {
namespace {

class OwnVerbs : public SideBySide {
 protected:
  void SetUp() override {
    SideBySide::SetUp();
    if (IsSkipped()) {
      return;
    }
    prepare(R"sh(
      qemu-img create -q -f qcow2 a.qcow2 1M
      qemu-io -c 'write -P 1 0 256k' a.qcow2 >/dev/null
      qemu-img snapshot -c one a.qcow2
      qemu-io -c 'write -P 2 0 64k' a.qcow2 >/dev/null
      qemu-img create -q -f qcow2 b.qcow2 2M
      qemu-img create -q -f qcow2 data.qcow2 64M
      qemu-io -c 'write -P 9 0 32M' data.qcow2 >/dev/null
      truncate -s 1M r.raw
    )sh");
  }
  // The script with $VARVE as the tool under its own name.
  [[nodiscard]] Outcome run_varve(const std::string& script) {
    return run_ours("VARVE='" + tool_path() + "'; " + script);
  }
};

TEST_F(OwnVerbs, InspectTellsWhatASnapshotCosts) {
  const Outcome outcome = run_varve("$VARVE inspect --json a.qcow2");
  EXPECT_EQ(outcome.status, 0) << outcome.errors;
  // A cluster of data, the L2 table and the L1 table; and the snapshot table goes with it.
  EXPECT_NE(outcome.output.find("\"unique-bytes\": 196608,\n            \"shared-bytes\": 196608"),
            std::string::npos)
      << outcome.output;
  EXPECT_NE(outcome.output.find("\"freed-by-delete-bytes\": 262144"), std::string::npos);
  EXPECT_NE(outcome.output.find("\"data-bytes\": 327680"), std::string::npos);
  const Outcome human = run_varve(
      "$VARVE inspect a.qcow2 | grep 'one'; $QEMU snapshot -c two a.qcow2; $VARVE inspect a.qcow2 "
      "| grep -c layers");
  EXPECT_EQ(human.output,
            "1 one                       384 KiB    192 KiB    192 KiB    128 KiB        0 B    "
            "256 KiB\n1\n");
}

// 0 nothing but notes, 3 another file, 2 damage, 1 no image or not all of one.
TEST_F(OwnVerbs, AuditAnswersByTheGravestFinding) {
  const Outcome outcome = run_varve(
      "$VARVE audit a.qcow2 | tail -n 1; $VARVE audit a.qcow2 >/dev/null; echo $?; "
      "$QEMU create -q -f qcow2 -b a.qcow2 -F qcow2 over.qcow2; "
      "$VARVE audit over.qcow2 | head -n 1; $VARVE audit over.qcow2 >/dev/null; echo $?; "
      "cp over.qcow2 bad.qcow2; printf '\\1' | dd of=bad.qcow2 bs=1 seek=47 conv=notrunc 2>&-; "
      "$VARVE audit bad.qcow2 | head -n 1 | cut -c 1-43; $VARVE audit bad.qcow2 >/dev/null; "
      "echo $?; $VARVE audit r.raw; echo $?; $VARVE audit missing; echo $?; $VARVE audit; echo $?");
  EXPECT_EQ(outcome.output,
            "a.qcow2: 0 of damage, 0 suspicious, 2 notes\n0\n"
            "suspicious: backing_file 'a.qcow2' in header at 0x210: the image stands on another "
            "file, which whoever uses it opens and shows the guest; it was not looked at\n3\n"
            "damage: broken_rule in header at 0x28: l1_t\n2\n1\n1\n1\n")
      << outcome.errors;
  EXPECT_NE(outcome.errors.find("varve: r.raw: not a qcow2 image"), std::string::npos);
}

TEST_F(OwnVerbs, AuditAnswersAsJson) {
  const Outcome outcome = run_varve(
      "printf hidden | dd of=a.qcow2 bs=1 seek=5000 conv=notrunc 2>&-; $VARVE audit --json a.qcow2 "
      "| head -n 21");
  EXPECT_EQ(outcome.output,
            "{\n    \"filename\": \"a.qcow2\",\n    \"version\": 3,\n    \"cluster-size\": 65536,\n"
            "    \"virtual-size\": 1048576,\n    \"file-bytes\": 851968,\n    \"complete\": true,\n"
            "    \"damage\": 0,\n    \"suspicious\": 1,\n    \"notes\": 2,\n    \"left-out\": 0,\n"
            "    \"findings\": [\n        {\n            \"severity\": \"suspicious\",\n"
            "            \"kind\": \"hidden_header_bytes\",\n            \"table\": \"header\",\n"
            "            \"offset\": 5000,\n            \"count\": 6,\n"
            "            \"message\": \"bytes of the first cluster that are no part of the header "
            "and not zero: 6\"\n        },\n        {\n")
      << outcome.errors;
}

TEST_F(OwnVerbs, AuditHonoursLocks) {
  const Outcome outcome = run_varve(
      "mkfifo hold said; $(dirname $QEMU)/qemu-io a.qcow2 <hold >said & exec 3>hold 4<said; echo "
      "length >&3; read line <&4; $VARVE audit a.qcow2 >/dev/null; echo $?; $VARVE audit -U "
      "a.qcow2 "
      ">/dev/null; echo $?; exec 3>&-; wait");
  EXPECT_EQ(outcome.output, "1\n0\n") << outcome.errors;
  EXPECT_NE(outcome.errors.find("lock"), std::string::npos) << outcome.errors;
}

TEST_F(OwnVerbs, SnapshotCreateGivesAllImagesTheSnapshotOrNone) {
  const Outcome good = run_varve(
      "$VARVE snapshot create a.qcow2 b.qcow2 --name both >/dev/null && $QEMU snapshot -l a.qcow2 "
      "| grep -c both; $QEMU snapshot -l b.qcow2 | grep -c both; $QEMU check -q a.qcow2");
  EXPECT_EQ(good.output, "1\n1\n") << good.errors;
  EXPECT_EQ(good.status, 0);
  const Outcome bad = run_varve(
      "$VARVE snapshot create a.qcow2 r.raw --name both; echo $?; $QEMU snapshot -l a.qcow2 | "
      "grep -c both");
  EXPECT_EQ(bad.output, "1\n0\n");
}

TEST_F(OwnVerbs, SnapshotListIsATree) {
  // Two children of one snapshot, and the disk below the second of them.
  const std::string story =
      "$VARVE snapshot create b.qcow2 --name base >/dev/null && $VARVE snapshot create b.qcow2 "
      "--name left >/dev/null && $VARVE snapshot apply b.qcow2 base >/dev/null && $VARVE snapshot "
      "create b.qcow2 --name right >/dev/null && ";
  const Outcome tree = run_varve(story + "$VARVE snapshot list b.qcow2 | cut -c 1-38 | tail -n +2");
  EXPECT_EQ(tree.output,
            "1       base                          \n"
            "2         left                        \n"
            "3         right                       \n"
            "            (active disk)             \n")
      << tree.errors;
  const Outcome json = run_varve(
      story + "$VARVE snapshot list b.qcow2 --json | grep -e '\"name\"' -e parent -e active");
  EXPECT_EQ(json.output,
            "        \"name\": \"base\",\n        \"parent\": null,\n        \"parent-known\": "
            "true,\n        \"active\": false,\n"
            "        \"name\": \"left\",\n        \"parent\": \"1\",\n        \"parent-known\": "
            "true,\n        \"active\": false,\n"
            "        \"name\": \"right\",\n        \"parent\": \"1\",\n        \"parent-known\": "
            "true,\n        \"active\": true,\n")
      << json.errors;
}

TEST_F(OwnVerbs, SnapshotsAreNamedByUuidToo) {
  const Outcome outcome = run_varve(
      "$VARVE snapshot create b.qcow2 --name x >/dev/null; uuid=$($VARVE snapshot list b.qcow2 "
      "--json | sed -n 's/.*\"uuid\": \"\\(.*\\)\",/\\1/p'); $VARVE snapshot delete b.qcow2 $uuid "
      ">/dev/null; echo $? ${#uuid}; $QEMU snapshot -l b.qcow2");
  EXPECT_EQ(outcome.output, "0 36\n") << outcome.errors;
}

TEST_F(OwnVerbs, SnapshotNamesThatSeveralShareAreRefusedWithTheirIds) {
  const Outcome outcome = run_varve(
      "$QEMU snapshot -c one a.qcow2; $VARVE snapshot delete a.qcow2 one; echo $?; $VARVE snapshot "
      "delete a.qcow2 2 >/dev/null; echo $?; $QEMU snapshot -l a.qcow2 | cut -c -12 | tail -1");
  EXPECT_EQ(outcome.output, "1\n0\n1       one \n");
  EXPECT_EQ(outcome.errors,
            "varve: a.qcow2: several snapshots are named 'one': say which by id (1, 2)\n");
}

TEST_F(OwnVerbs, SnapshotRenameAndApplyWork) {
  const Outcome outcome = run_varve(
      "$VARVE snapshot rename a.qcow2 one uno >/dev/null && $VARVE snapshot apply a.qcow2 uno "
      ">/dev/null && $QEMU check -q a.qcow2 && $QEMU snapshot -l a.qcow2 | grep -c uno; "
      "qemu-img convert -l uno a.qcow2 then; qemu-img compare -f raw then a.qcow2");
  EXPECT_EQ(outcome.output, "1\nImages are identical.\n") << outcome.errors;
}

TEST_F(OwnVerbs, SnapshotActionsAreFilesForQemuImg) {
  const Outcome outcome = run_ours("qemu-img snapshot list");
  EXPECT_EQ(outcome.errors,
            "qemu-img: Could not open 'list': Could not open 'list': No such file or directory\n");
}

TEST_F(OwnVerbs, TheEngineCanBeChosen) {
  for (const char* script :
       {"$VARVE --aio threads info -v a.qcow2", "$VARVE info -v --aio=threads a.qcow2",
        "VARVE_AIO=threads $VARVE info -v a.qcow2"}) {
    const Outcome outcome = run_varve(script);
    EXPECT_EQ(outcome.status, 0) << outcome.errors;
    EXPECT_NE(outcome.output.find("I/O engine: threads\n"), std::string::npos) << script;
  }
  const Outcome outcome = run_varve("$VARVE info --aio carrier-pigeon a.qcow2");
  EXPECT_EQ(outcome.errors, "varve: Invalid aio option: carrier-pigeon\n");
  EXPECT_EQ(outcome.status, 1);
}

TEST_F(OwnVerbs, ConvertGivesTheSameOnThreads) {
  const Outcome outcome = run_varve(
      "$VARVE --aio threads convert -O qcow2 a.qcow2 out && $QEMU compare a.qcow2 out && $QEMU "
      "check -q out");
  EXPECT_EQ(outcome.output, "Images are identical.\n") << outcome.errors;
  EXPECT_EQ(outcome.status, 0);
}

TEST_F(OwnVerbs, ConvertEndsBeforeMoreThanAllowedIsWritten) {
  const Outcome refused = run_varve("$VARVE convert --max-output 4k -O raw a.qcow2 out");
  EXPECT_EQ(refused.status, 1);
  EXPECT_NE(refused.errors.find("more than --max-output would be written"), std::string::npos)
      << refused.errors;
  EXPECT_EQ(run_varve("$VARVE convert --max-output 1G -O raw a.qcow2 out").status, 0);
  // Several sources count together.
  EXPECT_EQ(run_varve("$VARVE convert --max-output 512 -O raw a.qcow2 a.qcow2 out").status, 1);
  EXPECT_EQ(run_varve("$VARVE convert --max-output 1x -O raw a.qcow2 out").status, 1);
}

TEST_F(OwnVerbs, StrictFormatRefusesGuessesOnWritingVerbs) {
  for (const char* script : {"$VARVE resize --strict-format r.raw +1M",
                             "VARVE_STRICT_FORMAT=1 $VARVE resize a.qcow2 +1M",
                             "VARVE_STRICT_FORMAT=1 $VARVE snapshot -c x a.qcow2"}) {
    const Outcome outcome = run_varve(script);
    EXPECT_EQ(outcome.status, 1) << script;
    EXPECT_NE(outcome.errors.find("add -f qcow2 or -f raw"), std::string::npos) << outcome.errors;
  }
  EXPECT_EQ(run_varve("$VARVE resize --strict-format -f raw r.raw +1M").status, 0);
  EXPECT_EQ(run_varve("VARVE_STRICT_FORMAT=1 $VARVE info r.raw").status, 0);
}

TEST_F(OwnVerbs, ImagesOfWritersAreRefusedAsQemuImgRefusesThem) {
  std::vector<std::string> scripts;
  for (const char* command :
       {"info a.qcow2", "info -U a.qcow2 | head -n 1", "check a.qcow2", "snapshot -c q a.qcow2",
        "resize a.qcow2 +1M", "convert a.qcow2 x", "convert -O qcow2 b.qcow2 a.qcow2",
        "create -f qcow2 a.qcow2 1M", "convert -n -O qcow2 b.qcow2 a.qcow2", "create a.qcow2 1M"}) {
    // QEMU holds the image open for writing until its standard input ends.
    scripts.push_back(
        std::string("mkfifo hold said; $(dirname $QEMU)/qemu-io a.qcow2 <hold >said & "
                    "exec 3>hold 4<said; echo length >&3; read line <&4; "
                    "qemu-img ") +
        command + "; code=$?; exec 3>&-; wait; exit $code");
  }
  expect_same(scripts);
}

TEST_F(OwnVerbs, AnInterruptedConvertLeavesAConsistentImage) {
  // Slow enough that the signal arrives in the middle, whatever the machine.
  const Outcome outcome = run_varve(
      "$VARVE convert -r 4M -p -O qcow2 data.qcow2 out >progress & pid=$!; until [ $(stat -c %s "
      "progress 2>/dev/null || echo 0) -gt 30 ]; do :; done; kill -INT $pid; wait $pid; echo $?; "
      "$QEMU check -q out; echo $?");
  EXPECT_EQ(outcome.output, "130\n0\n") << outcome.errors;
}

// The reference table and a snapshot's entry are broken; then the header itself.
TEST_F(OwnVerbs, CheckRepairsWhatRescueNeedNot) {
  const std::string poke =
      "poke() { printf \"$2\" | dd of=a.qcow2 bs=1 seek=$1 conv=notrunc 2>/dev/null; }; ";
  const std::string table = "t=$((0x$(od -An -tx1 -j48 -N8 a.qcow2 | tr -d ' '))); ";
  const std::string entry = "s=$((0x$(od -An -tx1 -j64 -N8 a.qcow2 | tr -d ' '))); ";
  const Outcome repaired = run_varve(
      poke + table + entry +
      "$QEMU convert -O raw a.qcow2 before; poke $((t + 7)) '\\4'; poke $((s + 7)) '\\1'; "
      "$VARVE check -q a.qcow2 2>/dev/null; echo $?; $VARVE check -q -r all a.qcow2; echo $?; "
      "$QEMU check -q a.qcow2; echo $?; $QEMU convert -O raw a.qcow2 after; cmp before after; "
      "echo $?");
  EXPECT_EQ(repaired.output, "2\n0\n0\n0\n") << repaired.errors;
  EXPECT_NE(repaired.errors.find("LOST snapshot 1 (id '1', name 'one')"), std::string::npos)
      << repaired.errors;
  EXPECT_NE(repaired.errors.find("Rebuilt the refcount table"), std::string::npos);
  const Outcome rescued = run_varve(
      poke +
      "$QEMU convert -O raw a.qcow2 before; $VARVE rescue a.qcow2 whole.qcow2; echo $?; $VARVE "
      "compare -q whole.qcow2 before; "
      "echo $?; l=$((0x$(od -An -tx1 -j40 -N8 a.qcow2 | tr -d ' '))); poke 0 broken; poke "
      "23 x; $VARVE rescue a.qcow2 out.qcow2; echo $?; $VARVE rescue --cluster-size 64k "
      "--l1-offset $l -O raw a.qcow2 out.raw >/dev/null; echo $?; cmp out.raw before; echo "
      "$?; $VARVE rescue a.qcow2 out.raw; echo $?; poke $l '\\1\\1\\1\\1'; $VARVE rescue "
      "--json --cluster-size 64k a.qcow2 lost.qcow2 | grep -c table_beyond_end_of_file; "
      "$VARVE rescue --cluster-size 64k a.qcow2 more.qcow2 >/dev/null; echo $?");
  EXPECT_EQ(rescued.output,
            "Copied 256 KiB of data to whole.qcow2\nNothing is lost.\n0\n0\n1\n3\n0\n1\n1\n2\n")
      << rescued.errors;
}

TEST_F(OwnVerbs, VersionAndHelpAnswer) {
  EXPECT_EQ(run_varve("$VARVE version --json | head -n 2").output.substr(0, 15),
            "{\n    \"version\"");
  for (const char* verb : {"bench", "check", "compare", "convert", "create", "info", "inspect",
                           "rescue", "map", "resize", "snapshot", "version"}) {
    const Outcome outcome = run_varve(std::string("$VARVE ") + verb + " --help");
    EXPECT_EQ(outcome.status, 0) << verb << outcome.errors;
    EXPECT_NE(outcome.output.find("sage:"), std::string::npos) << verb;
    EXPECT_NE(outcome.output.find("Example"), std::string::npos) << verb;
  }
  for (const char* action :
       {"create", "list", "apply", "delete", "rename", "read-state", "diff", "export", "import"}) {
    const Outcome outcome = run_varve(std::string("$VARVE snapshot ") + action + " --help");
    EXPECT_EQ(outcome.status, 0) << action << outcome.errors;
    EXPECT_NE(outcome.output.find("Example"), std::string::npos) << action;
  }
}

// Which engine runs is told, and is the one that does; needs no QEMU.
class EngineInUse : public SideBySide {
 protected:
  void SetUp() override {
    if (tool_path().empty()) {
      VARVE_MISSING("the tool is not built");
    }
    image_ = temporary_.file("disk.qcow2");
    ASSERT_EQ(model::run_command({tool_path(), "create", "-q", "-f", "qcow2", image_, "1M"}).status,
              0);
  }
  // Whether both verbs name this engine.
  [[nodiscard]] bool is_told(const std::string& engine) const {
    const model::CommandResult info = model::run_command({tool_path(), "info", "-v", image_});
    const model::CommandResult version = model::run_command({tool_path(), "version"});
    const model::CommandResult json = model::run_command({tool_path(), "version", "--json"});
    return info.status == 0 && version.status == 0 && json.status == 0 &&
           info.output.find("I/O engine: " + engine + "\n") != std::string::npos &&
           version.output.find("\nengine: " + engine + "\n") != std::string::npos &&
           json.output.find("\"engine\": \"" + engine + "\"") != std::string::npos;
  }
  [[nodiscard]] const std::string& image() const { return image_; }

 private:
  model::TemporaryFolder temporary_;
  std::string image_;
};

TEST_F(EngineInUse, IsIoUringWhereTheKernelHasIt) {
  if (!Engine::create({.backend = AioBackend::io_uring})) {
    VARVE_MACHINE_LACKS("io_uring is refused here");
  }
  EXPECT_TRUE(is_told("io_uring"));
}

TEST_F(EngineInUse, IsThreadsWhereIoUringIsRefused) {
  const int answer = test::run_in_sandbox({{SYS_io_uring_setup, EPERM}}, [this] {
    const bool refused =
        model::run_command({tool_path(), "--aio", "io_uring", "info", image()}).status == 1;
    return is_told("threads") && refused ? 0 : 1;
  });
  EXPECT_EQ(answer, 0);
}

TEST_F(OwnVerbs, FormatsOfOthersAreNamed) {
  const Outcome outcome = run_varve(
      "printf 'KDMV\\1\\0\\0\\0' >m.vmdk; truncate -s 1k m.vmdk; $VARVE info m.vmdk; $VARVE create "
      "-f vmdk x 1M; $VARVE convert -O vdi a.qcow2 x");
  EXPECT_EQ(outcome.errors,
            "varve: Could not open 'm.vmdk': Unknown file format 'vmdk'\n"
            "varve: x: Unknown file format 'vmdk'\n"
            "varve: Unknown file format 'vdi'\n");
}

}  // namespace
}  // namespace varve::tool
