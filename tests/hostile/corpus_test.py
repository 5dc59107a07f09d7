#!/usr/bin/env python3
"""Whoever looks at an image a fuzzer has made pays 64 MiB and a second of one core at most.

Goal: info, check and audit end on the images of the fuzzers' corpora, with an answer or with exit
code 1 and a reason. Method: write_images writes them into files, and each is looked at in every
way, as hostile_test.py does it with images made by hand.

Usage: corpus_test.py VARVE WRITE_IMAGES CORPUS... [--measure]
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import hostile_test

VERBS = (["info"], ["info", "--untrusted"], ["info", "--output=json"], ["check"],
         ["check", "--untrusted"], ["audit"])


def main(varve, write_images, *others):
    judge = hostile_test.Judge(varve, "--measure" in others)
    corpora = [other for other in others if other != "--measure"]
    with tempfile.TemporaryDirectory() as folder:
        names = subprocess.run([write_images, folder, *corpora], check=True, text=True,
                               stdout=subprocess.PIPE).stdout.splitlines()
        assert names, "no image was written"
        for line in names:
            image, source = line.split(" ", 1)
            # Whatever has lost its magic is a raw image, of which only info tells something.
            path = Path(folder) / image
            is_raw = path.read_bytes()[:4] != b"QFI\xfb"
            for verb in VERBS[:3] if is_raw else VERBS:
                judge.look("/".join(Path(source).parts[-2:]), verb, str(path))
    (kib, largest), (seconds, slowest) = judge.worst
    print(f"{len(names)} images: at most {kib} KiB resident ({largest}) and {seconds:.2f} s of CPU "
          f"({slowest})")
    return 1 if judge.failures else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
