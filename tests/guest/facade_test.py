"""Goal: through the snapshot services running guests come back as they were, RAM and disks at one
instant. Method: a hypervisor's process (host/) serves the disks of Linux guests under QEMU and
holds the services; this script is its hand on QEMU: QMP stops and continues a guest, QEMU's
migration stream is its state. A guest counts in RAM and on each of its disks, and compares the two,
its caches dropped, at every count. Full, disk and collection snapshots are taken while guests run,
and applied after they went on.

Usage: facade_test.py VARVE HOST
"""

import os
import subprocess
import sys
import tempfile

from linux_guest import (DISK_MODULES, BOOT_FROM_DISK, CountingGuest, Initramfs, counting_init,
                         find_kernel, qemu_arguments, write_disk)
from machine import QEMU, Monitor
from steps import cannot_run, expect, lacking, run

FULL, DISK, STANDARD = 2, 3, 1
STARTED, COMPLETED = "4096", "7"


class Host:
    """The hypervisor's process; host/host.cc says its lines."""

    def __init__(self, program):
        self.guests = {}
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, bufsize=1)

    def say(self, line):
        self.process.stdin.write(line + "\n")

    def hear(self):
        line = self.process.stdout.readline()
        expect(line, "the host has ended")
        return line.rstrip("\n")

    def ask(self, line):
        self.say(line)
        answer = self.hear()
        expect(answer.startswith("= ") and not answer.startswith("= failed"), f"{line}: {answer}")
        return answer[2:]

    def call(self, method):
        """A method that starts a job; the element it made, once it has completed. Meanwhile the
        callbacks of the state provider are carried out."""
        code, job = self.ask(method).split()
        expect(code == STARTED, f"{method}: {code}")
        while (line := self.hear()) != "! worked":
            _, verb, name, *rest = line.split()
            getattr(self.guests[name], verb)(*rest)
            self.say("done")
        state, error, made, *what = self.ask(f"job {job}").split(" ", 3)
        expect((state, error) == (COMPLETED, "0"), f"{method}: job {state}, {error}: {what}")
        return made

    def end(self):
        self.process.stdin.close()
        expect(self.process.wait(timeout=60) == 0, "the host cannot close its disks")

    def kill(self):
        self.process.kill()
        self.process.wait()


class Guest:
    """A machine of the host: its disks, QEMU while it runs, and the callbacks."""

    def __init__(self, host, bench, name, disks):
        self.host = host
        self.bench = bench
        self.name = name
        folder = os.path.join(bench.folder, name)
        os.mkdir(folder)
        self.folder = folder
        self.pipe = os.path.join(folder, "state")
        os.mkfifo(self.pipe)
        self.disks = [bench.make_disk(folder, number, disks) for number in range(disks)]
        host.guests[name] = self
        self.path = host.ask(f"system {name} {self.pipe} {' '.join(self.disks)}")
        self.guest = None
        self.counted = 0

    # --- QEMU

    def boot(self, *more):
        drives = []
        for disk in self.disks:
            drives += ["-drive", "if=virtio,format=raw,discard=unmap,"
                       f"file=nbd+unix:///?socket={disk}.nbd"]
        self.monitor = Monitor(os.path.join(self.folder, "qmp"))
        self.guest = CountingGuest(qemu_arguments(
            self.bench.kernel, self.bench.initramfs, *self.monitor.arguments, *drives, *more))
        self.monitor.accept()

    def start(self):
        self.host.ask(f"running {self.name}")
        self.boot()

    def end(self):
        """Switches it off in order; the counts it told since it was last started."""
        counts = self.guest.end()
        self.host.ask(f"off {self.name}")
        return counts

    def kill(self):
        if self.guest is not None:
            self.guest.kill()

    # --- what the host asks for

    def quiesce(self):
        self.monitor.command("stop")
        self.counted = self.guest.last_count()

    def resume(self):
        self.monitor.command("cont")
        print(f"  {self.name} stood still at {self.counted} for "
              f"{self.monitor.last_pause() * 1000:.1f} ms")

    def save(self, pipe):
        self.monitor.save_state(pipe)
        written = self.monitor.command("query-migrate")["ram"]["transferred"]
        print(f"  {self.name}: a state of {written / (1 << 20):.0f} MiB is written")

    def load(self, state, pipe=None):
        self.guest.kill()
        if state == "running":
            self.boot("-incoming", "defer")
            self.monitor.load_state(pipe)
            self.monitor.command("cont")


