// read, readv, write and writev beside qemu-io's.

#include <gtest/gtest.h>

#include "tool_io/side_by_side.h"

namespace varve::test {
namespace {

TEST(TransferScript, WritesAndReadsBack) {
  expect_same({
      on_qcow2("plain", {"write 0 64k", "read 0 64k", "read -v 0 20", "read -v 5 3"}),
      on_qcow2("pattern", {"write -P 0x41 0 64k", "write -P 7 64k 64k", "read -P 0x41 0 64k",
                           "read -P 7 -s 64k 0 128k", "read -P 7 -s 64k -l 1k 0 128k"}),
      on_qcow2("odd ends", {"write -P 1 100 1000", "write -P 2 65530 12", "read -P 1 100 1000",
                            "read -P 0 0 100", "read -v 65520 32"}),
      on_qcow2("bases", {"write -P 010 0 1", "read -v 0 1", "write -P 0xFF 0 1", "read -v 0 1"}),
      on_qcow2("aliases", {"w -P 3 0 4k", "r -P 3 0 4k", "r 0", "w -x 0 1"}),
      on_qcow2("ignored letters", {"write -p 0 4k", "write -r 0 4k", "read -p 0 1", "read -r 0 4k",
                                   "read -P 1 -P 0xcd 0 1"}),
      on_qcow2("quiet", {"write -q 0 4k", "read -q 0 4k", "read -qv 0 1", "write -Cq 0 4k",
                         "read -q -P 1 0 1"}),
      on_qcow2("figures", {"write -C 0 4k", "read -vC 0 1", "writev -C 0 512 512", "readv -C 0 1"}),
      on_qcow2("nothing", {"write 0 0", "read 4M 0", "readv 0 0", "read 5M 0", "write 5M 0",
                           "readv 0 0 512", "write -z 5M 0", "write -z 0 0"}),
      on_raw("raw", {"write -P 5 0 64k", "read -P 5 0 64k", "read -P 0 64k 64k", "write 1M 1",
                     "write -z 1k 3k", "read -P 0 1k 3k", "writev -P 9 1 2 3", "read -v 0 8"}),
  });
}

TEST(TransferScript, TakesVectors) {
  expect_same({
      on_qcow2("readv", {"write -q -P 0x41 0 64k", "readv 0 512 512", "readv -v 0 16 16",
                         "readv -P 0x41 0 1k 1k", "readv -P 1 0 1k 1k", "readv -P 1 -q 0 1k",
                         "readv -r 0 4k 4k", "readv 0 -v 1"}),
      on_qcow2("writev", {"writev 0 512 512", "writev -P 3 1000 1 2 3", "writev -q 0 1 1",
                          "writev -f 0 512", "read -v 990 32"}),
      on_qcow2("beyond", {"readv 4M 1 1", "writev 5M 1", "readv 5M 0", "writev 4095k 512 1024"}),
      on_qcow2("wrong", {"readv 0", "readv 0 x", "readv x 1", "readv -x 0 1", "readv -P x 0 1",
                         "writev x 1", "writev 0 x", "writev -z 0 1", "writev -P x 0 1",
                         "writev -q 0", "readv -v 0", "readv -P 1 0"}),
      on_qcow2("too long", {"readv 0 3G", "readv 0 2147483647", "readv 0 2G 1G",
                            "readv 0 2000000000 2000000000", "writev 0 3G"}),
  });
}

TEST(TransferScript, FillsFromFiles) {
  Script script =
      on_qcow2("write -s", {"write -s text 0 16", "read -v 0 20", "write -stext 32 7",
                            "read -v 32 8", "write -s nofile 0 64k", "write -s /dev/null 0 64k",
                            "write -s text -P 1 0 512", "write -s text -z 0 512"});
  script.setup += "; printf 'hello world' > text";
  expect_same({script});
}

TEST(TransferScript, SaysWhereAPatternIsNot) {
  expect_same({
      on_qcow2("mismatch", {"write -q -P 7 64k 64k", "read -P 0x42 0 64k", "read -P 7 0 128k",
                            "read -P 7 -l 1k 0 128k", "read -P 7 -s 1 -l 64k 0 128k"}),
      on_qcow2("ranges", {"read -P 7 -s 64k -l 65k 0 128k", "read -P 7 -s 129k 0 128k",
                          "read -s 1 0 64k", "read -l 1 0 64k", "read -s x -P 1 0 1",
                          "read -l x -P 1 0 1", "read -s 8E -P 1 0 1"}),
  });
}

TEST(TransferScript, RefusesWhatMakesNoSense) {
  expect_same({
      on_qcow2("counts", {"write", "write 0", "write 0 1 2", "read", "read 0", "read 0 1 2",
                          "write -P", "write -P 1", "write -b", "read -v"}),
      on_qcow2("letters", {"write -x 0 1", "write 0 1 -x", "read -Z 0 1", "read -a 0 1",
                           "read -z 0 1", "write -1 1", "write 0 -1", "write -- -1 1",
                           "write -- 0 1", "write 0 -P 5 512", "read -v 0 1"}),
      on_qcow2("conflicts", {"write -z -P 1 0 64k", "write -u 0 64k", "write -n 0 64k",
                             "write -b -z 0 64k", "write -f -b 0 64k", "write -f -c 0 64k",
                             "write -zr 0 4k", "write -zr x 1", "write -zrP 1 0 1"}),
      on_qcow2("patterns", {"write -P 256 0 64k", "write -P 0x1g 0 1", "write -P -1 0 1",
                            "write -P  0 1", "write -P 0x 0 1", "read -P x 0 1"}),
      on_qcow2("numbers", {"read x 1", "read 0 x", "write 0x10k 1", "write 1.5 1", "write 1e3 1",
                           "write 1kb 1", "write 9E 1", "write 8E 1", "write 1E1 1",
                           "write 99999999999999999999 1", "write '' 1", "write k 1",
                           "write 00x1 1", "write 1..5k 1", "write 0x 1"}),
      on_qcow2("good numbers",
               {"write 0x10 0x20", "write 1.5k 0.5k", "write 1B 1b", "write +5 +5", "write 010 010",
                "write .5k 1", "write 1. 1", "write 0.k 1", "write -q 0.001k 1", "write 1.00b 1"}),
      on_qcow2("beyond", {"write 4M 1", "write 5M 64k", "read 4M 1", "read 0 5M", "write 1e 1",
                          "write 4095k 2k", "read 1t 1"}),
      on_qcow2("too long", {"write 0 3G", "write -z 0 3G", "read 0 3G", "read 0 2147483137",
                            "read 0 2147483136", "write 0 2147483647", "write -n -z 0 3G"}),
      on_qcow2("state", {"read -b 0 1", "read -b 1 512", "read -br 0 512", "write -b 1 512"}),
  });
}

TEST(TransferScript, ZeroesAndCompresses) {
  expect_same({
      on_qcow2("zeroes", {"write -q 0 1M", "write -z 0 64k", "write -zu 64k 64k", "write -z 1 1",
                          "write -z 200k 100k", "map", "read -P 0 200k 100k", "write -zf 0 64k"}),
      on_qcow2("no fallback",
               {"write -zn 0 64k", "write -q 0 128k", "write -zn 1 1", "write -zn 0 4M",
                "write -zun 64k 64k", "write -zn 64k 100", "read -P 0 0 4M"}),
      on_qcow2("compressed",
               {"write -c 0 64k", "read -P 0xcd 0 64k", "write -c 0 64k", "write -c 64k 100k",
                "write -c 512 64k", "write -c 1 64k", "write -c 64k 1", "write -c 64k 128k",
                "write -c 64k 512", "write 0 1", "write -c 0 64k", "write -c 5M 64k", "map"}),
      on_raw("raw", {"write -zn 0 64k", "write -zn 1 1", "write -zun 0 4k", "write -c 0 64k",
                     "write -zu 0 64k"}),
  });
}

TEST(TransferScript, KnowsWhatOtherGeometriesAllow) {
  Script version2 =
      on_qcow2("version 2", {"write -zn 0 64k", "write -z 0 64k", "map", "write 0 64k",
                             "write -zn 0 64k", "write -z 0 64k", "read -P 0 0 64k", "info"});
  version2.setup = "$IMG create -q -f qcow2 -o compat=0.10 disk.qcow2 4M";
  Script subclusters = on_qcow2(
      "subclusters", {"info", "write -zn 0 64k", "write -q 0 1k", "write -zn 0 1k",
                      "write -zn 2k 2k", "write -z 1 1", "read -P 0 1 1", "read -P 0xcd 2 1000"});
  subclusters.setup = "$IMG create -q -f qcow2 -o extended_l2=on disk.qcow2 4M";
  Script small = on_qcow2("small clusters", {"info", "map", "write -zn 0 512", "write -zn 0 100",
                                             "write 100 100", "map"});
  small.setup = "$IMG create -q -f qcow2 -o cluster_size=512 disk.qcow2 1M";
  Script odd = on_qcow2("odd size", {"length", "map", "read 0 1501", "write 0 1536", "write 0 1537",
                                     "write -zn 0 1536", "write -zu 0 1536", "alloc 0"});
  odd.setup = "$IMG create -q -f qcow2 disk.qcow2 1500";
  expect_same({version2, subclusters, small, odd});
}

}  // namespace
}  // namespace varve::test
