"""Checks that run a compiler or a formatter. Each yields (file, line, rule, message).

What passed is remembered by a hash of all that went in, so that a second run costs little.
"""

import hashlib
import json
import re
import shlex
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count, environ
from pathlib import Path


class Cache:
    """Answers by content: a folder of small JSON files."""

    def __init__(self, folder):
        self.folder = Path(folder) if folder else None
        if self.folder:
            self.folder.mkdir(parents=True, exist_ok=True)

    def get_or(self, parts, make):
        if not self.folder:
            return make()
        key = hashlib.sha256("\0".join(parts).encode()).hexdigest()
        path = self.folder / key
        if path.exists():
            return json.loads(path.read_text())
        answer = make()
        path.write_text(json.dumps(answer))
        return answer


def run(command, directory=None):
    answer = subprocess.run(command, capture_output=True, text=True, check=False, cwd=directory)
    return answer.returncode, answer.stdout + answer.stderr


def find_program(name, missing):
    """The program's path; absent it is a finding where VARVE_REQUIRE is set, silence elsewhere."""
    path = shutil.which(name)
    if path is None and environ.get("VARVE_REQUIRE"):
        missing.append(("tests/tidy", 1, "program-missing", f"{name} is not installed"))
    return path


def in_parallel(function, items):
    with ThreadPoolExecutor(cpu_count() or 1) as pool:
        for findings in pool.map(function, items):
            yield from findings


def version_of(program):
    return run([program, "--version"])[1]


def closure(tree, name, known=None):
    """The project's files that `name` includes, directly or not, itself included."""
    known = {} if known is None else known
    if name in known:
        return known
    known[name] = tree.file(name).text
    folder = str(Path(name).parent)
    for _, _, header in tree.file(name).includes():
        for base in ("include", "lib", folder, "tests", "tools", "."):
            candidate = str(Path(base) / header)
            if (tree.root / candidate).is_file():
                closure(tree, candidate, known)
                break
    return known


def check_format(tree, _build, _cache):
    """clang-format would change nothing."""
    missing = []
    program = find_program("clang-format", missing)
    yield from missing
    if not program:
        return
    names = [f.name for f in tree.cpp()]

    # Most of a run goes into starting the program: it gets many files at once.
    def check(batch):
        code, output = run([program, "--dry-run", "-Werror", "--ferror-limit=1", *batch], tree.root)
        found = dict(reversed(re.findall(r"^(.+?):(\d+):\d+: (?:error|warning)", output, re.M)))
        if code != 0 and not found:
            found = {batch[0]: 1}
        return [(name, int(line), "format", "run clang-format -i") for name, line in found.items()]

    yield from in_parallel(check, [names[i:i + 50] for i in range(0, len(names), 50)])


HEADER_MODES = [
    ("g++", ["-std=c++20"]),
    ("g++", ["-std=c++23"]),
    ("g++", ["-std=c++20", "-fno-exceptions", "-fno-rtti"]),
    ("clang++", ["-std=c++20"]),
    ("clang++", ["-std=c++2b"]),
    ("clang++", ["-std=c++20", "-fno-exceptions", "-fno-rtti"]),
]