class Bench:
    """What the guests of a story share."""

    def __init__(self, varve, kernel, folder):
        self.varve = varve
        self.kernel = kernel
        self.folder = folder
        self.initramfs = os.path.join(folder, "initramfs")
        initramfs = Initramfs(kernel)
        initramfs.add_modules(*DISK_MODULES)
        initramfs.write(self.initramfs, BOOT_FROM_DISK)

    def make_disk(self, folder, number, count):
        disk = os.path.join(folder, f"disk{number}.qcow2")
        raw = disk + ".raw"
        if number == 0:
            write_disk(raw, self.kernel, counting_init(count), 32)
        else:
            run("mke2fs", "-q", "-F", "-t", "ext4", raw, "16M")
        run(self.varve, "convert", "-f", "raw", "-O", "qcow2", raw, disk)
        return disk

    def check(self, guest):
        """The images hold together, their file systems are clean."""
        for disk in guest.disks:
            run(self.varve, "check", disk)
            run("qemu-img", "check", disk)
            run(self.varve, "convert", "-O", "raw", disk, disk + ".raw")
            run("e2fsck", "-f", "-n", disk + ".raw")


def expect_goes_on(guest, counted, further):
    """Brought back to `counted`, it counts on from there to its end."""
    guest.guest.count_to(counted + 8)
    counts = guest.end()
    # A line that was half printed then ends in the old machine.
    expect(counted + 1 <= counts[0] <= counted + 2 <= further,
           f"{guest.name} counts {counts[0]} after {counted}")
    expect(counts == list(range(counts[0], counts[-1] + 1)), counts)
    print(f"  {guest.name}: brought back from {further}, counts on at {counts[0]}, to "
          f"{counts[-1]}; its files and its file systems are whole")


def taken_and_applied(guest):
    """A full snapshot of the running guest, and back to it later."""
    full = guest.host.call(f"create {guest.path} {FULL}")
    counted = guest.counted
    further = guest.guest.count_to(counted + 6)
    guest.host.call(f"apply {full}")
    expect_goes_on(guest, counted, further)
    return full


def one_disk(host, bench):
    guest = Guest(host, bench, "single", 1)
    guest.start()
    guest.guest.count_to(4)
    host.call(f"destroy {taken_and_applied(guest)}")
    return [guest]


def two_disks(host, bench):
    guest = Guest(host, bench, "double", 2)
    guest.start()
    on_disk = guest.guest.count_to(4)
    disks_only = host.call(f"create {guest.path} {DISK}")
    counted = guest.counted
    guest.guest.count_to(counted + 4)
    taken_and_applied(guest)

    host.call(f"apply {disks_only}")
    guest.start()
    found = int(guest.guest.wait_for("guest: found"))
    expect(on_disk <= counted <= found <= counted + 2,
           f"{found} files where {counted} were durable")
    guest.guest.count_to(found + 4)
    counts = guest.end()
    expect(counts == list(range(found + 1, counts[-1] + 1)), counts)
    print(f"  {guest.name}: started from the snapshot of its disks, found {found} files on each, "
          "all whole")
    return [guest]


def collection_of_two(host, bench):
    guests = [Guest(host, bench, name, disks) for name, disks in (("left", 1), ("right", 2))]
    both = host.ask("collection both " + " ".join(guest.path for guest in guests))
    for guest in guests:
        guest.start()
    # The first one that is there waits for the other.
    for guest in guests:
        guest.guest.count_to(4)
        guest.monitor.command("stop")
    for guest in guests:
        guest.monitor.command("cont")
    taken = host.call(f"create-collection {both} {STANDARD}")
    counted = [guest.counted for guest in guests]
    further = [guest.guest.count_to(guest.counted + 6) for guest in guests]
    host.call(f"apply-collection {taken}")
    for guest, then, last in zip(guests, counted, further):
        expect_goes_on(guest, then, last)
    host.call(f"destroy-collection {taken}")
    return guests


def main():
    kernel = find_kernel()
    missing = lacking(QEMU, "mke2fs", "e2fsck", "qemu-img")
    if kernel is None or missing:
        return cannot_run(missing)
    for story in (one_disk, two_disks, collection_of_two):
        print(f"-- {story.__name__.replace('_', ' ')}", flush=True)
        with tempfile.TemporaryDirectory(prefix="varve-guest-", dir="/var/tmp") as folder:
            host = Host(sys.argv[2])
            try:
                guests = story(host, Bench(sys.argv[1], kernel, folder))
                host.end()
                for guest in guests:
                    guest.bench.check(guest)
            finally:
                for guest in host.guests.values():
                    guest.kill()
                host.kill()
    return 0


if __name__ == "__main__":
    sys.exit(main())
