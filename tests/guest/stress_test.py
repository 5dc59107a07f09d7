"""Goal: snapshots taken under a file system at work are file systems a power cut would leave, and
the guest hardly notices. Method: in a Linux guest on a served disk, processes write, fsync, rename
and remove many small files, each of which says what must be in it. Once a second a snapshot is
taken, copied out beside the running writer, the copy spoilt and brought back by applying a snapshot
of its own, and the live snapshot deleted; e2fsck and the files judge the copies behind that, so
that the next snapshot need not wait. A second client of the export writes and reads all the time
and notes its slowest request; QEMU counts the guest's.

Usage: stress_test.py VARVE PLUGIN      VARVE_LONG=1: for a minute, else some turns.
"""

import os
import queue
import sys
import tempfile
import threading
import time

from linux_guest import CountingGuest, GuestDisk, find_kernel, qemu_arguments
from machine import QEMU, Monitor
from nbd_client import FLUSH, READ, WRITE, Client
from server import Server
from steps import cannot_run, expect, lacking, run

MIB = 1 << 20
FILE_SYSTEM_MIB = 48
TURNS = 60 if os.environ.get("VARVE_LONG") else 4
WORKERS = 3

# A file that has its name was durable before it got it, and repeats one line up to its size.
GUEST_INIT = f"""worker() {{
  n=0
  while [ ! -e /dev/end ]; do
    n=$((n + 1))
    folder=/data/$1/$((n % 6))
    mkdir -p $folder
    yes "worker $1 wrote $n" | head -c $((n % 50 * 400 + 100)) |
      dd of=$folder/new conv=fsync 2>/dev/null
    mv $folder/new $folder/$((n % 31))
    [ $((n % 4)) != 0 ] || rm -f $folder/$(((n + 9) % 31))
  done
}}
(read -r word && >/dev/end) </dev/console &
for number in {" ".join(str(number + 1) for number in range(WORKERS))}; do
  worker $number &
done
n=0
while [ ! -e /dev/end ]; do
  n=$((n + 1))
  echo $n | dd of=/data/new conv=fsync 2>/dev/null
  mv /data/new /data/count
  sync
  echo "guest: count $n"
done
wait
"""


