"""Programs, files and rounds: everything that touches the machine."""

import datetime
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MEBIBYTE = 1 << 20
CLUSTER = 65536
BLOCK = 4096


class Failure(Exception):
    """A program is missing or has failed."""


def scattered_step(disk_bytes):
    """A step that visits every 4 KiB block of the disk once, far from the one before.

    qemu-img bench has no random order, only a step: an odd number of blocks, about 0.38 of the
    disk (and below 2 GiB, its limit), leaves no two neighbours within reach of read-ahead.
    """
    blocks = min(disk_bytes, 5 << 30) * 382 // 1000 // BLOCK
    return (blocks | 1) * BLOCK


class Bench:
    """Where things are. Files made here are gone when the context ends."""

    def __init__(self, arguments, size):
        root = Path(__file__).resolve().parents[2]
        self.size = size
        self.quiet = arguments.quiet
        self.build = arguments.build or root / "build" / "release"
        self.load = self._own("varve_load")
        self.varve = self._own("varve")
        self.qemu = find_qemu(arguments.qemu, root)
        self.fio = None if arguments.fio == "none" else shutil.which(arguments.fio)
        self._parents = (arguments.directory or self.build,
                         arguments.memory_directory or memory_directory(arguments, self.build))
        self._folders = []
        self._made = {}

    def _own(self, name):
        program = self.build / "bin" / name
        if not program.exists():
            raise Failure(f"{program} is missing: build Varve, or say where with --build")
        return str(program)

    def __enter__(self):
        for parent in self._parents:
            if not parent.is_dir():
                raise Failure(f"{parent} is not a folder")
            self._folders.append(Path(tempfile.mkdtemp(prefix="varve-bench-", dir=parent)))
        return self

    def __exit__(self, *_):
        for folder in self._folders:
            shutil.rmtree(folder, ignore_errors=True)

    @property
    def disk(self):
        return self._folders[0]

    @property
    def memory(self):
        return self._folders[1]

    def say(self, text):
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)

    def made_once(self, key, make):
        """What `make` returned the first time it was called for this key."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def run(self, *command):
        """Standard output and the wall time of a program that must succeed."""
        words = [str(word) for word in command]
        started = time.perf_counter()
        answer = subprocess.run(words, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - started
        if answer.returncode != 0:
            raise Failure(f"{' '.join(words)}: {answer.stderr.strip() or answer.stdout.strip()}")
        return answer.stdout, seconds

    def run_load(self, work, file, **options):
        """A sample of varve_load, with the wall time of the whole process beside its own."""
        output, wall = self.run(self.load, work, file, *(f"{k}={v}" for k, v in options.items()))
        sample = json.loads(output)
        sample["process_seconds"] = wall
        return sample

    def create(self, path, size, preallocation="off"):
        path.unlink(missing_ok=True)
        self.run(self.varve, "create", "-q", "-f", "qcow2", "-o",
                 f"preallocation={preallocation}", path, size)
        return path

    def allocated_image(self, folder, size):
        """A qcow2 image whose every cluster has been written."""
        def make():
            self.say(f"  writing an image of {size // MEBIBYTE} MiB")
            path = self.create(folder / f"allocated-{size}.qcow2", size)
            self.run_load("fill", path)
            return path
        return self.made_once(("allocated", folder, size), make)

    def raw_file(self, folder, size):
        def make():
            self.say(f"  writing a raw file of {size // MEBIBYTE} MiB")
            path = folder / f"raw-{size}"
            with open(path, "wb") as file:
                file.truncate(size)
            self.run_load("fill", path, target="file")
            return path
        return self.made_once(("raw", folder, size), make)


def memory_directory(arguments, build):
    shared = Path("/dev/shm")
    if shared.is_dir() and os.access(shared, os.W_OK):
        return shared
    return arguments.directory or build


def find_qemu(wanted, root):
    """qemu-img as asked for, else the newest that tests/lib/qemu10.sh or the system has."""
    if wanted == "none":
        return None
    candidates = [wanted] if wanted else [
        os.environ.get("VARVE_QEMU10", ""), str(root / "build/peers/qemu-10/usr/bin"), "qemu-img"]
    for candidate in filter(None, candidates):
        path = Path(candidate)
        program = shutil.which(str(path / "qemu-img") if path.is_dir() else candidate)
        if program:
            return program
    if wanted or os.environ.get("VARVE_REQUIRE"):
        raise Failure(f"{wanted or 'qemu-img'} is not there")
    return None


def settle(path):
    """What was written to the file is on the disk, so that it disturbs nobody later."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def warm(path):
    """The file's content is in the page cache; its holes, a tebibyte of them at times, are not
    looked at."""
    piece = 4 * MEBIBYTE
    descriptor = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(descriptor).st_size
        position = 0
        while position < size:
            try:
                position = os.lseek(descriptor, position, os.SEEK_DATA)
            except OSError:  # Nothing but a hole is left.
                return
            end = os.lseek(descriptor, position, os.SEEK_HOLE)
            while position < end:
                position += len(os.pread(descriptor, min(piece, end - position), position))
    finally:
        os.close(descriptor)


def first_line(bench, program, *arguments):
    return bench.run(program, *arguments)[0].splitlines()[0] if program else "not found"


def machine(bench):
    """The machine in general words."""
    model, memory = "", 0
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    except OSError:
        pass

    def file_system(folder):
        return bench.run("df", "--output=fstype", folder)[0].split()[-1]
    return {"processors": os.cpu_count(), "model": model, "memory_gib": memory,
            "kernel": platform.release(), "file_system": file_system(bench.disk),
            "memory_file_system": file_system(bench.memory)}


def run(bench, groups, rounds):
    """Every group `rounds` times, the programs in another order each time."""
    result = {
        "date": datetime.date.today().isoformat(), "machine": machine(bench), "rounds": rounds,
        "size": bench.size.name,
        "programs": {"varve": first_line(bench, bench.varve, "--version"),
                     "qemu": first_line(bench, bench.qemu, "--version"),
                     "fio": first_line(bench, bench.fio, "--version")},
        "rows": []}
    for group in groups:
        bench.say(f"{group.name} ...")
        started = time.perf_counter()
        programs = [p for p in group.programs(bench) if p not in ("qemu", "fio")
                    or getattr(bench, p)]
        group.prepare(bench)
        samples = {row.name: {program: [] for program in programs} for row in group.rows}
        for number in range(rounds):
            turn = number % len(programs)
            for program in programs[turn:] + programs[:turn]:
                for name, sample in group.measure(bench, program).items():
                    samples[name][program].append(sample)
        group.clean_up(bench)
        for row in group.rows:
            result["rows"].append(row.judge(samples[row.name], bench.size.words()))
        bench.say(f"  {time.perf_counter() - started:.1f} s")
    return result
