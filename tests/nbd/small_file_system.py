"""File systems that are soon full."""

import contextlib
import os
import subprocess

from steps import expect, run


@contextlib.contextmanager
def small_file_system(folder, kind, megabytes=12):
    """A mounted tmpfs or ext4 of so many MiB, or None where nothing can be mounted."""
    mount = os.path.join(folder, "small")
    os.makedirs(mount, exist_ok=True)
    if kind == "tmpfs":
        arguments = ["-t", "tmpfs", "-o", f"size={megabytes}M", "none"]
    else:
        device = os.path.join(folder, "small.ext4")
        with open(device, "wb") as file:
            file.truncate((megabytes + 4) << 20)
        run("mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", device)
        arguments = ["-o", "loop", device]
    done = subprocess.run(["mount", *arguments, mount], check=False, stderr=subprocess.PIPE)
    if done.returncode != 0:
        print(f"nothing can be mounted here: {done.stderr.decode()}", end="")
        expect("VARVE_REQUIRE_MACHINE" not in os.environ, "a file system has to be mounted")
        yield None
        return
    try:
        yield mount
    finally:
        run("umount", mount)
