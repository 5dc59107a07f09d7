"""The rows of the comparison and the sizes they come in."""

from dataclasses import dataclass
from fnmatch import fnmatch

from comparing.figures import Row, Target
from comparing.requests import NewClusters, OldClusters, Scattered
from comparing.snapshots import Check, Guest, Snapshots

MEBIBYTE = 1 << 20
GIBIBYTE = 1 << 30


@dataclass(frozen=True)
class Size:
    name: str
    rounds: int
    disk: int           # Bytes of the allocated disk.
    cached: int         # Reads of one measurement through the page cache ...
    cached_writes: int  # ... writes, which the disk has to take afterwards ...
    direct: int         # ... requests past the cache ...
    single: int         # ... and one at a time.
    new_clusters: int
    old_clusters: int
    snapshot_disks: tuple  # Bytes: the smaller and the larger disk with snapshots.

    def words(self):
        """What titles may name."""
        small, large = (f"{disk >> 30} GiB" for disk in self.snapshot_disks)
        return {"small": small, "large": large}


SIZES = {
    "smoke": Size("smoke", 1, 16 * MEBIBYTE, 400, 200, 200, 200, 64, 64,
                  (2 * GIBIBYTE, 6 * GIBIBYTE)),
    "full": Size("full", 3, 4 * GIBIBYTE, 200_000, 50_000, 20_000, 20_000,
                 16_384, 6_144, (256 * GIBIBYTE, 1024 * GIBIBYTE)),
}

RAW = "raw"
QEMU = "qemu"


def requests():
    cached = "4 KiB scattered {}, depth 32, page cache"
    direct = "4 KiB scattered {}, depth 32, O_DIRECT"
    return [
        Scattered(Row("read-cached", cached.format("read"), "/s",
                      (Target(RAW, 0.9), Target(QEMU, 2.5)))),
        Scattered(Row("write-cached", cached.format("write"), "/s",
                      (Target(RAW, 0.9), Target(QEMU, 2.5))), write=True),
        Scattered(Row("read-direct", direct.format("read"), "/s", (Target(RAW, 0.95),)),
                  direct=True),
        Scattered(Row("write-direct", direct.format("write"), "/s",
                      (Target(RAW, 0.9), Target(QEMU, 1.7))), direct=True, write=True),
        Scattered(Row("read-single", "4 KiB scattered read, depth 1, page cache", "/s",
                      (Target(RAW, 0.9), Target(QEMU, 1.5))), depth=1),
        NewClusters(Row("new-clusters", "4 KiB writes, each to a new 64 KiB cluster, memory", "/s",
                        (Target(QEMU, 8),))),
        OldClusters(Row("copy-on-write", "the same after a snapshot (copies 64 KiB), memory", "/s",
                        (Target(QEMU, 1.3), Target("copy", 0.8)))),
    ]


def snapshots(label, which, create, apply_all, apply_few, delete):
    """One walk through a snapshot's life gives all its rows."""
    disk = "{" + label + "}"
    return Snapshots(label, which, {
        "create": Row(f"create-{label}", f"{disk}: snapshot create", "s", create),
        "pause": Row(f"pause-{label}", f"{disk}: the guest's pause in create", "s",
                     (Target(limit=0.001),)),
        "apply": Row(f"apply-{label}", f"{disk}: apply, every table different", "s", apply_all),
        "apply-few": Row(f"apply-few-{label}", f"{disk}: apply, 10 tables different", "s",
                         apply_few),
        "delete": Row(f"delete-{label}", f"{disk}: delete", "s", delete),
    })


def guest(label, which):
    disk = "{" + label + "}"
    gaps = {step: Row(f"gap-{step}-{label}", f"{disk}: longest gap of a reader during {step}", "s",
                      at_most(0.02)) for step in ("create", "apply", "delete")}
    return Guest(label, which, gaps, Row(
        f"share-create-{label}", f"{disk}: create under reads, depth 32: pace the guest keeps", "%",
        (Target(limit=0.7),)))


def at_most(seconds):
    return (Target(limit=seconds),)


GROUPS = [
    *requests(),
    snapshots("small", 0, (), (), (), ()),
    snapshots("large", 1, at_most(0.6), at_most(1), at_most(0.05), at_most(0.6)),
    guest("large", 1),
    Check(Row("check-large", "{large}: check", "s", at_most(0.35)), 1),
]


def selected(patterns):
    """The groups with a row that one of the patterns names; all of them for no pattern."""
    wanted = [pattern for pattern in patterns.split(",") if pattern]
    if not wanted or patterns == "list":
        return GROUPS
    return [group for group in GROUPS
            if any(fnmatch(row.name, pattern) for row in group.rows for pattern in wanted)]
