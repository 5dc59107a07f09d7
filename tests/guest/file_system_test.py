"""Goal: a guest's file system survives what Varve does to its disk. Method: a Linux guest boots
from the image before and after a snapshot is created, applied and deleted; each time it checks
every file it ever finished writing and writes more, now and then losing its power in between; the
file system must be clean each time, as the guest and e2fsck see it.

Usage: file_system_test.py VARVE
"""

import sys
import tempfile

from linux_guest import GuestDisk, LinuxGuest, find_kernel, qemu_arguments
from machine import QEMU
from steps import cannot_run, expect, lacking, run

# The guest's life: what the files of earlier boots hold, then some more files, told one by one when
# they are durable. A file is right when it has the sum its name was given with.
GUEST_INIT = """boot=$(cat /proc/cmdline); boot=${boot##*boot=}; boot=${boot%% *}
for sum in /data/*.sum; do
  [ -e "$sum" ] || continue
  (cd /data && md5sum -c -s "$sum") && echo "guest: has ${sum##*/}" || echo "guest: lost ${sum##*/}"
done
for number in 1 2 3 4 5 6; do
  name=$boot.$number
  dd if=/dev/urandom of=/data/new bs=4096 count=$((number * 37)) 2>/dev/null
  mv /data/new /data/$name
  (cd /data && md5sum $name >$name.new)
  sync
  mv /data/$name.new /data/$name.sum
  [ $number = 3 ] && rm /data/$boot.1.sum /data/$boot.1
  sync
  echo "guest: wrote $name.sum"
done
"""
KEPT = {f"{number}.sum" for number in range(2, 7)}


class Story(GuestDisk):
    def __init__(self, varve, kernel, folder):
        super().__init__(varve, kernel, folder, GUEST_INIT, 64)

    def boot(self, number, before, power_lost=False):
        """One life of the guest, which must find the files `before`; the files it leaves."""
        guest = LinuxGuest(qemu_arguments(
            self.kernel, self.initramfs, "-drive", f"file={self.disk},format=qcow2,if=virtio",
            words=f"boot={number}"))
        try:
            if power_lost:
                guest.wait_for(f"guest: wrote {number}.4.sum")
                guest.kill()
            else:
                errors = guest.wait_for("guest: errors")
                guest.wait_for_end()
                expect(errors == "0", f"boot {number} counts {errors} errors of its file system")
        finally:
            guest.kill()
        has = {line.split()[-1] for line in guest.lines if line.startswith("guest: has")}
        lost = [line for line in guest.lines if line.startswith("guest: lost")]
        expect(has == before and not lost,
               f"boot {number} should find {sorted(before)}, found {sorted(has)}, {lost}")
        print(f"boot {number}: {len(has)} files right"
              + (", power lost after the 4th" if power_lost else ", clean end"))
        wrote = {f"{number}.{rest}" for rest in KEPT}
        return has | ({name for name in wrote if name < f"{number}.5"} if power_lost else wrote)

    def check(self, what):
        """The image holds together and the file system in it is clean (after its journal)."""
        run(self.varve, "check", self.disk)
        self.check_file_system(what, self.disk)

    def snapshot(self, action, name):
        arguments = ["--name", name] if action == "create" else [name]
        run(self.varve, "snapshot", action, self.disk, *arguments)
        self.check(f"snapshot {action} {name}")
        print(f"snapshot {action} {name}: image and file system clean")


def main():
    kernel = find_kernel()
    missing = lacking(QEMU, "mke2fs", "e2fsck")
    if kernel is None or missing:
        return cannot_run(missing)
    with tempfile.TemporaryDirectory(prefix="varve-guest-", dir="/var/tmp") as folder:
        story = Story(sys.argv[1], kernel, folder)
        first = story.boot(1, set())
        story.snapshot("create", "first")
        second = story.boot(2, first, power_lost=True)
        story.snapshot("create", "second")
        story.snapshot("apply", "first")
        story.boot(3, first, power_lost=True)
        story.snapshot("apply", "second")
        story.snapshot("delete", "first")
        story.boot(4, second)
        story.snapshot("delete", "second")
        story.check("the end")
    return 0


if __name__ == "__main__":
    sys.exit(main())
