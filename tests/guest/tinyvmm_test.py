"""Goal: the hypervisor of docs/examples/tinyvmm tells its story. Method: it is run on /dev/kvm, or,
where there is none, inside a Linux guest: QEMU's TCG emulates AMD's virtualization.

Usage: tinyvmm_test.py TINYVMM
"""

import os
import re
import subprocess
import sys
import tempfile

from linux_guest import Initramfs, find_kernel, qemu_arguments
from steps import cannot_run


def run_here(program, folder):
    done = subprocess.run([program, os.path.join(folder, "disk.qcow2")], check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    return done.stdout + f"exit code {done.returncode}\n"


def run_in_guest(program, folder, kernel):
    initramfs = Initramfs(kernel)
    initramfs.add_program("bin/tinyvmm", program)
    initramfs.add_modules("drivers/crypto/ccp/ccp.ko",
                          "virt/lib/irqbypass.ko", "arch/x86/kvm/kvm.ko",
                          "arch/x86/kvm/kvm-amd.ko")
    path = os.path.join(folder, "initramfs")
    initramfs.write(path, "tinyvmm /tmp/disk.qcow2; echo exit code $?")
    done = subprocess.run(qemu_arguments(kernel, path, "-cpu", "EPYC,+svm"), check=False,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, timeout=300)
    return done.stdout.decode(errors="replace").replace("\r", "")


def check_story(text):
    """The program compares RAM and disk itself; this reads what it says of it."""
    print(text, end="")
    counts = re.findall(r"^(\S.*?) +RAM counts (\d+)", text, re.M)
    seen = {when: int(count) for when, count in counts}
    taken = re.search(r"^snapshot +at (\d+); the guest stood still for (\d+) us", text, re.M)
    holds = ("exit code 0\n" in text and taken is not None and
             list(seen) == ["running", "further on", "back", "and on again"] and
             1000 <= seen["running"] <= int(taken[1]) == seen["back"] and
             seen["back"] + 1000 <= seen["further on"] and
             seen["back"] + 500 <= seen["and on again"] < seen["further on"])
    return 0 if holds else 1


def main():
    program = sys.argv[1]
    with tempfile.TemporaryDirectory(prefix="varve-tinyvmm-", dir="/var/tmp") as folder:
        if os.access("/dev/kvm", os.R_OK | os.W_OK):
            return check_story(run_here(program, folder))
        kernel = find_kernel()
        if kernel is None:
            return cannot_run(["/dev/kvm"])
        return check_story(run_in_guest(program, folder, kernel))


if __name__ == "__main__":
    sys.exit(main())
