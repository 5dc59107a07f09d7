#!/usr/bin/env python3
"""Line and branch coverage of lib/, by floor, and every branch of lib/meta and lib/image that no
test takes and unreached.txt does not explain.

Usage: report.py EXPORT ROOT [--list]
EXPORT is what `llvm-cov export -format=text` wrote. Lines of unreached.txt:
FILE | the line of code, without spaces around it | true or false | why it cannot be taken
A line that begins with spaces goes on with the one before.

What counts as no branch, because nothing can take it or nothing is decided there:
 - one that ends an assertion, and the labels of a switch that lead to one;
 - conditions the compiler knows: `while (true)`, and is_broken(), which only builds with mutations
   ask (base/mutation.h). llvm shows both of their sides as never taken;
 - what llvm shows for `switch (...)` itself, the default that is not written: warnings are errors,
   so every value of the enumeration has a label.
--list prints the unexplained ones in the form of unreached.txt.
"""

import json
import re
import sys
from collections import defaultdict
from pathlib import Path

EXPLAINED_FLOORS = ("meta", "image")
ASSERTIONS = ("VARVE_ASSERT", "VARVE_UNREACHABLE")
KNOWN_CONDITION = re.compile(r"(?:true|!?is_broken\(Rule::\w+\))$")


class Branches:
    """How often each side of each condition of one file was taken, over all its instances."""

    def __init__(self, lines):
        self.lines = lines
        self.taken = defaultdict(lambda: [0, 0])

    def add(self, place, counts):
        for side in (0, 1):
            self.taken[place][side] += counts[side]

    def line(self, number):
        return self.lines[number - 1].strip()

    def is_decided_nowhere(self, place):
        """Whether the condition at this place is none of the program's own."""
        number, column, end, end_column = place
        code = self.lines[number - 1]
        if KNOWN_CONDITION.match(code[column - 1:end_column - 1] if number == end else ""):
            return True
        if code.lstrip().startswith("switch (") and not code[column - 1:].startswith("case "):
            return True
        while self.line(number).startswith("case ") and self.line(number).endswith(":"):
            number += 1
        # Labels that leave a switch whose others return, behind which there is an assertion.
        if self.line(number) == "break;" and self.line(number + 1) == "}":
            number += 2
        return number != place[0] and self.line(number).startswith(ASSERTIONS)

    def is_assertion(self, number):
        """Whether an assertion begins at this line or reaches it."""
        for at in range(number, max(number - 4, 0), -1):
            code = self.line(at)
            if code.startswith(ASSERTIONS) or (at == number and " VARVE_ASSERT(" in code):
                return True
            if at < number and code.endswith((";", "{", "}")):
                return False
        return False

    def sides(self):
        """(line, "true" or "false", whether it was taken)."""
        for place, (yes, no) in sorted(self.taken.items()):
            number = place[0]
            if not self.is_assertion(number) and not self.is_decided_nowhere(place):
                yield number, "true", yes != 0
                yield number, "false", no != 0


def read_branches(file, lines):
    branches = Branches(lines)
    for branch in file["branches"]:
        branches.add(tuple(branch[:4]), branch[4:6])
    for expansion in file["expansions"]:
        line, column = expansion["source_region"][:2]
        for branch in expansion["branches"]:
            branches.add((line, column, branch[0], branch[1]), branch[4:6])
    return branches


def read_explanations(path):
    lines = []
    for line in path.read_text().splitlines():
        if line.startswith(" "):
            lines[-1] += " " + line.strip()
        elif line and not line.startswith("#"):
            lines.append(line)
    explained = set()
    for line in lines:
        parts = [part.strip() for part in line.rsplit(" | ", 2)]
        name, code = (part.strip() for part in parts[0].split(" | ", 1))
        explained.add((name, code, parts[1]))
    return explained


def percent(covered, count):
    return f"{covered} of {count} ({100 * covered / count:.1f} %)" if count else "–"


def main():
    export = json.loads(Path(sys.argv[1]).read_text())
    root = Path(sys.argv[2]).resolve()
    explained = read_explanations(Path(__file__).with_name("unreached.txt"))
    floors = defaultdict(lambda: [0, 0, 0, 0])
    missing, used = [], set()
    for file in export["data"][0]["files"]:
        path = Path(file["filename"])
        if not path.is_relative_to(root / "lib"):
            continue
        name = str(path.relative_to(root))
        floor = name.split("/")[1]
        branches = read_branches(file, path.read_text().splitlines())
        totals = floors[floor]
        totals[0] += file["summary"]["lines"]["covered"]
        totals[1] += file["summary"]["lines"]["count"]
        for number, side, is_taken in branches.sides():
            totals[3] += 1
            totals[2] += is_taken
            key = name, branches.line(number), side
            if key in explained:
                used.add(key) if not is_taken else None
            elif not is_taken and floor in EXPLAINED_FLOORS:
                missing.append((name, number, key[1], side))
    print("| floor | lines | branches |\n|---|---|---|")
    for floor, (lines, all_lines, taken, all_sides) in sorted(floors.items()):
        print(f"| {floor} | {percent(lines, all_lines)} | {percent(taken, all_sides)} |")
    sums = [sum(column) for column in zip(*floors.values())]
    print(f"| all | {percent(sums[0], sums[1])} | {percent(sums[2], sums[3])} |")
    for name, number, code, side in missing:
        print(f"{name} | {code} | {side} | " if "--list" in sys.argv
              else f"{name}:{number}: never {side}: {code}")
    for name, code, side in sorted(explained - used):
        print(f"unreached.txt: taken, or gone: {name}: {code} ({side})")
    print(f"{len(missing)} branches of {' and '.join(EXPLAINED_FLOORS)} are not explained, "
          f"{len(used)} are")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
