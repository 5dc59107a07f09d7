"""Rows about requests: reads and writes of 4 KiB."""

import json
import re

from comparing.runner import BLOCK, CLUSTER, Failure, scattered_step, settle, warm


def run_qemu(bench, path, *, count, depth, step, write=False, direct=False):
    """qemu-img bench in its fastest setting: io_uring, or Linux aio past the page cache."""
    words = ["bench", "-f", "qcow2", "-c", count, "-d", depth, "-s", BLOCK, "-S", step]
    words += ["-t", "none", "-n"] if direct else ["-t", "writeback", "-i", "io_uring"]
    words += ["-w", "--pattern", 90] if write else []
    output, wall = bench.run(bench.qemu, *words, path)
    found = re.search(r"completed in ([\d.]+) seconds", output)
    if not found:
        raise Failure(f"qemu-img bench said: {output}")
    return per_second(count, float(found.group(1)), process_seconds=wall)


def run_fio(bench, path, *, count, depth, write=False, direct=False):
    output, wall = bench.run(
        bench.fio, "--name=raw", f"--filename={path}", f"--rw=rand{'write' if write else 'read'}",
        f"--bs={BLOCK}", f"--iodepth={depth}", "--ioengine=io_uring", f"--direct={int(direct)}",
        f"--number_ios={count}", "--invalidate=0", "--norandommap", "--gtod_reduce=1",
        "--fallocate=none", "--output-format=json")
    job = json.loads(output[output.index("{"):])["jobs"][0]["write" if write else "read"]
    return {"figure": job["iops"], "requests": job["total_ios"], "process_seconds": wall}


def per_second(count, seconds, **more):
    return {"figure": count / max(seconds, 0.0005), "seconds": seconds, "requests": count, **more}


def of_load(sample):
    return {**sample, "figure": sample["requests"] / max(sample["seconds"], 1e-9)}


class Scattered:
    """Requests all over a disk whose every cluster exists."""

    def __init__(self, row, *, depth=32, write=False, direct=False):
        self.rows = [row]
        self.name = row.name
        self.depth, self.write, self.direct = depth, write, direct

    def programs(self, _bench):
        return ["varve", "raw", "qemu", "fio"]

    def count(self, size):
        if self.depth == 1:
            return size.single
        if self.direct:
            return size.direct
        return size.cached_writes if self.write else size.cached

    def files(self, bench):
        return (bench.allocated_image(bench.disk, bench.size.disk),
                bench.raw_file(bench.disk, bench.size.disk))

    def prepare(self, bench):
        for path in self.files(bench):
            settle(path)
            if not self.direct:
                warm(path)

    def measure(self, bench, program):
        image, raw = self.files(bench)
        step = scattered_step(bench.size.disk)
        how = {"count": self.count(bench.size), "depth": self.depth}
        flags = {"write": self.write, "direct": self.direct}
        path = image if program in ("varve", "qemu") else raw
        if program == "qemu":
            sample = run_qemu(bench, path, step=step, **how, **flags)
        elif program == "fio":
            sample = run_fio(bench, path, **how, **flags)
        else:
            sample = of_load(bench.run_load(
                "requests", path, target="image" if program == "varve" else "file", step=step,
                **how, **{name: int(value) for name, value in flags.items()}))
        settle(path)
        return {self.name: sample}

    def clean_up(self, bench):
        pass


class NewClusters:
    """Writes into an empty image, each to a cluster of its own, in recycled memory."""

    def __init__(self, row):
        self.rows = [row]
        self.name = row.name

    def programs(self, _bench):
        return ["varve", "qemu"]

    def prepare(self, bench):
        # The first image touches the pages that the others get.
        self.measure(bench, "varve")

    def measure(self, bench, program):
        count = bench.size.new_clusters
        path = bench.create(bench.memory / "new.qcow2", count * CLUSTER)
        if program == "qemu":
            sample = run_qemu(bench, path, count=count, depth=32, step=CLUSTER, write=True)
        else:
            sample = of_load(bench.run_load("requests", path, write=1, count=count, depth=32,
                                            step=CLUSTER))
        path.unlink()
        return {self.name: sample}

    def clean_up(self, bench):
        pass


class OldClusters:
    """Writes after a snapshot, each to a cluster that both share. Deleting the snapshot afterwards
    gives its clusters, and their pages, to the next measurement."""

    def __init__(self, row):
        self.rows = [row]
        self.name = row.name

    def programs(self, _bench):
        return ["varve", "qemu", "copy"]

    def files(self, bench):
        disk = bench.size.old_clusters * CLUSTER
        return bench.allocated_image(bench.memory, disk), bench.raw_file(bench.memory, 2 * disk)

    def prepare(self, bench):
        self.files(bench)
        self.measure(bench, "varve")

    def measure(self, bench, program):
        image, raw = self.files(bench)
        count = bench.size.old_clusters
        if program == "copy":
            return {self.name: of_load(bench.run_load("copy", raw, count=count, depth=32))}
        bench.run_load("create", image, name="before")
        if program == "qemu":
            sample = run_qemu(bench, image, count=count, depth=32, step=CLUSTER, write=True)
        else:
            sample = of_load(bench.run_load("requests", image, write=1, count=count, depth=32,
                                            step=CLUSTER))
        bench.run_load("delete", image, name="before")
        return {self.name: sample}

    def clean_up(self, bench):
        for path in self.files(bench):
            path.unlink()
