#!/usr/bin/env python3
"""Whoever looks at a hostile image pays 64 MiB and a second of one core at most.

Goal: info, check and audit end on images made to be expensive, with an answer or with exit code 1
and the name of the budget that is exhausted; names in images cannot speak to a terminal; no other
file is opened. Method: images of a few real bytes (hostile_images.py), each looked at in every
way; with --measure the resident memory and CPU time of each process count, which is a limit the
tool promises and no measurement of speed: the budgets stop at half of it. Without, only the small
ones are looked at.

Usage: hostile_test.py VARVE [--measure] [CASE...]
"""

import os
import sys
import tempfile

import hostile_images

RESIDENT_KIB_MAX = 64 * 1024
CPU_SECONDS_MAX = 1.0
VERBS = (["info"], ["info", "--untrusted"], ["check"], ["audit"])
# And of some cases.
MORE_VERBS = {
    "backing": (["info", "--backing-chain"], ["check", "--untrusted"]),
    "snapshots": (["info", "--output=json"],),
    "bitmaps": (["info", "--output=json"],),
    "far": (["audit", "--json"],),
}
# What is worth a look under sanitizers.
SMALL = ("zstd_window", "far_beyond_end", "snapshots_large_l1", "backing_loop", "backing_mutual",
         "backing_links", "size_2_62")
# What has to be refused, and in which words; everything else may be answered as well.
REFUSED = {
    ("maximal_everything", "info"): "budget of memory",
    ("snapshots_extra", "info"): "budget of memory",
    ("sparse_15_tib", "audit"): "budget of steps",
    ("maximal_everything", "audit"): "budget of memory",
    ("backing_loop", "info --backing-chain"): "infinite loop",
    ("backing_mutual", "info --backing-chain"): "infinite loop",
    ("backing_links", "info --backing-chain"): "infinite loop",
    ("backing_loop", "check --untrusted"): "names a backing file",
    ("snapshots", "info --output=json"): "budget of memory",
    ("one_l2_small", "info --untrusted"): "two entries of the L1 table",
    ("size_2_62", "info"): "L1 table beyond 32 MiB",
}


class Run:
    """One process: its exit code, output, peak of memory in KiB and CPU seconds."""

    def __init__(self, arguments, folder):
        with open(os.path.join(folder, "output"), "w+b") as output:
            actions = [(os.POSIX_SPAWN_DUP2, output.fileno(), fd) for fd in (1, 2)]
            pid = os.posix_spawn(arguments[0], arguments, os.environ, file_actions=actions)
            _, status, usage = os.wait4(pid, 0)
            output.seek(0)
            self.output = output.read()
        self.code = os.waitstatus_to_exitcode(status)
        self.resident_kib = usage.ru_maxrss
        self.cpu_seconds = usage.ru_utime + usage.ru_stime


def make_apart(make, path):
    """In a process of its own: a child's peak of memory begins with its parent's."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            make(path)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert status == 0, f"{path} cannot be made"


class Judge:
    def __init__(self, varve, measure):
        self.varve, self.measure, self.failures = varve, measure, 0
        self.worst = [(0, ""), (0.0, "")]

    def fail(self, what, run):
        self.failures += 1
        print(f"FAILED {what}: exit {run.code}, {run.resident_kib} KiB, {run.cpu_seconds:.2f} s\n"
              f"{run.output[-500:].decode(errors='replace')}")

    def look(self, case, verb, path):
        run = Run([self.varve, *verb, path], os.path.dirname(path))
        what = f"{case}: {' '.join(verb)}"
        self.worst = [max(self.worst[0], (run.resident_kib, what)),
                      max(self.worst[1], (run.cpu_seconds, what))]
        if run.code not in (0, 1, 2, 3) or (run.code == 1 and b": " not in run.output):
            self.fail(what, run)
        wanted = REFUSED.get((case, " ".join(verb)))
        if wanted and (run.code != 1 or wanted.encode() not in run.output):
            self.fail(f"{what} does not say '{wanted}'", run)
        too_much = run.resident_kib > RESIDENT_KIB_MAX or run.cpu_seconds > CPU_SECONDS_MAX
        if self.measure and too_much:
            self.fail(f"{what} costs too much", run)

    def expect(self, what, run, code, word):
        if run.code != code or word not in run.output:
            self.fail(f"{what}: wanted exit {code} and {word}", run)


def names_are_harmless(judge, folder):
    path = os.path.join(folder, "names.qcow2")
    image = hostile_images.Maker(path)
    image.backing = b"\x1b]0;owned\x07\nbacking\xe2\x80\xae"
    image.extensions.append((0xe2792aca, b"raw\x9b"))
    image.snapshots, image.snapshot_offset = 1, 8 << 16
    image.put(image.snapshot_offset, hostile_images.snapshot_entry(
        1, 12 << 16, 2, image.size, b"\x1b[2Jname\r"))
    image.finish()
    run = Run([judge.varve, "info", path], folder)
    judge.expect("escaped names", run, 0, rb"\x1b]0;owned\x07\x0abacking\xe2\x80\xae")
    judge.expect("escaped names", run, 0, rb"\x1b[2Jname\x0d")
    lines = run.output.replace(b"\n", b"")
    if any(byte < 0x20 or byte == 0x7f for byte in lines):
        judge.fail("control characters", run)
    # What it names does not exist, and is not looked for.
    run = Run([judge.varve, "check", path], folder)
    judge.expect("check without the backing file", run, 2, b"errors were found on the image")
    run = Run([judge.varve, "audit", path], folder)
    judge.expect("audit", run, 2, rb"odd_characters '\x1b]0;owned\x07\x0abacking\xe2\x80\xae'")
    if any(byte < 0x20 or byte == 0x7f for byte in run.output.replace(b"\n", b"")):
        judge.fail("control characters in an audit", run)


def main(varve, *others):
    judge = Judge(varve, "--measure" in others)
    chosen = [case for case in others if case in hostile_images.CASES] or (
        hostile_images.CASES if judge.measure else SMALL)
    for case in chosen:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "image.qcow2")
            make_apart(hostile_images.CASES[case], path)
            for verb in VERBS + MORE_VERBS.get(case.split("_")[0], ()):
                judge.look(case, verb, path)
    with tempfile.TemporaryDirectory() as folder:
        names_are_harmless(judge, folder)
    (kib, largest), (seconds, slowest) = judge.worst
    print(f"at most {kib} KiB resident ({largest}) and {seconds:.2f} s of CPU ({slowest})")
    return 1 if judge.failures else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