class Probe(threading.Thread):
    """A client beside the guest, on space behind the guest's file system: it writes, reads back and
    flushes; how long its slowest request took, while a snapshot was at work and otherwise."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.client = Client(server.path)
        self.during = None  # What is at work now.
        self.slowest = {}
        self.requests = 0
        self.failure = None
        self.over = threading.Event()
        self.start()

    def timed(self, command, *arguments, **more):
        before, begin = self.during, time.monotonic()
        read = self.client.must(command, *arguments, **more)
        took = time.monotonic() - begin
        for what in {before, self.during}:
            self.slowest[what] = max(took, self.slowest.get(what, 0))
        self.requests += 1
        return read

    def run(self):
        try:
            while not self.over.wait(0.002):
                data = self.requests.to_bytes(8, "little") * 512
                at = FILE_SYSTEM_MIB * MIB + self.requests % 64 * 4096
                self.timed(WRITE, at, data=data)
                expect(self.timed(READ, at, len(data)) == data, f"other bytes are read at {at}")
                if self.requests % 64 == 0:
                    self.timed(FLUSH)
            self.client.disconnect()
        except BaseException as failure:
            self.failure = failure

    def end(self):
        self.over.set()
        self.join(timeout=60)
        if self.failure is not None:
            raise self.failure


class Judge(threading.Thread):
    """Judges copies in the order they were handed over, and removes them."""

    def __init__(self, judge):
        super().__init__(daemon=True)
        self.judge = judge
        self.copies = queue.Queue()
        self.failure = None
        self.start()

    def run(self):
        try:
            while (copy := self.copies.get()) is not None:
                number, path, count = copy
                whole = self.judge(f"turn {number}", path, count)
                os.remove(path)
                print(f"turn {number}: {whole} files whole, e2fsck clean", flush=True)
        except BaseException as failure:
            self.failure = failure

    def hand_over(self, number, path, count):
        if self.failure is not None:
            raise self.failure
        self.copies.put((number, path, count))

    def end(self):
        self.copies.put(None)
        self.join()
        if self.failure is not None:
            raise self.failure


class Story(GuestDisk):
    def __init__(self, varve, plugin, kernel, folder):
        super().__init__(varve, kernel, folder, GUEST_INIT, FILE_SYSTEM_MIB)
        run(varve, "resize", self.disk, f"{FILE_SYSTEM_MIB + 1}M")
        self.folder = folder
        self.files = os.path.join(folder, "files")
        self.control = os.path.join(folder, "control")
        self.server = Server(plugin, folder, f"file={self.disk}", f"control={self.control}")
        self.probe = Probe(self.server)
        self.monitor = Monitor(os.path.join(folder, "qmp"))
        self.guest = CountingGuest(qemu_arguments(
            kernel, self.initramfs, *self.monitor.arguments, "-drive",
            f"file={self.server.uri},format=raw,if=none,id=disk,discard=unmap",
            "-device", "virtio-blk-pci,drive=disk,id=device"))
        self.monitor.accept()
        self.monitor.command("block-latency-histogram-set",
                             id="/machine/peripheral/device/virtio-backend",
                             boundaries=[bound * 1_000_000 for bound in self.BOUNDS])

    BOUNDS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)  # Milliseconds.

    def ctl(self, command, name):
        self.probe.during = command
        run(self.varve, "ctl", self.control, command, name)
        self.probe.during = None

    def turn(self, number):
        """One snapshot's life; its copy, and what the guest had counted to before."""
        name = f"turn {number}"
        before = self.guest.wait_for("guest: count")
        copy = os.path.join(self.folder, f"copy-{number}.qcow2")
        self.ctl("create", name)
        run(self.varve, "convert", "-U", "-l", name, "-O", "qcow2", self.disk, copy)
        self.spoil_and_apply(copy)
        self.ctl("delete", name)
        return copy, int(before)

    def spoil_and_apply(self, copy):
        run(self.varve, "snapshot", "create", copy, "--name", "whole")
        run(self.varve, "io", "-c", "write -P 85 0 8M", copy)
        run(self.varve, "snapshot", "apply", copy, "whole")
        run(self.varve, "snapshot", "delete", copy, "whole")

    def judge(self, name, copy, count_before):
        """What a power cut would have left: the journal replayed, nothing else is wrong, every file
        that has its name is whole. How many files that are."""
        run(self.varve, "check", copy)
        self.check_file_system(name, copy)
        run("rm", "-rf", self.files)
        os.mkdir(self.files)
        run("debugfs", "-R", f"rdump /data {self.files}", self.raw)
        whole = 0
        for folder, _, files in os.walk(os.path.join(self.files, "data")):
            for file in set(files) - {"new", "count"}:
                with open(os.path.join(folder, file), "rb") as content:
                    data = content.read()
                line = data.split(b"\n")[0] + b"\n"
                expect(line.startswith(b"worker") and
                       data == (line * (len(data) // len(line) + 1))[:len(data)],
                       f"{name}: {folder}/{file} is not whole: {data[:80]}")
                whole += 1
        with open(os.path.join(self.files, "data", "count"), encoding="ascii") as content:
            count = int(content.read())
        expect(count >= count_before, f"{name}: {count_before} was durable, {count} is there")
        return whole

    def slowest_of_guest(self):
        """In words, for reads, writes and flushes together."""
        stats = [one for one in self.monitor.command("query-blockstats")
                 if one.get("qdev", "").startswith("/machine/peripheral/device")][0]["stats"]
        highest = max(last for kind in ("rd", "wr", "flush")
                      for last, count in enumerate(stats[f"{kind}_latency_histogram"]["bins"])
                      if count)
        return (f"below {self.BOUNDS[highest]} ms" if highest < len(self.BOUNDS)
                else f"{self.BOUNDS[-1]} ms or more")


def tell(story):
    story.guest.wait_for("guest: count")
    judge = Judge(story.judge)
    begin = time.monotonic()
    late = 0
    for number in range(1, TURNS + 1):
        judge.hand_over(number, *story.turn(number))
        late += time.monotonic() > begin + number
        while time.monotonic() < begin + number:
            story.guest.wait_for("guest: count")
    took = time.monotonic() - begin
    slowest = story.slowest_of_guest()
    story.guest.end()
    story.probe.end()
    gaps = {what or "otherwise": f"{seconds * 1000:.1f} ms"
            for what, seconds in story.probe.slowest.items()}
    judge.end()
    print(f"{TURNS} snapshots taken, copied, applied and deleted in {took:.1f} s, {late} of them "
          f"later than their second; the guest counted to {story.guest.counts()[-1]}")
    print(f"longest I/O gap of {story.probe.requests} requests beside the guest: {gaps}")
    print(f"longest request of the guest: {slowest}")


def check(story):
    story.server.stop()
    run(story.varve, "check", story.disk)
    run("qemu-img", "check", story.disk)
    story.check_file_system("the guest's disk at the end", story.disk)
    print("the guest's file system at the end: clean")


def main():
    kernel = find_kernel()
    missing = lacking(QEMU, "nbdkit", "mke2fs", "e2fsck", "debugfs", "qemu-img")
    if kernel is None or missing:
        return cannot_run(missing)
    with tempfile.TemporaryDirectory(prefix="varve-guest-", dir="/var/tmp") as folder:
        story = Story(*sys.argv[1:3], kernel, folder)
        try:
            tell(story)
            check(story)
        finally:
            story.guest.kill()
            story.server.kill()
    return 0


if __name__ == "__main__":
    sys.exit(main())
