// discard, flush, truncate, alloc, map, length, info and the aio_ commands beside qemu-io's.

#include <gtest/gtest.h>

#include "tool_io/side_by_side.h"

namespace varve::test {
namespace {

TEST(DiskScript, Discards) {
  expect_same({
      on_qcow2("discard", {"write -q 0 1M", "discard 0 64k", "d 0 1", "discard -q 0 64k",
                           "discard -C 0 64k", "discard 64k 200k", "discard 0 0", "discard 4M 0",
                           "map", "read -P 0 64k 128k", "discard 0 -q 64k"}),
      on_qcow2("wrong", {"discard 0", "discard 0 1 2", "discard x 1", "discard 0 x", "discard 0 3G",
                         "discard 5M 1", "discard 5M 0", "discard 0 2147483647", "discard -x 0 1"}),
      on_raw("raw", {"write -q 0 64k", "discard 0 64k", "map", "discard 1M 1"}),
  });
}

TEST(DiskScript, TellsWhatIsAllocated) {
  expect_same({
      on_qcow2("fresh", {"map", "alloc 0", "alloc 0 4M", "length", "l", "info", "i"}),
      on_qcow2("parts",
               {"write -q 0 64k", "write -q 1M 1", "write -q 2M 64k", "write -zq 2M 64k", "map",
                "alloc 0", "a 0 12M", "alloc 1 5", "alloc 64k 1M", "alloc 5M", "alloc 12M 1"}),
      on_qcow2("wrong", {"alloc", "alloc x", "alloc 0 x", "alloc 0 1 1", "alloc -1", "alloc 8E",
                         "alloc 0 8E", "map 1", "length 1", "info 1", "m", "alloc 0 3G"}),
      on_raw("raw", {"map", "alloc 0", "alloc 0 3M", "length", "info", "write -q 4k 4k", "map"}),
  });
}

TEST(DiskScript, TellsSizesOfEmptyAndOddDisks) {
  Script empty = on_qcow2("empty", {"info", "map", "length", "alloc 0", "read 0 0", "read 0 1"});
  empty.setup = "$IMG create -q -f qcow2 empty.qcow2 0";
  empty.arguments.back() = "empty.qcow2";
  Script empty_raw =
      on_raw("empty raw", {"map", "length", "info", "alloc 0", "read 0 0", "read 0 1"});
  empty_raw.setup = "truncate -s 0 disk.raw";
  Script options = on_qcow2("options", {"info"});
  options.setup =
      "$IMG create -q -f qcow2 -o lazy_refcounts=on,refcount_bits=1,"
      "compression_type=zstd,cluster_size=4k disk.qcow2 10G";
  Script data_file = on_qcow2(
      "data file", {"info", "write -P 4 0 64k", "map", "read -P 4 0 64k", "write -c 64k 64k"});
  data_file.setup = "$IMG create -q -f qcow2 -o data_file=data outside.qcow2 4M";
  data_file.arguments.back() = "outside.qcow2";
  expect_same({empty, empty_raw, options, data_file});
}

TEST(DiskScript, Grows) {
  expect_same({
      on_qcow2("truncate", {"truncate 8M", "length", "truncate -m off 9M", "truncate -m falloc 10M",
                            "t 10M", "length", "truncate 1 2", "truncate 1234567",
                            "truncate -m metadata 11M", "truncate -m full 12M", "length"}),
      on_qcow2("wrong", {"truncate", "truncate -m foo 12M", "truncate -m off", "truncate x",
                         "truncate -x 1", "truncate -m foo x", "truncate -m foo",
                         "truncate 5M -m foo", "truncate -m off 1 2", "truncate -m falloc 1M"}),
      on_raw("raw", {"truncate 2M", "length", "truncate -m metadata 3M", "truncate -m full 3M",
                     "length", "read -P 0 1M 2M"}),
  });
}

TEST(DiskScript, Flushes) {
  expect_same({on_qcow2("flush", {"flush", "f", "flush 1", "write 0 1", "flush"})});
}

TEST(DiskScript, ReadsThroughBackingFiles) {
  Script chain = on_qcow2(
      "chain", {"map", "read -P 1 0 64k", "write -P 2 64k 64k", "map", "read -P 1 128k 64k",
                "read -P 2 64k 64k", "alloc 0 1M", "write -z 128k 64k", "discard 64k 64k",
                "read -P 0 128k 64k", "map", "write -P 3 200k 1", "read -v 200k 2"});
  chain.setup =
      "$IMG create -q -f qcow2 base.qcow2 4M; $IO -f qcow2 -c 'write -q -P 1 0 1M' base.qcow2; "
      "$IMG create -q -f qcow2 -b base.qcow2 -F qcow2 disk.qcow2";
  Script raw_base = chain;
  raw_base.name = "raw base";
  raw_base.setup =
      "$IMG create -q -f raw base 2M; $IO -f raw -c 'write -q -P 1 0 1M' base; "
      "$IMG create -q -f qcow2 -b base -F raw disk.qcow2 4M";
  Script copied = chain;
  copied.name = "copied on read";
  copied.arguments = {
      "-C", "-c",  "read -q 100k 1k", "-c", "map", "-c", "read -P 1 0 1M", "-c", "read -q 2M 1",
      "-c", "map", "disk.qcow2"};
  expect_same({chain, raw_base, copied});
}

// One request at a time: the order in which several finish is nobody's promise.
TEST(AsyncScript, ReportsWhenDone) {
  expect_same({
      on_qcow2("write", {"aio_write 0 512 512", "aio_flush", "aio_write -P 5 0 64k", "aio_flush",
                         "read -P 5 0 64k", "aio_write -z 0 64k", "aio_flush", "aio_write -q 0 1",
                         "aio_flush", "aio_write -C 0 1", "aio_flush", "aio_write -f 0 1"}),
      on_qcow2("read", {"aio_read 0 512 512", "aio_flush", "aio_read -v 0 16 16", "aio_flush",
                        "aio_read -P 5 0 64k", "aio_flush", "aio_read -q 0 1", "aio_flush",
                        "aio_read -C 0 1"}),
      on_qcow2("at the end", {"aio_write 0 64k", "length"}),
      on_qcow2("at quit", {"aio_write 0 64k", "quit", "length"}),
      on_qcow2("at close", {"aio_write 0 64k", "close", "length"}),
      on_qcow2("not at once", {"aio_read 5M 0", "length"}),
      on_qcow2("zeroes", {"write -q 0 1M", "aio_write -zu 0 64k", "aio_flush", "aio_write -z 1 1",
                          "aio_flush", "map"}),
  });
}

TEST(AsyncScript, RunsSeveralAtOnce) {
  std::vector<std::string> commands;
  for (int i = 0; i < 48; ++i) {
    commands.push_back("aio_write -q -P " + std::to_string(i + 1) + " " + std::to_string(i * 80) +
                       "k 48k 16k 16k");
    if (i % 8 == 7) {
      commands.push_back("aio_read -q 0 64k");
    }
  }
  commands.emplace_back("aio_flush");
  for (int i = 0; i < 48; ++i) {
    commands.push_back("read -P " + std::to_string(i + 1) + " " + std::to_string(i * 80) + "k 80k");
  }
  Script lines = on_qcow2("from standard input", {});
  for (const std::string& command : commands) {
    lines.input += command + "\n";
  }
  expect_same({on_qcow2("from -c", commands),
               on_raw("raw", {"aio_write -q 0 64k", "aio_write -q -P 2 64k 512k", "aio_flush",
                              "read -P 2 64k 512k"}),
               lines});
}

TEST(AsyncScript, FailsWithoutFailing) {
  expect_same({
      on_qcow2("beyond",
               {"aio_read 4M 1", "aio_flush", "aio_write 5M 1", "aio_flush", "aio_write -z 0 3G"}),
      on_qcow2("invalid",
               {"aio_write -i 0 64k", "aio_read -i 0 1", "aio_read -i x 1", "aio_write -iz 0 x"}),
      on_qcow2("wrong",
               {"aio_write -u 0 64k", "aio_write -z 0 64k 64k", "aio_write -zr 0 64k",
                "aio_write x 1", "aio_write 0 x", "aio_write -z 0 x", "aio_write -z x 1",
                "aio_write 0 3G", "aio_write -x 0 1", "aio_write -P x 0 1", "aio_write -c 0 64k",
                "aio_read x 1", "aio_read 0 x", "aio_read -x 0 1", "aio_read -P x 0 1",
                "aio_read 0", "aio_read -v 0", "aio_write -z 0", "aio_flush 1"}),
  });
}

}  // namespace
}  // namespace varve::test
