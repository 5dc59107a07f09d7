#!/usr/bin/env python3
"""Writes down how each object of a finished build was made, for reuse.sh.

Usage: commands.py BUILD_FOLDER TARGET_FOLDER LAUNCHER
"""

import json
import shlex
import sys
from pathlib import Path


def main():
    build, target, launcher = Path(sys.argv[1]).resolve(), Path(sys.argv[2]), sys.argv[3]
    target.mkdir(parents=True)
    for entry in json.loads((build / "compile_commands.json").read_text()):
        words = shlex.split(entry["command"])
        if launcher and words[0].endswith(launcher):
            words = words[1:]
        output = words[words.index("-o") + 1]
        kept = [word for i, word in enumerate(words)
                if word not in ("-o", "-MD", "-MF", "-MT", "-Werror")
                and words[i - 1] not in ("-o", "-MF", "-MT")]
        name = output.replace("/", "_")
        # Sources that CMake writes stand in the build folder.
        (target / name).write_text(" ".join(kept).replace(str(build), "@"))
        (target / f"{name}.path").write_text(str(Path(entry["directory"]) / output))


main()
