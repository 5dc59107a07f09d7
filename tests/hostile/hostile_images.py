"""Images made to be expensive: a few real bytes in sparse files that claim as much as they can."""

import array
import os
import struct
import sys
import zlib

COPIED = 1 << 63
KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40


class Maker:
    """One image under construction; offsets are the caller's choice."""

    def __init__(self, path, cluster_bits=16, size=GIB, file_bytes=MIB, refcount_order=4):
        self.path, self.bits, self.size = path, cluster_bits, size
        self.file_bytes, self.order = file_bytes, refcount_order
        self.l1_offset, self.l1_entries = 3 << cluster_bits, None
        self.refcount_table, self.refcount_clusters = 1 << cluster_bits, 1
        self.snapshots, self.snapshot_offset = 0, 0
        self.backing, self.extensions, self.features = b"", [], [0, 0, 0]
        self.backing_size = None
        self.file = open(path, "wb")
        self.put(self.refcount_table, struct.pack(">Q", 2 << cluster_bits))

    def put(self, offset, data):
        self.file.seek(offset)
        self.file.write(data)

    def entries(self, offset, values):
        data = array.array("Q", values)
        if sys.byteorder == "little":
            data.byteswap()
        self.put(offset, data.tobytes())

    def finish(self):
        needed = -(-self.size // ((1 << self.bits) * (1 << self.bits) // 8))
        entries = needed if self.l1_entries is None else self.l1_entries
        extensions = b"".join(
            struct.pack(">II", kind, len(data)) + data + bytes(-len(data) % 8)
            for kind, data in self.extensions) + bytes(8)
        backing_offset = 112 + len(extensions) if self.backing else 0
        backing_size = len(self.backing) if self.backing_size is None else self.backing_size
        header = struct.pack(
            ">4sIQIIQIIQQIIQQQQIIB7x", b"QFI\xfb", 3, backing_offset, backing_size,
            self.bits, self.size, 0, entries, self.l1_offset, self.refcount_table,
            self.refcount_clusters, self.snapshots, self.snapshot_offset, *self.features,
            self.order, 112, 1 if self.features[0] & 8 else 0)
        self.put(0, header + extensions + self.backing)
        self.file.truncate(max(self.file_bytes, self.file.seek(0, os.SEEK_END)))
        self.file.close()


def snapshot_entry(number, l1_offset, l1_entries, size, name=b"", extra=b""):
    name = name or b"s%d" % number
    ident = b"%d" % number
    extra = struct.pack(">QQ", 0, size) + extra
    head = struct.pack(">QIHHIIQII", l1_offset, l1_entries, len(ident), len(name), 0, 0, 0, 0,
                       len(extra))
    body = head + extra + ident + name
    return body + bytes(-len(body) % 8)


def with_snapshots(path, count, name_bytes=8, extra=b"", l1_entries=1, apart=False):
    image = Maker(path, size=512 * MIB)
    image.snapshots, image.snapshot_offset = count, 16 * MIB
    at, entries = 256 * MIB, []
    for i in range(count):
        entries.append(snapshot_entry(i + 1, at, l1_entries, image.size, b"n" * name_bytes, extra))
        at += (1 << 16) if apart else 0
    image.put(image.snapshot_offset, b"".join(entries))
    image.file_bytes = at + MIB
    image.finish()


def deflate_bomb(path):
    """Every cluster of the disk is one run of compressed zeros."""
    image = Maker(path, cluster_bits=21, size=512 * GIB)
    packer = zlib.compressobj(9, zlib.DEFLATED, -12)
    bomb = packer.compress(bytes(1 << 21)) + packer.flush()
    data, table = 8 << 21, 5 << 21
    image.put(data, bomb)
    sectors = (data % 512 + len(bomb) + 511) // 512
    # The width of the sector count grows with the cluster.
    shift = 62 - (21 - 8)
    entry = 1 << 62 | (sectors - 1) << shift | data
    image.entries(table, [entry] * (1 << 18))
    image.entries(image.l1_offset, [table | COPIED])
    image.finish()


def zstd_window(path):
    """A frame whose window is 2^41 bytes."""
    image = Maker(path)
    image.features[0] = 8
    frame = struct.pack("<I", 0xfd2fb528) + bytes([0x00, (31 << 3)]) + bytes(1000)
    data, table = 8 << 16, 5 << 16
    image.put(data, frame)
    image.entries(table, [1 << 62 | 1 << 54 | data] * 8192)
    image.entries(image.l1_offset, [table | COPIED])
    image.finish()


def size_2_62(path):
    image = Maker(path, cluster_bits=21, size=1 << 62, file_bytes=TIB)
    image.l1_entries = 4 * MIB
    image.finish()


def maximal_l1(path, bits=9):
    """32 MiB of L1 that all lead to different places of a sparse file."""
    image = Maker(path, cluster_bits=bits, size=(4 * MIB) << (2 * bits - 3), file_bytes=8 * GIB)
    image.l1_offset = 64 * MIB
    step = 1 << bits
    image.entries(image.l1_offset, range(128 * MIB, 128 * MIB + 4 * MIB * step, step))
    image.finish()


def maximal_refcounts(path):
    image = Maker(path, file_bytes=8 * GIB)
    image.refcount_table, image.refcount_clusters = 64 * MIB, 128
    image.entries(image.refcount_table, range(128 * MIB, 128 * MIB + (MIB << 16), 1 << 16))
    image.finish()


def maximal_everything(path):
    """Every table as large as the format lets it be."""
    image = Maker(path, size=(4 * MIB) << 29, file_bytes=8 * GIB)
    image.l1_offset, image.refcount_table = 128 * MIB, 64 * MIB
    image.refcount_clusters = 128
    image.snapshots, image.snapshot_offset = 65536, 256 * MIB
    image.put(image.snapshot_offset, b"".join(
        snapshot_entry(i, 512 * MIB, 1, image.size, b"n" * 200, bytes(700)) for i in range(65536)))
    image.finish()


def one_l2(path):
    """Every slot of a maximal L1 leads to the same table, every entry of it to one cluster."""
    image = Maker(path, cluster_bits=16, size=(4 * MIB) << 29, file_bytes=GIB)
    image.l1_offset = 64 * MIB
    table = 128 * MIB
    image.entries(image.l1_offset, [table] * (4 * MIB))
    image.entries(table, [192 * MIB] * 8192)
    image.finish()


def one_l2_small(path):
    image = Maker(path, cluster_bits=16, size=MIB << 29, file_bytes=GIB)
    image.l1_offset = 64 * MIB
    table = 128 * MIB
    image.entries(image.l1_offset, [table] * MIB)
    image.entries(table, [192 * MIB] * 8192)
    image.finish()


def far_beyond_end(path):
    image = Maker(path, size=16 * GIB)
    tables = [(5 + i) << 16 for i in range(32)]
    image.entries(image.l1_offset, [t | COPIED for t in tables])
    for t in tables:
        image.entries(t, [(1 << 55) + (i << 16) | COPIED for i in range(8192)])
    image.finish()


def sparse_64_gib(path):
    Maker(path, cluster_bits=9, size=GIB, file_bytes=64 * GIB).finish()


def sparse_64_gib_counted(path):
    """And every part of it has the same refcount block of 64-bit counts."""
    image = Maker(path, cluster_bits=9, size=GIB, file_bytes=64 * GIB, refcount_order=6)
    image.refcount_table, image.refcount_clusters = 64 * MIB, 16384
    image.entries(image.refcount_table, [128 * MIB] * MIB)
    image.put(128 * MIB, struct.pack(">64Q", *[1] * 64))
    image.finish()


def many_extensions(path):
    """A first cluster full of empty extensions nobody knows, and bits named by a large table."""
    image = Maker(path, cluster_bits=21, file_bytes=16 * MIB)
    image.features = [0, (1 << 64) - 2, (1 << 64) - 4]
    names = b"".join(bytes([1, i % 64]) + b"n" * 46 for i in range(20000))
    image.extensions = [(0x6803f857, names)] + [(0x41414141, b"")] * 130000
    image.finish()


def scattered_data(path):
    """Islands of data in free clusters, as many as a few megabytes make."""
    image = Maker(path, cluster_bits=9, size=GIB, file_bytes=8 * GIB)
    for i in range(20000):
        image.put(64 * MIB + i * 16 * KIB, b"x")
    image.finish()


def sparse_15_tib(path):
    Maker(path, cluster_bits=9, size=GIB, file_bytes=15 * TIB).finish()


def bitmaps(path):
    """65,535 bitmaps that share one table of half a gigabyte."""
    image = Maker(path, file_bytes=4 * GIB)
    image.features[2] = 1
    directory = b"".join(
        struct.pack(">QIIBBHI", GIB, 1 << 26, 0, 1, 16, 6, 0) + b"b%05d" % i + bytes(2)
        for i in range(65535))
    image.put(64 * MIB, directory)
    image.extensions.append((0x23852875, struct.pack(">IIQQ", 65535, 0, len(directory), 64 * MIB)))
    image.finish()


def backing(path, target, folder_link=None):
    image = Maker(path)
    image.backing = target.encode()
    image.extensions.append((0xe2792aca, b"qcow2"))
    image.finish()
    if folder_link:
        os.symlink(".", os.path.join(os.path.dirname(path), folder_link))


def backing_loop(path):
    backing(path, os.path.basename(path))


def backing_mutual(path):
    backing(path, "other.qcow2")
    backing(os.path.join(os.path.dirname(path), "other.qcow2"), os.path.basename(path))


def backing_links(path):
    backing(path, "here/" + os.path.basename(path), "here")


CASES = {
    "deflate_bomb": deflate_bomb,
    "zstd_window": zstd_window,
    "size_2_62": size_2_62,
    "maximal_l1": maximal_l1,
    "maximal_refcounts": maximal_refcounts,
    "maximal_everything": maximal_everything,
    "one_l2": one_l2,
    "one_l2_small": one_l2_small,
    "far_beyond_end": far_beyond_end,
    "sparse_64_gib": sparse_64_gib,
    "sparse_64_gib_counted": sparse_64_gib_counted,
    "many_extensions": many_extensions,
    "scattered_data": scattered_data,
    "sparse_15_tib": sparse_15_tib,
    "bitmaps": bitmaps,
    "snapshots": lambda path: with_snapshots(path, 65536),
    "snapshots_apart": lambda path: with_snapshots(path, 65536, apart=True),
    "snapshots_long_names": lambda path: with_snapshots(path, 1000, name_bytes=60000),
    "snapshots_large_l1": lambda path: with_snapshots(path, 4000, l1_entries=4 * MIB),
    "snapshots_extra": lambda path: with_snapshots(path, 50000, extra=bytes(1000)),
    "backing_loop": backing_loop,
    "backing_mutual": backing_mutual,
    "backing_links": backing_links,
}
