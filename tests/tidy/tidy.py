#!/usr/bin/env python3
"""Keeps the project's rules: prints `file:line: rule: message` per finding, fails on any.

Usage: tidy.py [--root FOLDER] [--build FOLDER] [--cache FOLDER] [PART...]
Parts: text (the default), format, headers, pages, clang-tidy. A line that must break a rule
says so: `// tidy: allow RULE: reason`.
"""

import argparse
import sys
from pathlib import Path

import compilers
import text_checks
from source_tree import SourceTree


def find_all(tree, parts, build=None, cache_folder=None):
    """All findings of the parts as sorted (file, line, rule, message)."""
    findings = set()
    for part in parts:
        if part == "text":
            for check in text_checks.CHECKS:
                findings.update(check(tree))
        else:
            cache = compilers.Cache(cache_folder)
            findings.update(compilers.CHECKS[part](tree, build, cache))
    return sorted(f for f in findings if not is_allowed(tree, f))


def is_allowed(tree, finding):
    name, line, rule, _ = finding
    return name in tree.names and tree.file(name).allows(line, rule)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default=Path(__file__).resolve().parents[2])
    parser.add_argument("--build", help="build folder with compile_commands.json")
    parser.add_argument("--cache", help="folder that remembers what passed")
    parser.add_argument("parts", nargs="*", default=["text"])
    options = parser.parse_args()
    unknown = set(options.parts) - {"text", *compilers.CHECKS}
    if unknown:
        parser.error(f"unknown part: {', '.join(sorted(unknown))}")

    tree = SourceTree(options.root)
    findings = find_all(tree, options.parts, options.build, options.cache)
    for name, line, rule, message in findings:
        print(f"{name}:{line}: {rule}: {message}")
    print(f"tidy ({', '.join(options.parts)}): {len(tree.names)} files, {len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
