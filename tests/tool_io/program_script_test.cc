// The program around the commands: options, open and reopen, standard input, signals.

#include <gtest/gtest.h>

#include "tool_io/side_by_side.h"

namespace varve::test {
namespace {

Script with_input(const std::string& name, const std::string& input) {
  Script script = on_qcow2(name, {});
  script.input = input;
  return script;
}

TEST(ProgramScript, ReadsStandardInput) {
  expect_same({
      with_input("lines", "read 0 512\nfoo\nmap\n\n  \nlength\n"),
      with_input("no line end", "length\nlength"),
      with_input("quit", "length\nquit\nlength\n"),
      with_input("alias", "q now\n"),
      with_input("nothing", ""),
      with_input("asynchronous", "aio_write 0 64k\naio_flush\nread -P 0xcd 0 64k\n"),
  });
}

TEST(ProgramScript, TakesOptions) {
  const std::vector<std::vector<std::string>> lines = {
      {"-r", "-c", "write 0 1", "disk.qcow2"},
      {"-r", "-c", "write -z 0 1", "-c", "discard 0 1", "-c", "truncate 8M", "-c", "aio_write 0 1",
       "-c", "writev 0 1", "-c", "flush", "-c", "write x 1", "-c", "read 0 1", "disk.qcow2"},
      {"--read-only", "-c", "write 0 1", "disk.qcow2"},
      {"--read", "-c", "write 0 1", "disk.qcow2"},
      {"-f", "raw", "-c", "info", "disk.raw"},
      {"-f", "qcow2", "-f", "raw", "-c", "info", "disk.raw"},
      {"-f", "foo", "-c", "info", "disk.qcow2"},
      {"-f", "qcow2", "-c", "info", "disk.raw"},
      {"-f", "file", "-c", "info", "disk.raw"},
      {"-c", "info", "disk.raw"},
      {"-r", "-c", "info", "disk.raw"},
      {"-c", "info", "file:disk.qcow2"},
      {"-c", "length", "nofile"},
      {"-c", "length", "."},
      {"-c", "length", ""},
      {"-c", "length", "vmdk:foo"},
      {"-c", "length", "--", "disk.qcow2"},
      {"disk.qcow2", "-c", "length"},
      {"-c", "length"},
      {"-c", "quit", "-c", "length", "disk.qcow2"},
      {"--cmd", "length", "--cmd=foo", "--cm", "length", "disk.qcow2"},
      {"-T", "", "-c", "length", "disk.qcow2"},
      {"--object", "secret,id=a,data=b", "-c", "length", "disk.qcow2"},
  };
  std::vector<Script> scripts;
  for (const std::vector<std::string>& line : lines) {
    std::string name;
    for (const std::string& word : line) {
      name += word + " ";
    }
    scripts.push_back(with_arguments(name, line));
  }
  expect_same(scripts);
}

TEST(ProgramScript, TakesModes) {
  std::vector<Script> scripts;
  for (const char* mode :
       {"none", "off", "writeback", "unsafe", "writethrough", "directsync", "back", "foo"}) {
    scripts.push_back(
        with_arguments(std::string("-t ") + mode, {"-t", mode, "-c", "write 0 512", "disk.qcow2"}));
  }
  for (const char* mode : {"off", "ignore", "on", "unmap", "foo"}) {
    scripts.push_back(with_arguments(
        std::string("-d ") + mode, {"-d", mode, "-c", "write -q 0 64k", "-c", "discard 0 64k", "-c",
                                    "discard 5M 1", "-c", "read -P 0 0 64k", "disk.qcow2"}));
  }
  for (const char* engine : {"threads", "native", "foo"}) {
    scripts.push_back(with_arguments(std::string("-i ") + engine,
                                     {"-i", engine, "-c", "write 0 512", "disk.qcow2"}));
  }
  for (const char* letters :
       {"-n", "-nm", "-m", "-k", "-kn", "-U", "-Ur", "-C", "-Cr", "-s", "-sr", "-sU"}) {
    scripts.push_back(with_arguments(
        letters, {letters, "-c", "write -P 9 0 512", "-c", "read -P 9 0 512", "disk.qcow2"}));
  }
  expect_same(scripts);
}

TEST(ProgramScript, TakesNodeOptions) {
  const auto script = [](const std::string& text) {
    return with_arguments(text, {"--image-opts", "-c", "length", text});
  };
  expect_same({
      script("driver=qcow2,file.filename=disk.qcow2"),
      script("file.filename=disk.qcow2"),
      script("driver=raw,file.filename=disk.qcow2"),
      script("driver=file,filename=disk.raw"),
      script("disk.qcow2"),
      script("driver=foo,file.filename=disk.qcow2"),
      script("driver=qcow2,file.filename=nofile"),
      script("driver=qcow2,foo=1,file.filename=disk.qcow2"),
      script("driver=qcow2,nofoo,file.filename=disk.qcow2"),
      script("driver=qcow2,read-only=on,file.filename=disk.qcow2"),
      script("filename=disk.qcow2"),
      script(""),
      with_arguments("both", {"--image-opts", "-f", "raw", "-c", "length", "disk.raw"}),
      with_arguments("json", {"-c", "length",
                              R"(json:{"driver":"qcow2","file":{"driver":"file",)"
                              R"("filename":"disk.qcow2"}})"}),
  });
}

Script bare(const std::string& name, const std::vector<std::string>& commands) {
  Script script = on_qcow2(name, commands);
  script.arguments.pop_back();
  return script;
}

TEST(ProgramScript, OpensAndCloses) {
  expect_same({
      bare("open", {"open disk.qcow2", "write -q 0 1", "length", "close", "length", "close"}),
      bare("read-only", {"open -r disk.qcow2", "write 0 1", "read 0 1"}),
      bare("missing", {"open nofile", "length"}),
      bare("twice", {"open disk.qcow2", "o disk.qcow2", "c", "open disk.qcow2", "length"}),
      bare("options", {"open -o driver=qcow2 disk.qcow2", "length", "close",
                       "open -o driver=raw,file.filename=disk.raw", "length", "close",
                       "open -o driver=raw disk.raw", "info", "close",
                       "open -o driver=qcow2 -o file.filename=disk.qcow2", "length", "close",
                       "open -o lazy-refcounts=on disk.qcow2", "length"}),
      bare("wrong options",
           {"open -o driver=foo disk.qcow2", "open -o foo=bar disk.qcow2",
            "open -o read-only=on disk.qcow2", "open -o =", "open -o ,", "length"}),
      bare("wrong", {"open", "open x y", "open -x disk.qcow2", "open -t foo disk.qcow2",
                     "open -d foo disk.qcow2", "open -i foo disk.qcow2", "open -g disk.qcow2",
                     "open -U disk.qcow2", "open -k disk.qcow2", "length"}),
      bare("modes",
           {"open -t none -d unmap -i threads disk.qcow2", "length", "close", "open -n disk.qcow2",
            "write 0 1", "close", "open -rU disk.qcow2", "read 0 1", "close", "open -s disk.qcow2",
            "write -P 1 0 512", "read -P 1 0 512", "close", "open -C disk.qcow2", "read 0 1"}),
      bare("nothing open", {"write 0 1", "map", "alloc 0", "info", "break a b", "resume x",
                            "zone_open 0 1", "aio_flush", "flush", "reopen", "close", "reopen -r"}),
  });
}

TEST(ProgramScript, Reopens) {
  expect_same({
      bare("access", {"open -r disk.qcow2", "write 0 1", "reopen -w", "write 0 1", "reopen -r",
                      "write 0 1", "read 0 1"}),
      on_qcow2("cache", {"reopen -c none", "write 0 512", "reopen -c writeback", "reopen -c unsafe",
                         "reopen -c writethrough", "reopen", "write 0 512"}),
      on_qcow2("wrong", {"reopen -r -w", "reopen -rw", "reopen -r -r", "reopen -x", "reopen foo",
                         "reopen -c foo", "write 0 1"}),
      on_qcow2("options",
               {"reopen -o lazy-refcounts=on", "reopen -o foo=bar", "reopen -o read-only=off",
                "write 0 1", "reopen -r -o read-only=on", "reopen -c none -o cache.direct=on",
                "reopen -o cache.direct=on", "reopen -o driver=raw", "reopen -o cache-size=1M",
                "reopen -o discard=unmap", "reopen -o cache.writeback=off", "reopen -o backing=x",
                "reopen -o file.filename=disk.raw", "reopen -o discard=foo", "write 0 1"}),
  });
}

// The kernel may hold a killed program's locks for a moment, so its image is not looked at.
Script dying(const std::string& name, const std::vector<std::string>& commands) {
  Script script = on_qcow2(name, commands);
  script.setup = "$IMG create -q -f qcow2 victim.qcow2 4M";
  script.arguments.back() = "victim.qcow2";
  return script;
}

TEST(ProgramScript, RaisesSignalsAndSleeps) {
  expect_same({
      on_qcow2("sleep", {"sleep", "sleep 1", "sleep x", "sleep 1x", "sleep -1", "sleep 1 2",
                         "sleep 0x1", "sleep 99999999999999999999", "sleep 1.5"}),
      on_qcow2("sigraise", {"sigraise", "sigraise x", "sigraise 0", "sigraise 99999999999",
                            "sigraise -1", "sigraise 64k", "sigraise 66", "sigraise 17"}),
      dying("killed", {"length", "sigraise 9"}),
      dying("terminated", {"length", "sigraise 15", "length"}),
      dying("abort", {"length", "abort 1", "abort"}),
  });
}

TEST(ProgramScript, HelpsOnCommands) {
  expect_same({
      on_qcow2("all", {"help", "?"}),
      on_qcow2("short ones", {"help q", "help map", "help aio_flush", "help ?", "? flush",
                              "help break", "help zrp"}),
      on_qcow2("wrong", {"help foo", "help read write", "foo", "trunc 1", "", "   "}),
  });
}

TEST(ProgramScript, RefusesBreakpointsAndZones) {
  expect_same({
      on_qcow2("breakpoints", {"break a", "break write_aio A", "resume A", "resume",
                               "remove_break A", "wait_break"}),
      on_qcow2("zones",
               {"zrp 0 1", "zone_open 0 1", "zo 0", "zone_append 0 512", "zap", "zone_report 0 1",
                "zone_reset 0 1", "zc 0 1", "zf 0 1", "zone_report x 1", "zone_report 0 x",
                "zone_open x 1", "zone_append 0 512 512", "zone_append x 1 1",
                "zone_append -p 0 512", "zone_append -z 0 512", "zone_report 0 99999999999"}),
  });
}

// A disk whose format was guessed must not become one of another format.
TEST(ProgramScript, ProtectsGuessedDisks) {
  Script script = with_arguments(
      "guessed", {"-c", "write -s magic 0 512", "-c", "write -s magic 512 512", "-c",
                  "write -s magic 1 4", "-c", "write 0 512", "-c", "read -v 0 8", "-c",
                  "aio_write 0 512", "-c", "aio_flush", "-c", "write -z 0 4k", "disk.raw"});
  script.setup += "; printf 'QFI\\373' > magic";
  Script explicitly = script;
  explicitly.name = "told";
  explicitly.arguments.insert(explicitly.arguments.begin(), {"-f", "raw"});
  expect_same({script, explicitly});
}

}  // namespace
}  // namespace varve::test
