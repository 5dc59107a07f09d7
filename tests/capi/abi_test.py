#!/usr/bin/env python3
"""The C interface does not change under those who use it.

Goal: a function that disappears, a struct or constant that changes, a function that moves to
another version node is found. Method: the headers are read, a program made from them prints what
the compiler makes of every struct and constant, the library is asked for its symbols, and all is
compared with the node's list, line by line. The C program must use every function.

Usage: abi_test.py NODE LIBRARY C_PROGRAM COMPILER [--update]
"""

import difflib
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
INCLUDE = HERE.parents[1] / "include"
# Of each version node: the list, the header a program includes, and whether a header is of it.
NODES = {"VARVE_0": ("abi.list", "varve/varve.h", lambda name: name != "service.h"),
         "VARVE_SERVICE_0": ("abi_service.list", "varve/c/service.h",
                             lambda name: name == "service.h")}


def header_text(is_of_node):
    text = "\n".join(p.read_text() for p in sorted((INCLUDE / "varve/c").glob("*.h"))
                     if is_of_node(p.name))
    return re.sub(r"//[^\n]*", "", text)


def functions(text):
    for match in re.finditer(r"VARVE_API\s+([^;{]*?\b(varve_\w+)\s*\(.*?\))\s*;", text, re.S):
        yield match.group(2), re.sub(r"\s+", " ", match.group(1))


def callback_types(text):
    for match in re.finditer(r"typedef\s+([^;{]*?\(\*(varve_\w+)\)\s*\(.*?\))\s*;", text, re.S):
        yield f"type {re.sub(r'[ ]+', ' ', match.group(1).replace(chr(10), ' '))}"


def structs(text):
    """(name, fields in order)"""
    for match in re.finditer(r"typedef struct (varve_\w+) \{(.*?)\n\} \1;", text, re.S):
        fields = []
        for declaration in match.group(2).split(";"):
            found = (re.search(r"\(\*\s*(\w+)\)\s*\(", declaration)
                     or re.search(r"(\w+)\s*(?:\[\w+\])?\s*$", declaration.strip()))
            if found:
                fields.append(found.group(1))
        yield match.group(1), fields


def constants(text):
    for match in re.finditer(r"\benum\s*\{(.*?)\}", text, re.S):
        yield from re.findall(r"\b(VARVE_\w+)\s*=", match.group(1))


def facts(text, header, compiler):
    """What the compiler says of structs and constants."""
    lines = []
    for name, fields in structs(text):
        lines.append(f'  printf("struct {name} %zu bytes\\n", sizeof({name}));')
        for field in fields:
            lines.append(f'  printf("struct {name} {field} at %zu, %zu bytes\\n", '
                         f"offsetof({name}, {field}), sizeof((({name}*)0)->{field}));")
    for name in constants(text):
        lines.append(f'  printf("constant {name} %lld\\n", (long long){name});')
    source = (f"#include <stddef.h>\n#include <stdio.h>\n#include <{header}>\n"
              "int main(void) {\n" + "\n".join(lines) + "\n}\n")
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "facts"
        subprocess.run([compiler, "-std=c11", f"-I{INCLUDE}", "-x", "c", "-", "-o", program],
                       input=source, text=True, check=True)
        return subprocess.run([program], capture_output=True, text=True,
                              check=True).stdout.splitlines()


def exported(library):
    output = subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True, text=True,
                            check=True).stdout
    return {m.group(1): m.group(2) for m in re.finditer(r"\b[TW] (varve_\w+)@@(\w+)", output)}


def used(program):
    output = subprocess.run(["nm", "-u", program], capture_output=True, text=True,
                            check=True).stdout
    return set(re.findall(r"\bU (varve_\w+)", output))


def main():
    node, library, program, compiler = sys.argv[1:5]
    list_name, header, is_of_node = NODES[node]
    text = header_text(is_of_node)
    declared = dict(functions(text))
    symbols = exported(library)
    problems = [f"{name} is declared and not exported" for name in declared.keys() - symbols.keys()]
    problems += [f"{name} is exported and not declared"
                 for name in symbols.keys() - declared.keys()]
    problems += [f"{name} has the version {version}" for name, version in symbols.items()
                 if version != node]
    problems += [f"{name} is not used by the C program" for name in declared.keys() - used(program)]
    found = sorted([f"function {prototype}" for prototype in declared.values()]
                   + list(callback_types(text))) + facts(text, header, compiler)
    if "--update" in sys.argv:
        (HERE / list_name).write_text("\n".join(found) + "\n")
    known = (HERE / list_name).read_text().splitlines()
    problems += [line for line in difflib.unified_diff(known, found, list_name, "now", lineterm="",
                                                       n=0)]
    for problem in problems:
        print(problem)
    if problems:
        print("Additions are written down by --update; what is there already must stay.")
        return 1
    print(f"{len(declared)} functions and {len(found) - len(declared)} facts are as they were")
    return 0


if __name__ == "__main__":
    sys.exit(main())