def check_headers_alone(tree, _build, cache):
    """Every public header compiles alone, with both compilers and without exceptions and RTTI.

    Each header is alone in one mode, in turn, and in the other modes in company; alone in every
    mode where VARVE_TIDY_ALONE is set, and where the company does not compile.
    """
    missing = []
    programs = {name: find_program(name, missing) for name in ("g++", "clang++")}
    yield from missing
    versions = {name: version_of(path) for name, path in programs.items() if path}
    headers = [f.name for f in tree.files((".h",), ("include/varve/",))]
    modes = [mode for mode in HEADER_MODES if programs[mode[0]]]

    def compile_in(mode, names):
        compiler, flags = mode
        command = [programs[compiler], "-fsyntax-only", "-Wall", "-Wextra", "-Wpedantic",
                   "-Wconversion", "-Wshadow", "-Werror", "-x", "c++", *flags, "-Iinclude", "-"]
        inputs = {}
        for name in names:
            closure(tree, name, inputs)
        parts = [versions[compiler], *command, *names, *inputs.values()]
        return cache.get_or(parts, lambda: compile_headers(tree, command, names))

    def check(job):
        (compiler, flags), name = job
        output = compile_in((compiler, flags), [name])
        return [(name, output[0], "header-alone", f"{compiler} {' '.join(flags)}: {output[1]}")
                ] if output else []

    is_whole = [environ.get("VARVE_TIDY_ALONE")] * len(modes)
    if not any(is_whole):
        is_whole = list(in_parallel(lambda mode: [compile_in(mode, headers)], modes))
    jobs = [(mode, name) for index, mode in enumerate(modes) for turn, name in enumerate(headers)
            if is_whole[index] or turn % len(modes) == index]
    yield from in_parallel(check, jobs)


def compile_headers(tree, command, names):
    """Each twice in a row; the line and words of the first error in a file of that name."""
    lines = [f"#include <{name.removeprefix('include/')}>\n" for name in names]
    answer = subprocess.run(command, input="".join(line * 2 for line in lines),
                            capture_output=True, text=True, check=False, cwd=tree.root)
    if answer.returncode == 0:
        return None
    line = re.search(re.escape(names[0]) + r":(\d+):", answer.stderr)
    error = re.search(r"error: (.*)", answer.stderr)
    return [int(line.group(1)) if line else 1, error.group(1) if error else "does not compile"]


def check_page_code(tree, _build, cache):
    """The C++ in the pages compiles. A block that begins with #include is a whole program part."""
    missing = []
    program = find_program("g++", missing)
    yield from missing
    if not program:
        return
    command = [program, "-fsyntax-only", "-std=c++20", "-Wall", "-Wextra", "-Werror", "-Iinclude",
               "-x", "c++", "-"]
    for file in tree.files((".md",)):
        for match in re.finditer(r"^```cpp\n(#include.*?)^```", file.text, re.S | re.M):
            parts = [version_of(program), *command, match.group(1),
                     *(f.text for f in tree.cpp(("include/",)))]
            output = cache.get_or(parts, lambda: compile_text(tree, command, match.group(1)))
            if output:
                line = file.line_of(match.start(1))
                yield file.name, line, "page-code", output


def compile_text(tree, command, text):
    answer = subprocess.run(command, input=text, capture_output=True, text=True, check=False,
                            cwd=tree.root)
    error = re.search(r"error: (.*)", answer.stderr)
    return None if answer.returncode == 0 else error.group(1) if error else "does not compile"


def check_clang_tidy(tree, build, cache):
    """clang-tidy on lib/ and tools/, with the commands of the build folder."""
    missing = []
    program = find_program("clang-tidy", missing)
    yield from missing
    if not program or not build:
        return
    version = version_of(program)
    config = config_file(tree).read_text()
    commands = {}
    for entry in json.loads((Path(build) / "compile_commands.json").read_text()):
        path = Path(entry["file"])
        if path.is_relative_to(tree.root):
            commands[str(path.relative_to(tree.root))] = entry["command"]
    names = [f.name for f in tree.files((".cc",), ("lib/", "tools/")) if f.name in commands]

    def check(name):
        inputs = closure(tree, name)
        parts = [version, config, commands[name], *inputs.keys(), *inputs.values()]
        found = cache.get_or(parts, lambda: clang_tidy(tree, program, build, name))
        return [tuple(f) for f in found]

    # Most time goes into the headers files share: a folder's files are looked at as one first. What
    # does not compile together, or is not clean, is looked at file by file.
    def check_group(group):
        if len(group) > 1:
            inputs = {}
            for name in group:
                closure(tree, name, inputs)
            parts = [version, config, commands[group[0]], *inputs.keys(), *inputs.values()]
            if cache.get_or(parts, lambda: is_group_clean(tree, program, group,
                                                          commands[group[0]])):
                return []
        return [finding for name in group for finding in check(name)]

    seen = set()
    for finding in in_parallel(check_group, groups_of(tree, names)):
        if finding not in seen:
            seen.add(finding)
            yield finding


