"""The files of the project as tidy sees them: names, lines, and code without comments."""

import re
import subprocess
from functools import cached_property
from pathlib import Path

CPP = (".h", ".cc")
SCRIPTS = (".sh", ".py", ".cmake", ".txt")


def strip_comments(text, keep_strings=False):
    """Blanks comments and the inside of literals; line and column of what stays do not move."""
    token = re.compile(
        r'//[^\n]*|/\*.*?\*/|R"([^()\s\\]{0,16})\((?:.*?)\)\1"|"(?:\\.|[^"\\\n])*"|'
        r"(?<![0-9a-fA-F])'(?:\\.|[^'\\\n])+'", re.S)

    def blank(match):
        found = match.group(0)
        if not found.startswith("/"):
            if keep_strings:
                return found
            return '"' + re.sub(r"[^\n]", " ", found[1:-1]) + '"'
        return re.sub(r"[^\n]", " ", found)

    return token.sub(blank, text)


class SourceFile:
    def __init__(self, root, name):
        self.name = name
        self.path = root / name
        self.text = self.path.read_text(encoding="utf-8", errors="replace")
        self.lines = self.text.splitlines()

    @cached_property
    def code(self):
        return strip_comments(self.text)

    def line_of(self, position):
        return self.text.count("\n", 0, position) + 1

    def includes(self):
        """(line, kind, header): kind is '<' or '"'."""
        text = strip_comments(self.text, keep_strings=True)
        for match in re.finditer(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"\n]+)[>"]', text, re.M):
            yield self.line_of(match.start(1)), match.group(1), match.group(2)

    def allows(self, line, rule):
        """`// tidy: allow RULE: reason` on the line or the one above it."""
        wanted = re.compile(r"tidy: allow " + re.escape(rule) + r": \S")
        return any(0 < n <= len(self.lines) and wanted.search(self.lines[n - 1])
                   for n in (line, line - 1))


class SourceTree:
    """All files git would commit below `root`; of a tree outside git, all files."""

    def __init__(self, root, skip=("tests/tidy/canary/",)):
        self.root = Path(root).resolve()
        self._files = {}
        self.names = sorted(n for n in self._list() if not n.startswith(tuple(skip)))

    def _list(self):
        answer = subprocess.run(
            ["git", "-C", str(self.root), "ls-files", "-z", "--cached", "--others",
             "--exclude-standard"], capture_output=True, text=True, check=False)
        names = [n for n in answer.stdout.split("\0") if n]
        if answer.returncode != 0:
            names = [str(p.relative_to(self.root)) for p in self.root.rglob("*")
                     if not p.relative_to(self.root).parts[0].startswith(("build", ".git"))]
        return [n for n in names if (self.root / n).is_file()]

    def file(self, name):
        if name not in self._files:
            self._files[name] = SourceFile(self.root, name)
        return self._files[name]

    def files(self, suffixes, folders=("",)):
        for name in self.names:
            if name.endswith(tuple(suffixes)) and name.startswith(tuple(folders)):
                yield self.file(name)

    def cpp(self, folders=("",)):
        return self.files(CPP, folders)
