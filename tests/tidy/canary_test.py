#!/usr/bin/env python3
"""Runs tidy on the broken tree in canary/, where every rule has to fire, and only there.

canary/expected.txt lists `file:line: rule`. `canary_test.py --print` prints what is found.
"""

import json
import sys
import tempfile
from pathlib import Path

import compilers
import rules
import tidy
from source_tree import SourceTree

CANARY = Path(__file__).resolve().parent / "canary"
OTHER_RULES = {"floors", "third-party", "columns", "unfinished", "test-registered",
               "function-length", "markdown-title", "markdown-link", "foreign-path", "format",
               "header-alone", "clang-tidy", "page-code", "markdown-path",
               "api-page", "page-copy", "history"}


def find_in_canary():
    tree = SourceTree(CANARY, skip=())
    with tempfile.TemporaryDirectory() as build:
        source = str(CANARY / "lib/io/unclean.cc")
        entry = {"directory": build, "file": source, "command": f"c++ -std=c++20 -c {source}"}
        (Path(build) / "compile_commands.json").write_text(json.dumps([entry]))
        found = tidy.find_all(tree, ["text", *compilers.CHECKS], build, None)
    return {f"{name}:{line}: {rule}" for name, line, rule, _ in found}


def main():
    found = find_in_canary()
    if "--print" in sys.argv:
        print("\n".join(sorted(found)))
        return 0
    expected = set((CANARY / "expected.txt").read_text().splitlines())
    for line in sorted(expected - found):
        print(f"tidy is blind to {line}")
    for line in sorted(found - expected):
        print(f"tidy sees what is not there: {line}")
    fired = {line.rsplit(" ", 1)[1] for line in found}
    silent = (OTHER_RULES | {rule[0] for rule in rules.BANNED}) - fired
    for rule in sorted(silent):
        print(f"no canary for rule {rule}")
    print(f"tidy canary: {len(found)} findings, {len(expected)} expected")
    return 1 if found != expected or silent else 0


if __name__ == "__main__":
    sys.exit(main())
