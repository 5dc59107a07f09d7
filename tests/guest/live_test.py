"""Goal: a running guest on a served disk is snapshotted, changed and brought back, RAM included;
one whose server is killed finds what it had flushed; one whose disk finds no more space stands
still until there is some. Method: a Linux guest counts in RAM, and each number becomes files that
are durable before it is told; its disk is served over NBD and controlled by `varve ctl`. RAM is
QEMU's own stream, saved while the guest stands still. What it finds on its disk it compares itself.

Usage: live_test.py VARVE PLUGIN
"""

import json
import os
import sys
import tempfile

from linux_guest import CountingGuest, GuestDisk, counting_init, find_kernel, qemu_arguments
from machine import QEMU, Monitor
from server import Server
from small_file_system import small_file_system
from steps import cannot_run, expect, lacking, run


class Story(GuestDisk):
    def __init__(self, varve, plugin, kernel, folder, init):
        super().__init__(varve, kernel, folder, init, 32)
        self.state = os.path.join(folder, "state")
        self.control = os.path.join(folder, "control")
        self.plugin = plugin
        self.guest = None
        self.serve()

    def serve(self):
        self.server = Server(self.plugin, self.folder, f"file={self.disk}",
                             f"control={self.control}")

    def end(self):
        if self.guest is not None:
            self.guest.kill()
            self.monitor.close()
        self.server.kill()

    def boot(self, *more):
        self.monitor = Monitor(os.path.join(self.folder, "qmp"))
        self.guest = CountingGuest(qemu_arguments(
            self.kernel, self.initramfs, *self.monitor.arguments, "-drive",
            f"file={self.server.uri},format=raw,if=virtio,discard=unmap", *more))
        self.monitor.accept()

    def ctl(self, *arguments):
        said = run(self.varve, "ctl", self.control, *arguments)
        print(f"  varve ctl {' '.join(arguments)}: {said}", end="")

    def power_off(self):
        """What a killed client has sent may still be carried out: the disk is left alone first."""
        self.guest.kill()
        while json.loads(run(self.varve, "ctl", self.control, "status", "--json"))["clients"]:
            pass


def tell(story):
    story.boot()
    story.guest.count_to(4)
    on_disk = story.guest.count_to(5)
    story.ctl("create", "disk only")
    print(f"disk snapshot of the running guest at {on_disk} or a little later")

    # Stopped before its RAM is saved: a guest whose RAM is streamed while it runs under TCG now and
    # then comes back to a panic, on a raw file of QEMU's own too (docs/NBD.md).
    story.monitor.command("stop")
    counted = story.guest.last_count()
    story.monitor.save_state(story.state)
    story.ctl("create", "with its RAM")
    story.monitor.command("cont")
    print(f"full snapshot at {counted}; the guest goes on")

    story.guest.count_to(counted + 6)
    story.ctl("create", "for a moment")
    story.ctl("delete", "for a moment")
    further = story.guest.count_to(counted + 8)
    story.power_off()
    story.ctl("apply", "with its RAM")
    story.boot("-incoming", "defer")
    story.monitor.load_state(story.state)
    story.monitor.command("cont")
    story.guest.count_to(counted + 6)
    counts = story.guest.end()
    # A line that was half printed then ends in the old machine.
    expect(counted + 1 <= counts[0] <= counted + 2 < further,
           f"the guest counts {counts[0]} after {counted}")
    expect(counts == list(range(counts[0], counts[-1] + 1)), counts)
    print(f"brought back from {further}: the guest counts on at {counts[0]}, to {counts[-1]}, "
          "its files and its file system whole")

    story.ctl("apply", "disk only")
    story.boot()
    found = int(story.guest.wait_for("guest: found"))
    expect(on_disk <= found <= counted, f"{found} files where {on_disk} were durable")
    print(f"started from the disk snapshot: {found} files found, all whole")

    durable = story.guest.count_to(found + 4)
    story.server.kill()
    story.guest.kill()
    story.serve()
    story.boot()
    found = int(story.guest.wait_for("guest: found"))
    expect(found >= durable, f"{found} files where {durable} were flushed before the kill")
    counts = story.guest.end()
    expect(counts == list(range(found + 1, found + 1 + len(counts))), counts)
    print(f"server killed at {durable} or later, and started again: {found} files found, all whole")
    story.ctl("list")


# Writes more than there is room for; what it reads again comes from the disk.
FILLING_INIT = """echo "guest: writes"
yes "what does not fit" | head -c 12000000 >/data/big
sync
echo 3 >/proc/sys/vm/drop_caches
[ "$(yes "what does not fit" | head -c 12000000 | md5sum)" = "$(md5sum </data/big)" ] &&
  echo "guest: whole"
"""


def full_disk(varve, plugin, kernel, folder):
    """QEMU stops a guest whose disk says ENOSPC, and repeats the request when it goes on."""
    with small_file_system(folder, "tmpfs", 28) as mount:
        if mount is None:
            return
        story = Story(varve, plugin, kernel, mount, FILLING_INIT)
        try:
            os.unlink(story.raw)
            story.raw = os.path.join(folder, "disk.raw")
            free = os.statvfs(mount)
            ballast = os.path.join(mount, "ballast")
            with open(ballast, "wb") as file:
                file.write(bytes(free.f_bfree * free.f_bsize - (4 << 20)))
            story.boot()
            story.guest.wait_for("guest: writes")
            while not (event := story.monitor.read_message()).get("event") == "BLOCK_IO_ERROR":
                pass
            expect(event["data"]["nospace"] and event["data"]["action"] == "stop", event)
            expect(story.monitor.command("query-status")["status"] == "io-error", "the guest runs")
            print(f"the disk is full: the guest stands still ({event['data']['reason']})")
            os.unlink(ballast)
            story.monitor.command("cont")
            story.guest.wait_for("guest: whole")
            story.guest.end()
            print("there is space again: the guest went on, its file and its file system whole")
            check(story)
        finally:
            story.end()


def check(story):
    story.server.stop()
    # What was in flight when the server was killed may have left clusters that nobody uses.
    run(story.varve, "check", "-r", "leaks", story.disk)
    run(story.varve, "check", story.disk)
    run("qemu-img", "check", story.disk)
    run(story.varve, "convert", "-O", "raw", story.disk, story.raw)
    run("e2fsck", "-f", "-n", story.raw)


def main():
    kernel = find_kernel()
    missing = lacking(QEMU, "nbdkit", "mke2fs", "e2fsck")
    if kernel is None or missing:
        return cannot_run(missing)
    with tempfile.TemporaryDirectory(prefix="varve-guest-", dir="/var/tmp") as folder:
        story = Story(*sys.argv[1:3], kernel, folder, counting_init())
        try:
            tell(story)
            check(story)
        finally:
            story.end()
        full_disk(*sys.argv[1:3], kernel, folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
