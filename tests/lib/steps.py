"""What tests in Python share: commands that must succeed, claims that must hold, programs that must
be there. tests/lib is in their PYTHONPATH."""

import os
import shutil
import subprocess

SKIPPED = 77


def run(*arguments, expect=0, **more):
    """A command's output, both streams; it ends with exit code `expect`."""
    done = subprocess.run(arguments, check=False, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace",
                          timeout=120, **more)
    if done.returncode != expect:
        raise SystemExit(f"{' '.join(arguments)}: exit code {done.returncode}\n{done.stdout}")
    return done.stdout


def bytes_of(*arguments):
    """A command's standard output as it is; it must succeed."""
    done = subprocess.run(arguments, check=False, capture_output=True, timeout=120)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(arguments)}: exit code {done.returncode}\n"
                         + done.stderr.decode(errors="replace"))
    return done.stdout


def expect(holds, what):
    if not holds:
        raise SystemExit(f"wrong: {what}")


def lacking(*programs):
    """Those that are not here."""
    return [name for name in programs if shutil.which(name) is None]


def cannot_run(missing):
    """The exit code of a test that misses something, after saying what."""
    print("missing:", " ".join(missing))
    return 1 if os.environ.get("VARVE_REQUIRE") else SKIPPED
