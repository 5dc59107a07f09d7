// Command lines on qcow2 images made by QEMU, and on images the tool makes, which QEMU judges: the
// tool and QEMU 10's qemu-img give the same output, errors and exit codes.

#include "tool/side_by_side.h"

namespace varve::tool {
namespace {

// Images of every kind, and some that no program should open.
constexpr const char* kImages = R"sh(
img() { qemu-img create -q -f qcow2 "$@"; }
io() { qemu-io "$@" >/dev/null; }
poke() { printf "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none; }
img b.qcow2 3M
io -c 'write -P 1 0 256k' b.qcow2
qemu-img snapshot -c one b.qcow2
io -c 'write -P 2 64k 64k' -c 'write -P 9 1M 300k' b.qcow2
qemu-img snapshot -c two b.qcow2
io -c 'write -P 3 128k 64k' b.qcow2
img base.qcow2 3M
io -c 'write -P 1 0 1M' base.qcow2
img -b base.qcow2 -F qcow2 o.qcow2
io -c 'write -P 3 64k 128k' -c 'write -z 512k 128k' o.qcow2
mkdir sub
cp base.qcow2 sub/bb.q
img -b bb.q -F qcow2 sub/o.q
img -o compat=0.10 v2.qcow2 1M
io -c 'write -P 4 4k 8k' v2.qcow2
img -o data_file=d.raw,extended_l2=on,compression_type=zstd,lazy_refcounts=on df.qcow2 1M
io -c 'write 64k 64k' df.qcow2
img z.qcow2 4M
io -c 'write -z 0 1M' -c 'write -P 5 -c 1M 64k' -c 'write 2M 192k' -c 'write -z -u 3M 64k' z.qcow2
img -o extended_l2=on x.qcow2 2M
io -c 'write -P 6 6k 2k' -c 'write -P 7 100k 40k' x.qcow2
img -o cluster_size=512,refcount_bits=64 c5.qcow2 300k
io -c 'write -P 6 5k 20k' c5.qcow2
img -o preallocation=metadata p.qcow2 1M
img -o cluster_size=2M,compression_type=zstd cl.qcow2 9M
io -c 'write -P 6 1M 3M' -c 'write -c -P 8 6M 2M' cl.qcow2
for copy in corr dirty inc v4 cb l1; do cp b.qcow2 $copy.qcow2; done
head -c 60 b.qcow2 >short.qcow2
poke inc.qcow2 79 '\200'
cp inc.qcow2 named.qcow2
# Its own name for bit 0 becomes one for bit 7; bit 6 stays without a name.
names=$(grep -abo 'dirty bit' named.qcow2 | head -n 1 | cut -d: -f1)
poke named.qcow2 $((names - 1)) '\7'
poke named.qcow2 79 '\300'
poke corr.qcow2 79 '\2'
poke dirty.qcow2 79 '\1'
poke v4.qcow2 7 '\4'
poke cb.qcow2 23 '\36'
poke l1.qcow2 47 '\1'
cp --sparse=always o.qcow2 nb.qcow2
qemu-img rebase -u -b gone.qcow2 -F qcow2 nb.qcow2
img -b gone.qcow2 -F qcow2 -u nb1.qcow2 1M
cp b.qcow2 leak.qcow2
cp o.qcow2 cor.qcow2
truncate -s 1835008 leak.qcow2
# The refcount block is the third cluster: two clusters nobody refers to, one that is not counted.
poke leak.qcow2 $((131072 + 2 * 25 + 1)) '\1'
poke leak.qcow2 $((131072 + 2 * 26 + 1)) '\1'
poke cor.qcow2 $((131072 + 2 * 5 + 1)) '\0'
# Clusters counted more often than they are referred to, and one whose COPIED flag is missing.
cp base.qcow2 lost.qcow2
poke lost.qcow2 $((131072 + 2 * 6 + 1)) '\2'
poke lost.qcow2 $((131072 + 2 * 7 + 1)) '\3'
cp base.qcow2 flag.qcow2
poke flag.qcow2 $((262144 + 8 * 3)) '\0'
poke flag.qcow2 $((131072 + 2 * 9 + 1)) '\2'
cp cor.qcow2 cor2.qcow2
poke cor2.qcow2 $((262144 + 8 + 6)) '\2'
truncate -s 3M r.raw
head -c 300000 /dev/zero | tr '\0' r | dd of=r.raw bs=4k seek=20 conv=notrunc status=none
printf 'KDMV\1\0\0\0' >m.vmdk
img bm.qcow2 1M
qemu-img bitmap --add bm.qcow2 one
qemu-img bitmap --add -g 4k bm.qcow2 'two "q"'
qemu-img bitmap --disable bm.qcow2 one
cp bm.qcow2 bmi.qcow2
# The directory stands in the last cluster; the flags are bytes 12 to 15 of an entry.
poke bmi.qcow2 $(($(stat -c %s bm.qcow2) / 65536 * 65536 + 15)) '\1'
qemu-img convert -c -O qcow2 r.raw cz.qcow2
# The first compressed stream follows header, counts, L1 and L2.
poke cz.qcow2 327680 '\377\377\377\377\377\377\377\377'
truncate -s 1k m.vmdk
)sh";

class Qcow2SideBySide : public SideBySide {
 protected:
  void SetUp() override {
    SideBySide::SetUp();
    if (!IsSkipped()) {
      prepare(kImages);
    }
  }
};

TEST_F(Qcow2SideBySide, InfoSaysWhatQemuImgSays) {
  expect_same({
      "qemu-img info b.qcow2",
      "qemu-img info o.qcow2",
      "qemu-img info --output=json o.qcow2",
      "qemu-img info --output=json x.qcow2",
      "qemu-img info --backing-chain o.qcow2",
      "qemu-img info --backing-chain --output=json o.qcow2",
      "qemu-img info sub/o.q",
      "qemu-img info --output json sub/o.q",
      "qemu-img info -b sub/o.q",
      "qemu-img info v2.qcow2",
      "qemu-img info --output=json v2.qcow2",
      "qemu-img info df.qcow2",
      "qemu-img info --output=json df.qcow2",
      "rm d.raw; qemu-img info df.qcow2",
      "qemu-img info x.qcow2",
      "qemu-img info c5.qcow2",
      "qemu-img info cl.qcow2",
      "qemu-img info -f raw x.qcow2",
      "qemu-img info -f qcow2 r.raw",
      "qemu-img info nb.qcow2",
      "qemu-img info -b nb.qcow2",
      "qemu-img info dirty.qcow2",
      "qemu-img info --output=json dirty.qcow2",
      "qemu-img info corr.qcow2",
      "qemu-img info inc.qcow2",
      "qemu-img info named.qcow2",
      "qemu-img info v4.qcow2",
      "qemu-img info cb.qcow2",
      "qemu-img info short.qcow2",
      "qemu-img info l1.qcow2",
      "qemu-img info --image-opts driver=qcow2,file.filename=o.qcow2",
      "qemu-img info "
      "'json:{\"driver\":\"qcow2\",\"file\":{\"driver\":\"file\",\"filename\":\"x.qcow2\"}}'",
      "qemu-img info m.vmdk -f vmdkx",
      "qemu-img info --object secret,id=s,data=x b.qcow2",
      "qemu-img info --object '{\"qom-type\":\"secret\",\"id\":\"s\",\"data\":\"x\"}' b.qcow2",
      "qemu-img info --object secret,data=x b.qcow2",
      "qemu-img info --object secret,id=s b.qcow2",
      "qemu-img info --object secret,id=s,data=x,colour=red b.qcow2",
      "qemu-img info --object throttle-group,id=t b.qcow2",
      "qemu-img info --object bogus,id=s b.qcow2",
      "qemu-img info --object id=s,data=x b.qcow2",
  });
}

TEST_F(Qcow2SideBySide, InfoTellsOfBitmaps) {
  expect_same({
      "qemu-img info bm.qcow2",
      "qemu-img info --output=json bm.qcow2",
      "qemu-img info bmi.qcow2",
      "qemu-img info --output=json bmi.qcow2",
  });
  expect_output("qemu-img info bmi.qcow2 | grep -c in-use", "1\n");
  // The QEMU installed, whatever its version, prints them the same way.
  const std::string part = "info bm.qcow2 | sed -n '/bitmaps:/,/granularity: 4096/p'";
  const Outcome installed = run_ours("PATH=${PATH#*:}; qemu-img " + part);
  EXPECT_NE(installed.output, "");
  expect_output("qemu-img " + part, installed.output);
}

TEST_F(Qcow2SideBySide, SalvageTakesTheUnreadableForZeros) {
  expect_same({
      "qemu-img convert --salvage cz.qcow2 out; md5sum out",
      "qemu-img convert -q --salvage cz.qcow2 out; md5sum out",
      "qemu-img convert --salvage -O qcow2 cz.qcow2 out && $QEMU convert out raw; md5sum raw",
      "qemu-img convert --salvage r.raw cz.qcow2 out; md5sum out",
  });
  expect_output("qemu-img convert --salvage cz.qcow2 out 2>&1 | grep -c Input/output", "128\n");
}

TEST_F(Qcow2SideBySide, MapSaysWhatQemuImgSays) {
  expect_same({
      "qemu-img map o.qcow2",
      "qemu-img map --output=json o.qcow2",
      "qemu-img map sub/o.q",
      "qemu-img map --output=json sub/o.q",
      "qemu-img map z.qcow2",
      "qemu-img map --output=json z.qcow2",
      "qemu-img map v2.qcow2",
      "qemu-img map df.qcow2",
      "qemu-img map --output=json df.qcow2",
      "qemu-img map x.qcow2",
      "qemu-img map c5.qcow2",
      "qemu-img map --output=json c5.qcow2",
      "qemu-img map p.qcow2",
      "qemu-img map --output=json p.qcow2",
      "qemu-img map cl.qcow2",
      "qemu-img map --output=json cl.qcow2",
      "qemu-img map --output=json b.qcow2",
      "qemu-img map --output=json nb.qcow2",
      "qemu-img map nb1.qcow2",
      "qemu-img map --output=json -s 65537 -l 100 z.qcow2",
      "qemu-img map --output=json -s 1000000 -l 200000 z.qcow2",
      "rm d.raw; qemu-img map df.qcow2",
      "qemu-img map inc.qcow2",
  });
}

TEST_F(Qcow2SideBySide, CheckSaysWhatQemuImgSays) {
  expect_same({
      "qemu-img check inc.qcow2",
      "qemu-img check short.qcow2",
      "qemu-img check -r all r.raw",
      "qemu-img check -r all b.qcow2",
      "qemu-img check -r leaks lost.qcow2 && $QEMU check lost.qcow2",
      "qemu-img check -r all lost.qcow2 && $QEMU check lost.qcow2",
      "qemu-img check -q -r all lost.qcow2",
      "qemu-img check -r all --output=json lost.qcow2",
      "qemu-img check -r leaks flag.qcow2 && $QEMU check flag.qcow2",
      "qemu-img check -r all flag.qcow2 && $QEMU compare flag.qcow2 base.qcow2",
  });
}

TEST_F(Qcow2SideBySide, CreateSaysWhatQemuImgSays) {
  expect_same({
      "qemu-img create -f qcow2 a.qcow2 64M && qemu-img info a.qcow2 | grep -v -e 'disk "
      "size' -e 'file length' && $QEMU check a.qcow2",
      "qemu-img create -f qcow2 -o compat=0.10 a.qcow2 64M && $QEMU info a.qcow2 | grep -v "
      "-e 'disk size' -e 'file length'",
      "qemu-img create -f qcow2 -o "
      "lazy_refcounts=on,refcount_bits=8,extended_l2=on,compression_type=zstd,preallocation="
      "metadata "
      "a.qcow2 1M && $QEMU info a.qcow2 | grep -v -e 'disk size' -e 'file length' && $QEMU "
      "check a.qcow2",
      "qemu-img create -f qcow2 -b base.qcow2 -F qcow2 a.qcow2 && $QEMU compare a.qcow2 "
      "base.qcow2 && $QEMU info a.qcow2 | grep -v -e 'disk size' -e 'file length'",
      "qemu-img create -f qcow2 -b base.qcow2 -F raw a.qcow2",
      "qemu-img create -f qcow2 -b base.qcow2 a.qcow2",
      "qemu-img create -f qcow2 -u -b gone -F qcow2 a.qcow2 1M && $QEMU info a.qcow2 | "
      "grep -v -e 'disk size' -e 'file length'",
      "qemu-img create -f qcow2 -u -b gone -F nope a.qcow2 1M",
      "qemu-img create -f qcow2 -b nb.qcow2 -F qcow2 a.qcow2",
      "qemu-img create -f qcow2 -b bb.q -F qcow2 sub/n.q && $QEMU info -b sub/n.q | grep "
      "-v -e 'disk size' -e 'file length'",
      "qemu-img create -f qcow2 -b sub/bb.q -F qcow2 sub/n.q",
      "qemu-img create -f qcow2 -o data_file=dd.raw,data_file_raw=on a.qcow2 6M && $QEMU "
      "info a.qcow2 | grep -v -e 'disk size' -e 'file length'; stat -c %s dd.raw",
      "qemu-img create -f qcow2 -o cluster_size=512 a.q 1T",
      "qemu-img create -f qcow2 -o cluster_size=512 a.q 128P",
      "qemu-img create -f qcow2 a.q 1000 && $QEMU info a.q | grep virtual",
      "qemu-img create -f qcow2 a.q 0 && $QEMU info a.q | grep virtual",
      "qemu-img create -f qcow2 -u -b x,y -F qcow2 a.q 1M",
      "qemu-img create -f qcow2 -b o.qcow2 -o backing_file=c,backing_fmt=raw -F qcow2 a.q",
      "qemu-img create -f qcow2 -o cluster_size=64k -o lazy_refcounts=on -o cluster_size=4k a.q 1M",
      "qemu-img create -f qcow2 -o preallocation=falloc a.qcow2 1M && "
      "$QEMU check a.qcow2 | grep No",
      "qemu-img create -f qcow2 -o preallocation=full a.qcow2 1M && "
      "$QEMU check a.qcow2 | grep No",
      "qemu-img create -f qcow2 -o data_file=dd.raw a.qcow2 6M && "
      "$QEMU info a.qcow2 | grep data",
      "qemu-img create -f qcow2 'json:{}' 1M; ls json*",
      "qemu-img create -f qcow2 nbd2:a.qcow2 1M; ls nbd2*",
      "qemu-img create -f qcow2 file:a.qcow2 1M && qemu-img info a.qcow2 | grep virtual",
      "qemu-img create --object bogus,id=s -f qcow2 a.qcow2 1M; ls a.qcow2",
  });
}

TEST_F(Qcow2SideBySide, CompareSaysWhatQemuImgSays) {
  expect_same({
      "qemu-img compare o.qcow2 base.qcow2",
      "qemu-img compare o.qcow2 nb.qcow2",
      "qemu-img compare base.qcow2 sub/o.q",
      "qemu-img compare -s base.qcow2 sub/o.q",
      "qemu-img compare -s base.qcow2 base.qcow2",
      "qemu-img compare -s z.qcow2 z.qcow2",
      "qemu-img compare -s z.qcow2 r.raw",
      "qemu-img compare p.qcow2 v2.qcow2",
      "qemu-img compare -f qcow2 r.raw r.raw",
      "qemu-img compare -F qcow2 r.raw r.raw",
      "qemu-img compare x.qcow2 z.qcow2",
  });
}

TEST_F(Qcow2SideBySide, ResizeSaysWhatQemuImgSays) {
  expect_same({
      "qemu-img resize b.qcow2 +1M",
      "qemu-img resize o.qcow2 +1M && $QEMU check o.qcow2 && qemu-img map --output=json o.qcow2",
      "qemu-img resize x.qcow2 6M && qemu-img info x.qcow2 | grep virt",
      "qemu-img resize x.qcow2 6M && qemu-img resize x.qcow2 6M",
      "qemu-img resize v2.qcow2 6G && $QEMU check v2.qcow2",
      "qemu-img resize x.qcow2 1M",
      "qemu-img resize x.qcow2 -1M",
      "qemu-img resize x.qcow2 +1",
      "qemu-img resize -q x.qcow2 +1M",
      "qemu-img resize corr.qcow2 +1M",
      "qemu-img resize nb.qcow2 +1M",
      "qemu-img resize --preallocation=full o.qcow2 1M",
      "qemu-img resize --preallocation=falloc z.qcow2 +1M && $QEMU check z.qcow2 | grep No",
      "qemu-img resize --preallocation=metadata z.qcow2 +1M && $QEMU check z.qcow2 | grep No",
      "qemu-img resize z.qcow2 7E",
      "qemu-img resize dirty.qcow2 +1M; qemu-img info dirty.qcow2 | grep clean",
  });
}

TEST_F(Qcow2SideBySide, ConvertSaysWhatQemuImgSays) {
  expect_same({
      "qemu-img convert b.qcow2 out; md5sum out",
      "qemu-img convert o.qcow2 out; md5sum out",
      "qemu-img convert z.qcow2 out; md5sum out",
      "qemu-img convert v2.qcow2 out; md5sum out",
      "qemu-img convert x.qcow2 out; md5sum out",
      "qemu-img convert df.qcow2 out; md5sum out",
      "qemu-img convert c5.qcow2 out; md5sum out",
      "qemu-img convert cl.qcow2 out; md5sum out",
      "qemu-img convert dirty.qcow2 out; md5sum out",
      "qemu-img convert corr.qcow2 out; md5sum out",
      "qemu-img convert sub/o.q out; md5sum out",
      "qemu-img convert nb.qcow2 out",
      "qemu-img convert inc.qcow2 out",
      "qemu-img convert -l snapshot.colour=red b.qcow2 out",
      "qemu-img convert -l snapshot.id=1,colour=red b.qcow2 out",
      "qemu-img convert -l snapshot.id=7 b.qcow2 out",
  });
}

TEST_F(Qcow2SideBySide, ConvertMakesWhatQemuImgTakes) {
  expect_same({
      "qemu-img convert -O qcow2 r.raw out && "
      "$QEMU compare r.raw out && "
      "$QEMU check out | grep -v offset",
      "qemu-img convert -O qcow2 z.qcow2 out && "
      "$QEMU compare z.qcow2 out && "
      "$QEMU check out| grep -v offset",
      "qemu-img convert -O qcow2 -o cluster_size=512 z.qcow2 out && "
      "$QEMU compare z.qcow2 out && "
      "$QEMU check out | grep No",
      "qemu-img convert -O qcow2 -o extended_l2=on z.qcow2 out && "
      "$QEMU compare z.qcow2 out && "
      "$QEMU check out| grep No",
      "qemu-img convert -O qcow2 -o compat=0.10 z.qcow2 out && "
      "$QEMU compare z.qcow2 out && "
      "$QEMU check out| grep No",
      "qemu-img convert -O qcow2 -o data_file=ddd z.qcow2 out && "
      "$QEMU compare z.qcow2 out && "
      "$QEMU check out| grep No",
      "qemu-img convert -c -O qcow2 r.raw out && "
      "$QEMU compare r.raw out && "
      "$QEMU check out| grep No",
      "qemu-img convert -c -O qcow2 z.qcow2 out && "
      "$QEMU compare z.qcow2 out && "
      "$QEMU check out| grep No",
      "qemu-img convert -c -W -m 16 -O qcow2 -o compression_type=zstd b.qcow2 out && "
      "$QEMU compare b.qcow2 out && "
      "$QEMU check out| grep No",
      "qemu-img convert -c -O qcow2 -o cluster_size=2M b.qcow2 out && "
      "$QEMU compare b.qcow2 out && "
      "$QEMU check out| grep No",
      "qemu-img convert -c -O qcow2 -o cluster_size=4k c5.qcow2 out && "
      "$QEMU compare c5.qcow2 out && "
      "$QEMU check out| grep No",
      "qemu-img convert -O qcow2 -c -o data_file=x z.qcow2 out",
      "qemu-img convert -S 0 -O qcow2 z.qcow2 out && "
      "$QEMU compare z.qcow2 out && "
      "$QEMU map --output=json out | grep -c true",
      "qemu-img convert -O qcow2 -o preallocation=metadata z.qcow2 out && "
      "$QEMU compare z.qcow2 out && "
      "$QEMU check out| grep No",
      "qemu-img convert -O qcow2 -c -B base.qcow2 -F qcow2 o.qcow2 out && "
      "$QEMU compare o.qcow2 out",
      "qemu-img convert -O qcow2 -o backing_file=base.qcow2,backing_fmt=qcow2 o.qcow2 out && "
      "$QEMU compare o.qcow2 out",
      "qemu-img convert -O qcow2 -B nonex -F qcow2 o.qcow2 out",
      "qemu-img convert -n -O qcow2 r.raw b.qcow2 && "
      "$QEMU compare r.raw b.qcow2 && "
      "$QEMU check b.qcow2 | grep No",
      "qemu-img convert -n -O qcow2 r.raw o.qcow2 && "
      "$QEMU compare r.raw o.qcow2 && "
      "$QEMU check o.qcow2 | grep No",
      "qemu-img convert -n -O qcow2 z.qcow2 r.raw",
      "qemu-img convert -O qcow2 b.qcow2 z.qcow2 cat.q && $QEMU info cat.q | grep virt",
      "qemu-img convert b.qcow2 z.qcow2 cat && md5sum cat",
      "qemu-img convert z.qcow2 z.qcow2",
      "qemu-img convert -O qcow2 z.qcow2 z.qcow2",
      R"sh(qemu-img convert -p -O qcow2 b.qcow2 out | tr '\r' '\n' | tail -2)sh",
      "qemu-img convert -T none -t none -O qcow2 z.qcow2 out && $QEMU compare z.qcow2 out",
      "qemu-img convert -O qcow2 -B base.qcow2 -F qcow2 o.qcow2 out && "
      "$QEMU compare o.qcow2 out && "
      "$QEMU map out | wc -l",
  });
}

// They are not copied yet: nobody shall believe it.
TEST_F(Qcow2SideBySide, ConvertRefusesToCopyBitmapsByName) {
  const Outcome ours =
      run_ours("qemu-img convert --bitmaps -O qcow2 bm.qcow2 out; echo $?; ls out");
  EXPECT_EQ(ours.output, "1\n");
  EXPECT_NE(ours.errors.find("qemu-img: --bitmaps is not supported by this version\n"),
            std::string::npos)
      << ours.errors;
}

TEST_F(Qcow2SideBySide, BenchSaysWhatQemuImgSays) {
  expect_same({
      "qemu-img bench -c 100 z.qcow2 | sed 's/[0-9.]* seconds/X/'",
      "qemu-img bench -c 100 -w --pattern 7 -s 8k -S 64k z.qcow2 | sed 's/[0-9.]* seconds/X/'; "
      "qemu-img convert z.qcow2 out; md5sum out; $QEMU check z.qcow2 | grep No",
      "qemu-img bench -c 64 -w -d 8 --flush-interval 16 z.qcow2 | sed 's/[0-9.]* seconds/X/'",
      "qemu-img bench -o 4095k -c 10 z.qcow2",
  });
}

TEST_F(Qcow2SideBySide, SnapshotSaysWhatQemuImgSays) {
  expect_same({
      "qemu-img snapshot -c a df.qcow2",
  });
}

TEST_F(Qcow2SideBySide, SnapshotsAreWhatQemuImgMakes) {
  expect_same({
      "qemu-img snapshot -l b.qcow2",
      "qemu-img snapshot b.qcow2",
      "qemu-img snapshot -l -U b.qcow2",
      "qemu-img snapshot -l v2.qcow2",
      "qemu-img snapshot -l corr.qcow2",
      "qemu-img snapshot -c aa v2.qcow2 && "
      "qemu-img snapshot -c aa v2.qcow2 && "
      "$QEMU snapshot -l v2.qcow2 | cut -c -30 && "
      "$QEMU check v2.qcow2 | grep No",
      "qemu-img snapshot -c aa b.qcow2 && "
      "$QEMU snapshot -l b.qcow2 | cut -c -30 && "
      "$QEMU check b.qcow2 | grep No",
      "qemu-img snapshot -a nope b.qcow2",
      "qemu-img snapshot -d nope b.qcow2",
      "qemu-img snapshot -a one b.qcow2 && "
      "$QEMU check b.qcow2 | grep No && "
      "$QEMU convert b.qcow2 x && "
      "md5sum x",
      "qemu-img snapshot -a 2 b.qcow2 && "
      "$QEMU check b.qcow2 | grep No && "
      "$QEMU convert b.qcow2 x && "
      "md5sum x",
      "qemu-img snapshot -d one b.qcow2 && "
      "$QEMU check b.qcow2 | grep No && "
      "$QEMU convert b.qcow2 x && "
      "md5sum x && "
      "$QEMU snapshot -l b.qcow2",
      "qemu-img snapshot -d 2 b.qcow2 && "
      "qemu-img snapshot -d 1 b.qcow2 && "
      "$QEMU check b.qcow2 | grep No && "
      "$QEMU convert b.qcow2 x && "
      "md5sum x && "
      "$QEMU snapshot -l b.qcow2",
      "qemu-img snapshot -c a df.qcow2",
      "qemu-img snapshot -a a df.qcow2",
      "qemu-img snapshot -d a df.qcow2",
      "qemu-img snapshot -c $(printf 'x%.0s' $(seq 300)) o.qcow2 && "
      "$QEMU snapshot -l o.qcow2 | cut -c -30",
      "qemu-img snapshot -q -c x x.qcow2 && "
      "$QEMU check x.qcow2 | grep No && "
      "$QEMU snapshot -l x.qcow2 | cut -c -30",
      "qemu-img snapshot -c x corr.qcow2",
      "qemu-img snapshot -c x nb.qcow2",
      "qemu-img snapshot -c x inc.qcow2",
      "qemu-img snapshot -U -c x b.qcow2",
      "qemu-img snapshot -c x c5.qcow2 && $QEMU check c5.qcow2 | grep No",
      "qemu-img convert -l one b.qcow2 out && md5sum out",
      "qemu-img convert -l 2 b.qcow2 out && md5sum out",
      "qemu-img convert -l snapshot.name=one b.qcow2 out && md5sum out",
      "qemu-img convert -l snapshot.id=2 b.qcow2 out && md5sum out",
      "qemu-img convert -l snapshot.id=2,snapshot.name=one b.qcow2 out",
      "qemu-img convert -l nope b.qcow2 out",
      "qemu-img convert -l snapshot.id=nope b.qcow2 out",
      "qemu-img convert -l foo=bar b.qcow2 out",
      "qemu-img convert -l one r.raw out",
      "qemu-img convert -l one -O qcow2 b.qcow2 out && "
      "md5sum < /dev/null && "
      "$QEMU check out | grep No",
  });
}

TEST_F(Qcow2SideBySide, SnapshotsAreListedWithTheirInstructionCount) {
  expect_same({
      // One of QEMU's that counted 1234 instructions.
      "table=$(od -An -t u8 --endian=big -j 64 -N 8 b.qcow2); printf '\\0\\0\\0\\0\\0\\0\\4\\322' "
      "| dd "
      "of=b.qcow2 bs=1 seek=$((table + 56)) conv=notrunc status=none; qemu-img snapshot -l "
      "b.qcow2; "
      "qemu-img info --output=json b.qcow2 | grep icount",
  });
  // Nobody counts while an image lies still: ours says so, as a running QEMU's does; qemu-img's
  // claims to have counted 0.
  const char* const count_of_own = "snapshot -l b.qcow2 | awk '$2 == \"own\" { print $NF }'; ";
  std::string commands = "qemu-img snapshot -c own b.qcow2; qemu-img ";
  commands.append(count_of_own).append("$QEMU ").append(count_of_own);
  commands.append("qemu-img info --output=json b.qcow2 | grep -c icount");
  expect_output(commands, "--\n--\n2\n");
}

TEST_F(Qcow2SideBySide, CheckFindsWhatQemuImgFinds) {
  expect_same({
      "qemu-img check b.qcow2",
      "qemu-img check --output=json b.qcow2",
      "qemu-img check o.qcow2",
      "qemu-img check --output=json o.qcow2",
      "qemu-img check z.qcow2",
      "qemu-img check --output=json z.qcow2",
      "qemu-img check v2.qcow2",
      "qemu-img check x.qcow2",
      "qemu-img check c5.qcow2",
      "qemu-img check cl.qcow2",
      "qemu-img check p.qcow2",
      "qemu-img check df.qcow2",
      "qemu-img check --output=json x.qcow2",
      "qemu-img check leak.qcow2",
      "qemu-img check --output=json leak.qcow2",
      "qemu-img check -q leak.qcow2",
      "qemu-img check cor.qcow2",
      "qemu-img check --output=json cor.qcow2",
      "qemu-img check cor2.qcow2",
      "qemu-img check --output=json cor2.qcow2",
      "qemu-img check -q cor.qcow2",
      "qemu-img check dirty.qcow2",
      "qemu-img check corr.qcow2",
      "qemu-img check -f qcow2 -U b.qcow2",
      "qemu-img check -r foo leak.qcow2",
      "qemu-img create -q -f qcow2 n.qcow2 10M && qemu-img check n.qcow2",
      "qemu-img create -q -f qcow2 -o preallocation=metadata n.qcow2 10M && "
      "$QEMU check n.qcow2 >/dev/null && "
      "qemu-img convert -O qcow2 n.qcow2 m.qcow2 && "
      "qemu-img compare n.qcow2 m.qcow2",
  });
}

}  // namespace
}  // namespace varve::tool
