"""Goal: a running guest on a served disk is snapshotted, changed and brought back, RAM included.
Method: a Linux guest counts in RAM, and each number becomes a file that is durable before it is
told; its disk is served over NBD and controlled by `varve ctl`. RAM is QEMU's own stream, saved
while the guest is stopped for a moment. What it finds on its disk it compares itself.

Usage: live_test.py VARVE PLUGIN
"""

import json
import os
import sys
import tempfile

from linux_guest import CountingGuest, GuestDisk, counting_init, find_kernel, qemu_arguments
from machine import QEMU, Monitor
from server import Server
from steps import cannot_run, expect, lacking, run


class Story(GuestDisk):
    def __init__(self, varve, plugin, kernel, folder):
        super().__init__(varve, kernel, folder, counting_init(), 32)
        self.state = os.path.join(folder, "state")
        self.control = os.path.join(folder, "control")
        self.server = Server(plugin, folder, f"file={self.disk}", f"control={self.control}")

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

    # Stopped before its RAM is saved: saved while it ran, under QEMU 7.2's TCG, the guest once came
    # back to a panic in its own block layer.
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
    story.guest.count_to(found + 4)
    counts = story.guest.end()
    expect(counts == list(range(found + 1, counts[-1] + 1)), counts)
    print(f"started from the disk snapshot: {found} files found, the file system whole")
    story.ctl("list")


def check(story):
    story.server.stop()
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
        story = Story(*sys.argv[1:3], kernel, folder)
        try:
            tell(story)
            check(story)
        finally:
            story.server.kill()
    return 0


if __name__ == "__main__":
    sys.exit(main())
