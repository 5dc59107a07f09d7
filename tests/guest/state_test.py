"""Goal: the states of Varve's full snapshots are QEMU's states. Method: a guest that counts in RAM
is saved by QEMU into a stream, the stream stored by Varve and restored by QEMU, and the reverse;
the count must go on where it stood.

Usage: state_test.py VARVE
"""

import json
import os
import sys
import tempfile

from machine import QEMU, Machine, boot_sector
from steps import bytes_of, cannot_run, expect, lacking, run
from vm_state import read_vm_state


class Story:
    def __init__(self, varve, folder):
        self.varve = varve
        self.disk = os.path.join(folder, "disk.qcow2")
        self.state = os.path.join(folder, "state")
        raw = os.path.join(folder, "boot.raw")
        with open(raw, "wb") as file:
            file.write(boot_sector().ljust(1 << 20, b"\0"))
        run(varve, "convert", "-f", "raw", "-O", "qcow2", raw, self.disk)

    def with_machine(self, use, loadvm=None):
        machine = Machine(self.disk, loadvm)
        try:
            return use(machine)
        finally:
            machine.kill()

    def expect_goes_on(self, name, stopped_at):
        first = self.with_machine(lambda machine: machine.next_count(), name)
        print(f"{name}: stopped at {stopped_at}, goes on at {first}")
        expect(stopped_at <= first <= stopped_at + 2,
               f"after -loadvm {name} the guest counts {first}, not on from {stopped_at}")

    def store(self, name):
        run(self.varve, "snapshot", "create", self.disk, "--name", name, "--full", "--state",
            self.state)

    def saved_by_migration(self):
        """QEMU's own stream, kept by Varve, comes back to life by -loadvm."""
        def save(machine):
            for _ in range(20):
                last = machine.next_count()
            machine.save_state(self.state)
            return machine.quit() or last
        stopped_at = self.with_machine(save)
        self.store("migrated")
        with open(self.state, "rb") as file:
            blob = file.read()
        expect(bytes_of(self.varve, "snapshot", "read-state", self.disk, "migrated") == blob,
               "Varve does not give back the stream it was given")
        expect(read_vm_state(self.disk, "migrated") == blob,
               "the stream does not stand where the specification puts it")
        self.expect_goes_on("migrated", stopped_at)

    def saved_by_qemu(self):
        """What QEMU's savevm wrote is read by Varve byte for byte, and lives on in a copy."""
        def save(machine):
            for _ in range(20):
                last = machine.next_count()
            machine.command("stop")
            machine.monitor("savevm saved")
            return machine.quit() or last
        stopped_at = self.with_machine(save, "migrated")
        blob = bytes_of(self.varve, "snapshot", "read-state", self.disk, "saved")
        expect(blob[:4] == b"QEVM", "the state of savevm does not begin with QEVM")
        expect(blob == read_vm_state(self.disk, "saved"), "the state of savevm is read wrongly")
        listed = {snapshot["name"]: snapshot for snapshot in json.loads(
            run(self.varve, "snapshot", "list", self.disk, "--json"))}
        expect(listed["saved"]["vm-state-size"] == len(blob), "the size of the state is wrong")
        with open(self.state, "wb") as file:
            file.write(blob)
        self.store("copied")
        self.expect_goes_on("copied", stopped_at)
        self.expect_goes_on("saved", stopped_at)

    def ends_clean(self):
        for name in ("saved", "copied", "migrated"):
            run(self.varve, "check", self.disk)
            run(self.varve, "snapshot", "delete", self.disk, name)
        run(self.varve, "check", self.disk)
        if not lacking("qemu-img"):
            run("qemu-img", "check", self.disk)


def main():
    if missing := lacking(QEMU):
        return cannot_run(missing)
    with tempfile.TemporaryDirectory(prefix="varve-guest-", dir="/var/tmp") as folder:
        story = Story(sys.argv[1], folder)
        story.saved_by_migration()
        story.saved_by_qemu()
        story.ends_clean()
    return 0


if __name__ == "__main__":
    sys.exit(main())