def groups_of(tree, names, largest=24):
    """Neighbours in one folder, many at a time; one by one where VARVE_TIDY_ALONE is set.

    Explicit instantiations have to follow everything they instantiate: their files stay alone.
    """
    groups, folders = [], {}
    for name in names:
        if environ.get("VARVE_TIDY_ALONE") or "\ntemplate class " in tree.file(name).text:
            groups.append([name])
        else:
            folders.setdefault(str(Path(name).parent), []).append(name)
    return groups + [members[i:i + largest] for members in folders.values()
                     for i in range(0, len(members), largest)]


PRIVATE_NAME = re.compile(
    r"^(?:(?:struct|class|enum class|enum) (\w+)\b(?!;)"
    r"|(?:constexpr|const|inline|static)\b[^=({;\n]*?\b(\w+)(?:\[\w*\])?\s*[={;]"
    r"|[\w:\[][\w:<>,&* \[\]]*?[ &*](\w+)\()", re.M)


def private_names(text):
    """What a file's unnamed namespaces define at their top level."""
    regions = re.findall(r"^namespace \{\n(.*?)^\}  // namespace$", text, re.S | re.M)
    return {name for region in regions for names in PRIVATE_NAME.findall(region)
            for name in names if name}


def as_one_source(tree, group):
    """One source made of several: all headers first, and names that several have made unique."""
    texts = {name: tree.file(name).text for name in group}
    private = {name: private_names(text) for name, text in texts.items()}
    lines = sorted({line for text in texts.values()
                    for line in re.findall(r"^#define \w+$", text, re.M)})
    lines += sorted({line for text in texts.values()
                     for line in re.findall(r"^#include [<\"].*[>\"]", text, re.M)})
    for index, (name, text) in enumerate(texts.items()):
        several = [word for word in private[name]
                   if sum(word in other for other in private.values()) > 1]
        if several:
            text = re.sub(rf"(?<![\w.>:])({'|'.join(several)})\b", rf"\g<1>{index}", text)
        lines.append(re.sub(r"^#define \w+$", "", text, flags=re.M))
    return "\n".join(lines) + "\n"


def is_group_clean(tree, program, group, command):
    with tempfile.NamedTemporaryFile("w", suffix=".cc") as source:
        source.write(as_one_source(tree, group))
        source.flush()
        flags = [part for part in shlex.split(command) if part.startswith(("-I", "-D", "-std="))]
        flags.append(f"-iquote{(tree.root / group[0]).parent}")
        code, output = run([program, "--quiet", f"--config-file={config_file(tree)}", source.name,
                            "--", *flags], tree.root)
    return code == 0 and ": warning: " not in output and ": error: " not in output


def config_file(tree):
    return next(folder / ".clang-tidy" for folder in (tree.root, *tree.root.parents)
                if (folder / ".clang-tidy").exists())


def clang_tidy(tree, program, build, name):
    # The build folder's commands are g++'s: clang does not know every warning they name.
    code, output = run([program, "--quiet", "--extra-arg=-Wno-unknown-warning-option", "-p",
                        str(build), str(tree.root / name)])
    findings = []
    pattern = re.compile(r"^(.+?):(\d+):\d+: (?:error|warning): (.*?) \[([\w.,-]+)\]$", re.M)
    for path, line, message, check in pattern.findall(output):
        where = Path(path)
        where = str(where.relative_to(tree.root)) if where.is_relative_to(tree.root) else path
        findings.append([where, int(line), "clang-tidy", f"{message} [{check.split(',')[0]}]"])
    if code != 0 and not findings:
        findings.append([name, 1, "clang-tidy", output.strip().splitlines()[-1]])
    return findings


CHECKS = {"format": check_format, "headers": check_headers_alone, "pages": check_page_code,
          "clang-tidy": check_clang_tidy}
