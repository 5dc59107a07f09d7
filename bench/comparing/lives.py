"""A snapshot's life on disks of growing size: what each step costs, and the slope against size."""

import os
from dataclasses import dataclass

from comparing.runner import BLOCK, settle, warm
from comparing.snapshots import TABLE_COVERS

STEPS = ("create", "apply", "delete")
LAYOUTS = ("linear", "fragmented")
CACHES = ("warm", "cold")


@dataclass(frozen=True)
class Point:
    size: int  # Bytes.
    layout: str
    cache: str
    program: str


def tables_of(size):
    return size // TABLE_COVERS


def touch(bench, image, size, scattered):
    """A write behind every L2 table: in order, or far from the one before."""
    tables = tables_of(size)
    stride = (tables * 382 // 1000 | 1) if scattered else 1
    bench.run_load("requests", image, write=1, count=tables, depth=1 if scattered else 8,
                   step=stride * TABLE_COVERS, bytes=BLOCK)


def make_image(bench, size, layout):
    """Of which only the tables exist. Fragmented: every table has been copied away, in an order
    that leaves no two neighbours together."""
    image = bench.create(bench.disk / f"{layout}-{size}.qcow2", size, "metadata")
    if layout == "fragmented":
        bench.run_load("create", image, name="old")
        touch(bench, image, size, scattered=True)
        bench.run_load("delete", image, name="old")
    return image


def prepare_cache(image, cache):
    settle(image)
    if cache == "warm":
        warm(image)
        return
    descriptor = os.open(image, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def take_step(bench, program, image, step):
    if program == "varve":
        sample = bench.run_load(step, image, name="here")
        return {"total": sample["process_seconds"], "usable": sample["usable_seconds"],
                "pause": sample["pause_seconds"]}
    letter = {"create": "-c", "apply": "-a", "delete": "-d"}[step]
    _, seconds = bench.run(bench.qemu, "snapshot", letter, "here", image)
    return {"total": seconds, "usable": seconds, "pause": seconds}


def measure_life(bench, image, point):
    """Every table differs when the snapshot is applied."""
    found = {}
    for step in STEPS:
        if step == "apply":
            touch(bench, image, point.size, scattered=False)
        prepare_cache(image, point.cache)
        found[step] = take_step(bench, point.program, image, step)
    return found


def measure(bench, sizes, layouts, caches):
    """All points; the figures of each are keyed by step."""
    programs = ["varve"] + (["qemu"] if bench.qemu else [])
    points = []
    for size in sizes:
        for layout in layouts:
            image = make_image(bench, size, layout)
            for cache in caches:
                for program in programs:
                    bench.say(f"{size >> 30} GiB, {layout}, {cache}, {program}")
                    point = Point(size, layout, cache, program)
                    points.append((point, measure_life(bench, image, point)))
            image.unlink()
    return points


def slope(points, layout, cache, program, step):
    """Seconds per TiB by least squares; nothing for a single size."""
    found = [(point.size / 2**40, life[step]["total"]) for point, life in points
             if (point.layout, point.cache, point.program) == (layout, cache, program)]
    mean_x = sum(x for x, _ in found) / len(found)
    mean_y = sum(y for _, y in found) / len(found)
    spread = sum((x - mean_x) ** 2 for x, _ in found)
    if not spread:
        return None
    return sum((x - mean_x) * (y - mean_y) for x, y in found) / spread


def measure_openings(bench, size):
    """How long each program takes to open what a crash just before publishing leaves: with the
    tables written, and with all of them lost in a power cut."""
    found = []
    openers = {"varve": [bench.varve, "io", "-c", "quit"]}
    if bench.qemu:
        openers["qemu"] = [str(bench.qemu).removesuffix("qemu-img") + "qemu-io", "-c", "quit"]
    for state, keep in (("tables written", 1), ("tables lost", 0)):
        for program, command in openers.items():
            bench.say(f"{size >> 30} GiB, opening after a crash, {state}, {program}")
            image = bench.create(bench.disk / "cut.qcow2", size, "metadata")
            bench.run(bench.load, "cut", image, "name=here", f"tables={keep}")
            settle(image)
            warm(image)
            _, seconds = bench.run(*command, image)
            found.append({"state": state, "program": program, "seconds": seconds})
            image.unlink()
    return found
