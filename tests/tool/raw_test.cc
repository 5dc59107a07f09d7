// Command lines on raw images, and command lines that are wrong: the tool and QEMU 10's qemu-img
// give the same output, errors and exit codes.

#include "tool/side_by_side.h"

namespace varve::tool {
namespace {

class RawSideBySide : public SideBySide {
 protected:
  void SetUp() override {
    SideBySide::SetUp();
    if (IsSkipped()) {
      return;
    }
    prepare(R"sh(
      truncate -s 3M r.raw; truncate -s 3M z.raw; truncate -s 100001 odd.raw
      truncate -s 0 empty.raw
      truncate -s 1M small.raw; truncate -s 4M big.raw; truncate -s 4M r3.raw; mkdir folder
      put() { head -c "$3" /dev/zero | tr '\0' "$4" |
        dd of="$1" bs=512 seek="$2" conv=notrunc status=none; }
      put r.raw 0 4096 a; put r.raw 2048 300000 b; put r.raw 4882 512 q; put odd.raw 195 161 x
      put big.raw 0 4096 a; put r3.raw 0 4096 a; put r3.raw 6144 1 z
      cp --sparse=always r.raw r2.raw
    )sh");
  }
};

TEST_F(RawSideBySide, ToolSaysWhatQemuImgSays) {
  expect_same({
      "qemu-img",
      "qemu-img foo",
      "qemu-img --foo",
      "qemu-img -x",
  });
}

TEST_F(RawSideBySide, CreateSaysWhatQemuImgSays) {
  expect_same({
      "qemu-img create",
      "qemu-img create a",
      "qemu-img create a 1Mb",
      "qemu-img create a -5",
      "qemu-img create a 1M 2M",
      "qemu-img create -f nope a 1M",
      "qemu-img create a.raw 64M",
      "qemu-img create -q a.raw 64M",
      "qemu-img create a.raw 1001; stat -c %s a.raw",
      "qemu-img create -o help",
      "qemu-img create -f qcow2 -o help",
      "qemu-img create -f qcow2 -o help x",
      "qemu-img create -f raw -o help x 1M",
      "qemu-img create -o ,, a 1M",
      "qemu-img create -o cluster_size=5 a 1M",
      "qemu-img create -o size=1Q a",
      "qemu-img create -o size=1M a 1M",
      "qemu-img create -o nocow=maybe a 1M",
      "qemu-img create -o preallocation=metadata a 1M",
      "qemu-img create -o preallocation=foo a 1M",
      "qemu-img create -o preallocation=falloc a 1M",
      "qemu-img create -o nocow=on,extent_size_hint=1M,preallocation=full a.raw 1k",
      "qemu-img create -b r.raw a 1M",
      "qemu-img create -b r.raw -F raw a",
      "qemu-img create -F raw a 1M",
      "qemu-img create /nonex/a 1M",
      "qemu-img create a 9E",
      "qemu-img create -f",
      "qemu-img create --zork",
      "qemu-img create --form raw a 1M",
      "qemu-img create --b r.raw a 1M",
      "qemu-img create -f qcow2 -o cluster_size=1 a.qcow2 1M",
      "qemu-img create -f qcow2 -o compat=2 a.qcow2 1M",
      "qemu-img create -f qcow2 -o compat=0.10,lazy_refcounts=on a.qcow2 1M",
      "qemu-img create -f qcow2 -o compat=0.10,refcount_bits=8 a.qcow2 1M",
      "qemu-img create -f qcow2 -o compat=0.10,extended_l2=on a.qcow2 1M",
      "qemu-img create -f qcow2 -o compat=0.10,compression_type=zstd a.q 1M",
      "qemu-img create -f qcow2 -o compat=0.10,data_file=d.raw a.q 1M",
      "qemu-img create -f qcow2 -o refcount_bits=7 a.qcow2 1M",
      "qemu-img create -f qcow2 -o refcount_bits=foo a.qcow2 1M",
      "qemu-img create -f qcow2 -o refcount_bits= a.qcow2 1M",
      "qemu-img create -f qcow2 -o lazy_refcounts=perhaps a.qcow2 1M",
      "qemu-img create -f qcow2 -o compression_type=lz4 a.qcow2 1M",
      "qemu-img create -f qcow2 -o preallocation=foo a.qcow2 1M",
      "qemu-img create -f qcow2 -o extended_l2=on,cluster_size=4k a.qcow2 1M",
      "qemu-img create -f qcow2 -b nonex.qcow2 a.qcow2 1M",
      "qemu-img create -f qcow2 -b nonex.qcow2 -F qcow2 a.qcow2 1M",
      "qemu-img create -f qcow2 -u -b nonex.qcow2 -F qcow2 a.qcow2",
      "qemu-img create -f qcow2 -u -b x a.qcow2 1M",
      "qemu-img create -f qcow2 -b r.raw a.qcow2",
      "qemu-img create -f qcow2 -b '' a.qcow2 1M",
      "qemu-img create -f qcow2 -b a.q a.q 1M",
      "qemu-img create -f qcow2 -F foo -b r.raw a.qcow2",
      "qemu-img create -f qcow2 -F qcow2 a.qcow2 1M",
      "qemu-img create -f qcow2 -o data_file_raw=on a.qcow2 1M",
      "qemu-img create -f qcow2 -o data_file=d,data_file_raw=on -F raw -b r.raw a.qcow2 1M",
      "qemu-img create -f qcow2 -o preallocation=falloc -b r.raw -F raw a.qcow2",
      "qemu-img create -f qcow2 -o size=3M a.qcow2 5M",
  });
}

TEST_F(RawSideBySide, InfoSaysWhatQemuImgSays) {
  expect_same({
      "qemu-img info",
      "qemu-img info a b",
      "qemu-img info nonex",
      "qemu-img info r.raw",
      "qemu-img info --output=json r.raw",
      "qemu-img info --output json --backing-chain r.raw",
      "qemu-img info -b r.raw",
      "qemu-img info --output=foo r.raw",
      "qemu-img info odd.raw",
      "qemu-img info --output=json odd.raw",
      "qemu-img info empty.raw",
      "qemu-img info -f file r.raw",
      "qemu-img info -f file --output=json r.raw",
      "qemu-img info -f vmdkx r.raw",
      "qemu-img info -x r.raw",
      "qemu-img info -f raw --image-opts driver=raw",
      "qemu-img info --image-opts foo=bar",
      "qemu-img info --image-opts driver=raw,file.filename=r.raw",
      "qemu-img info --image-opts driver=raw,file.driver=file,file.filename=r.raw",
      "qemu-img info --image-opts driver=raw",
      "qemu-img info 'json:{}'",
      R"sh(qemu-img info 'json:{"driver":"raw"}')sh",
      R"sh(qemu-img info 'json:{"driver":"raw","file.filename":"r.raw","foo":1}')sh",
      R"sh(qemu-img info 'json:{"driver":"raw","file":{"driver":"file","filename":"r.raw"}}')sh",
      "qemu-img info foo:bar",
      "qemu-img info file:r.raw",
      "qemu-img info ''",
      "qemu-img info --back r.raw",
      "qemu-img info --out json -U r.raw",
  });
}

TEST_F(RawSideBySide, CheckSaysWhatQemuImgSays) {
  expect_same({
      "qemu-img check",
      "qemu-img check r.raw",
      "qemu-img check --output=json r.raw",
      "qemu-img check -r foo r.raw",
      "qemu-img check -T foo r.raw",
      "qemu-img check nonex",
      "qemu-img check -q nonex",
      "qemu-img check --output=x r.raw",
      "qemu-img check -f foo r.raw",
      "qemu-img check -p r.raw",
  });
}

TEST_F(RawSideBySide, MapSaysWhatQemuImgSays) {
  expect_same({
      "qemu-img map",
      "qemu-img map r.raw",
      "qemu-img map --output=json r.raw",
      "qemu-img map nonex",
      "qemu-img map empty.raw",
      "qemu-img map --output=json empty.raw",
      "qemu-img map odd.raw",
      "qemu-img map --output=json odd.raw",
      "qemu-img map --start-offset=1M r.raw",
      "qemu-img map --start-offset 1M --max-length 64k --output json r.raw",
      "qemu-img map --start-offset foo r.raw",
      "qemu-img map --max-length foo r.raw",
      "qemu-img map --start-offset 100M r.raw",
      "qemu-img map --start-offset 100M --output json r.raw",
      "qemu-img map --start-offset -5 r.raw",
      "qemu-img map --image-opts -f raw x",
  });
}

TEST_F(RawSideBySide, CompareSaysWhatQemuImgSays) {
  expect_same({
      "qemu-img compare",
      "qemu-img compare a",
      "qemu-img compare r.raw r.raw",
      "qemu-img compare r.raw r2.raw",
      "qemu-img compare r.raw z.raw",
      "qemu-img compare z.raw r.raw",
      "qemu-img compare r.raw big.raw",
      "qemu-img compare big.raw r3.raw",
      "qemu-img compare r3.raw big.raw",
      "qemu-img compare z.raw small.raw",
      "qemu-img compare small.raw z.raw",
      "qemu-img compare -s z.raw small.raw",
      "qemu-img compare -s r.raw r.raw",
      "qemu-img compare -s r.raw r2.raw",
      "qemu-img compare -s r.raw z.raw",
      "qemu-img compare -q r.raw z.raw",
      "qemu-img compare odd.raw odd.raw",
      "qemu-img compare empty.raw empty.raw",
      "qemu-img compare nonex r.raw",
      "qemu-img compare r.raw nonex",
      "qemu-img compare -F foo r.raw r.raw",
      "qemu-img compare a b c",
      "qemu-img compare -T foo r.raw r.raw",
      "qemu-img compare -p z.raw z.raw",
      "qemu-img compare -p z.raw r.raw",
      "qemu-img compare -x",
      "qemu-img compare --image-opts -f raw a b",
      "qemu-img compare --stri small.raw z.raw",
  });
}

TEST_F(RawSideBySide, ResizeSaysWhatQemuImgSays) {
  expect_same({
      "qemu-img resize",
      "qemu-img resize r.raw",
      "qemu-img resize r.raw foo",
      "qemu-img resize -f raw r.raw +1M; stat -c %s r.raw",
      "qemu-img resize -f raw r.raw 6M; stat -c %s r.raw",
      "qemu-img resize r.raw 6M; stat -c %s r.raw",
      "qemu-img resize -q -f raw r.raw 6M",
      "qemu-img resize -f raw r.raw 1M",
      "qemu-img resize -f raw r.raw -1M",
      "qemu-img resize r.raw -1M",
      "qemu-img resize -f raw r.raw -- -1M",
      "qemu-img resize nonex 7M",
      "qemu-img resize --preallocation=foo r.raw +1M",
      "qemu-img resize --preallocation=full -f raw r.raw 1M",
      "qemu-img resize --preallocation=metadata -f raw r.raw +1M",
      "qemu-img resize -f raw r.raw -100M",
      "qemu-img resize -f raw r.raw 0",
      "qemu-img resize -f raw r.raw 8E",
      "qemu-img resize -f raw r.raw +-1M",
      "qemu-img resize a b c",
      "qemu-img resize +1M r.raw",
      "qemu-img resize -x r.raw 5M",
      "qemu-img resize 5M",
      "qemu-img resize -f raw r.raw 16E",
      "qemu-img resize -f raw r.raw +16E",
      "qemu-img resize -f raw r.raw +1; stat -c %s r.raw",
      "qemu-img resize -f raw r.raw 6M -q; stat -c %s r.raw",
      "qemu-img resize r.raw +1M --format raw; stat -c %s r.raw",
      "qemu-img resize r.raw 6M -q +1M",
      "qemu-img resize --object secret,id=s,data=x -f raw r.raw -1M",
  });
}

TEST_F(RawSideBySide, SnapshotSaysWhatQemuImgSays) {
  expect_same({
      "qemu-img snapshot",
      "qemu-img snapshot -l r.raw",
      "qemu-img snapshot -c a r.raw",
      "qemu-img snapshot -f raw -c a r.raw",
      "qemu-img snapshot -f raw -a a r.raw",
      "qemu-img snapshot -f raw -d a r.raw",
      "qemu-img snapshot -l -c a r.raw",
      "qemu-img snapshot -l r.raw x",
      "qemu-img snapshot -c a nonex",
      "qemu-img snapshot -U -c x r.raw",
      "qemu-img snapshot -d one r.raw --object",
  });
}

TEST_F(RawSideBySide, ConvertSaysWhatQemuImgSays) {
  expect_same({
      "qemu-img convert",
      "qemu-img convert a",
      "qemu-img convert nonex out",
      "qemu-img convert r.raw out; cmp r.raw out; stat -c %s out",
      "qemu-img convert -O foo r.raw out",
      "qemu-img convert -f foo r.raw out",
      "qemu-img convert -n r.raw nonexout",
      "qemu-img convert -n r.raw small.raw",
      "qemu-img convert -n r.raw big.raw; cmp -n 3145728 r.raw big.raw",
      "qemu-img convert -c r.raw out",
      "qemu-img convert -O raw -c r.raw out",
      "qemu-img convert -O qcow2 -o preallocation=full -c r.raw out",
      "qemu-img convert -O qcow2 -o foo=bar r.raw out",
      "qemu-img convert -O qcow2 -B r.raw r.raw out",
      "qemu-img convert -m 0 r.raw out",
      "qemu-img convert -m 17 r.raw out",
      "qemu-img convert -m foo r.raw out",
      "qemu-img convert -S 1 r.raw out",
      "qemu-img convert -S foo r.raw out",
      "qemu-img convert -S 32M r.raw out",
      R"sh(qemu-img convert -S 0 r.raw out; cmp r.raw out; stat -c "%b" out)sh",
      "qemu-img convert -S 64k r.raw out; cmp r.raw out",
      "qemu-img convert -W -m 4 r.raw out; cmp r.raw out",
      "qemu-img convert -r 10M r.raw out; cmp r.raw out",
      "qemu-img convert -r foo r.raw out",
      "qemu-img convert -t foo r.raw out",
      "qemu-img convert -T foo r.raw out",
      "qemu-img convert -T none -t none r.raw out; cmp r.raw out",
      "qemu-img convert -t writethrough r.raw out; cmp r.raw out",
      "qemu-img convert -C -S 4k r.raw out",
      "qemu-img convert -C r.raw out; cmp r.raw out",
      "qemu-img convert -C --salvage r.raw out",
      "qemu-img convert -C -c -O qcow2 r.raw out",
      "qemu-img convert --target-is-zero r.raw out",
      "qemu-img convert --target-is-zero -n r.raw z.raw; cmp r.raw z.raw",
      "qemu-img convert -n -O raw r.raw r2.raw; cmp r.raw r2.raw",
      "qemu-img convert -n -o foo=bar r.raw z.raw",
      "qemu-img convert r.raw r.raw",
      "qemu-img convert -B r.raw r.raw out",
      "qemu-img convert -F raw r.raw out",
      "qemu-img convert -l x r.raw r2.raw out",
      "qemu-img convert r.raw r2.raw z.raw out; cat r.raw r2.raw z.raw | cmp - out",
      "qemu-img convert odd.raw out; stat -c %s out; cmp -n 100001 odd.raw out",
      "qemu-img convert empty.raw out; stat -c %s out",
      "qemu-img convert --skip-broken-bitmaps r.raw out",
      "qemu-img convert --bitmaps r.raw out",
      "qemu-img convert -O raw r.raw /nonex/x",
      "qemu-img convert -O qcow2 r.raw /nonex/x",
      "qemu-img convert --target-image-opts r.raw out",
      "qemu-img convert -n --target-image-opts r.raw driver=raw,file.filename=small.raw",
      "qemu-img convert -n --target-image-opts r.raw driver=raw,file.filename=z.raw; cmp r.raw "
      "z.raw",
      "qemu-img convert -x",
      "qemu-img convert -O qcow2 -o backing_file=r.raw r.raw out",
      "qemu-img convert -O qcow2 -B r.raw -F raw r.raw r2.raw out",
      "qemu-img convert -O qcow2 -o help r.raw t",
      "qemu-img convert -q -p r.raw out",
      "qemu-img convert -o preallocation=full r.raw out; cmp r.raw out; stat -c %b out",
      "qemu-img convert -o preallocation=foo r.raw out",
      "qemu-img convert -o size=8M r.raw out; stat -c %s out",
      "qemu-img convert -o size=1M r.raw out; stat -c %s out",
  });
}

TEST_F(RawSideBySide, BenchSaysWhatQemuImgSays) {
  expect_same({
      "qemu-img bench",
      "qemu-img bench -c foo r.raw",
      "qemu-img bench -c 0 r.raw",
      "qemu-img bench -d foo r.raw",
      "qemu-img bench -d 0 r.raw",
      "qemu-img bench -s foo r.raw",
      "qemu-img bench -s 0 r.raw",
      "qemu-img bench -S foo r.raw",
      "qemu-img bench -o foo r.raw",
      "qemu-img bench -o 5M -c 10 r.raw",
      "qemu-img bench --flush-interval 5 r.raw",
      "qemu-img bench -w --flush-interval foo r.raw",
      "qemu-img bench -w -d 10 --flush-interval 5 r.raw",
      "qemu-img bench -w --pattern 300 r.raw",
      "qemu-img bench -i foo r.raw",
      "qemu-img bench -i native -c 10 r.raw",
      "qemu-img bench -n -c 10 r.raw",
      "qemu-img bench -n -t none -c 10 -f raw r.raw | sed 's/[0-9.]* seconds/X/'",
      "qemu-img bench -t foo r.raw",
      "qemu-img bench nonex",
      "qemu-img bench -c 100 r.raw | sed 's/[0-9.]* seconds/X/'",
      "qemu-img bench -c 100 -f raw -w --flush-interval 20 -d 10 --pattern 65 r.raw | sed "
      "'s/[0-9.]* seconds/X/'; md5sum r.raw",
      "qemu-img bench -c 100 -f raw -w --flush-interval 20 --no-drain -d 64 r.raw | sed 's/[0-9.]* "
      "seconds/X/'",
  });
}

}  // namespace
}  // namespace varve::tool
