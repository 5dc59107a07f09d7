"""Checks that read text only. Each yields (file, line, rule, message)."""

import re

import api_pages
import rules
from source_tree import CPP, SCRIPTS

LEVEL = {folder: level for level, row in enumerate(rules.FLOORS) for folder in row}


def floor_of(name):
    parts = name.split("/")
    return parts[1] if parts[0] == "lib" and len(parts) > 2 else None


def check_floors(tree):
    """lib/ includes downwards only, tools/ not at all, public headers only each other."""
    for file in tree.cpp():
        own = floor_of(file.name)
        if own is not None and own not in LEVEL:
            yield file.name, 1, "floors", f"lib/{own} is not in the table of floors"
            continue
        for line, kind, header in file.includes():
            problem = include_problem(file.name, own, kind, header)
            if problem:
                yield file.name, line, "floors", problem


def include_problem(name, own, kind, header):
    top = name.split("/")[0]
    target = header.split("/")[0] if "/" in header else None
    if ".." in header.split("/"):
        return f"{header}: include from the root of a floor, not relative to this file"
    if top == "include":
        is_standard = "." not in header or header.startswith("varve/") or \
            name.startswith("include/varve/c/") and header in ("stddef.h", "stdint.h")
        problem = f"{header}: a public header includes only the standard library and <varve/...>"
        return None if kind == "<" and is_standard else problem
    # Outside lib/ a quoted "varve/..." may be a file of tools/varve.
    if own is not None and header.startswith("varve/") and kind == '"':
        return f"{header}: write <{header}>"
    if target not in LEVEL or kind == "<":
        return None
    if own is None:
        allowed = rules.MAY_USE_LIB.get(top, True)
        return None if allowed else f"{header}: {top}/ uses only <varve/...>"
    if target == own or LEVEL[target] < LEVEL[own]:
        return None
    where = "beside" if LEVEL[target] == LEVEL[own] else "above"
    return f"{header}: floor {target} is {where} floor {own}"


def check_third_party(tree):
    """lib/ knows a short list of third-party headers, each included by one file."""
    seen = {}
    for file in tree.cpp(("lib/",)):
        for line, kind, header in file.includes():
            if kind != "<" or header.startswith("varve/") or "." not in header \
                    or re.fullmatch(rules.SYSTEM_HEADER, header):
                continue
            if header not in rules.LIB_THIRD_PARTY:
                yield file.name, line, "third-party", f"<{header}> is not for lib/"
            elif floor_of(file.name) != rules.LIB_THIRD_PARTY[header]:
                home = rules.LIB_THIRD_PARTY[header]
                yield file.name, line, "third-party", f"<{header}> belongs to lib/{home}"
            elif header in seen:
                yield (file.name, line, "third-party",
                       f"<{header}> is already included by {seen[header]}; go through that file")
            seen.setdefault(header, file.name)


def check_banned(tree):
    for name, pattern, folders, exempt, instead in rules.BANNED:
        for file in tree.cpp(folders):
            if file.name in exempt:
                continue
            for match in re.finditer(pattern, file.code):
                word = match.group(0).strip("( ")
                yield file.name, file.line_of(match.start()), name, f"{word}: {instead}"


def check_columns(tree):
    for file in tree.files(CPP + SCRIPTS):
        for number, line in enumerate(file.lines, 1):
            if len(line) > rules.MAX_COLUMNS:
                yield (file.name, number, "columns",
                       f"{len(line)} columns, {rules.MAX_COLUMNS} are allowed")


def check_unfinished(tree):
    for file in tree.files(CPP + SCRIPTS + (".md",)):
        for match in re.finditer(rules.UNFINISHED, file.text):
            yield (file.name, file.line_of(match.start()), "unfinished",
                   "finish it, or write it down in docs/ with its reason")


def check_test_registered(tree):
    """tests/CMakeLists.txt builds tests/FOLDER/*_test.cc; a test elsewhere never runs."""
    for file in tree.files(("_test.cc",)):
        parts = file.name.split("/")
        if parts[0] != "tests" or len(parts) != 3:
            yield (file.name, 1, "test-registered",
                   "only tests/FOLDER/*_test.cc is built; this test never runs")


def functions(code):
    """(first line, last line) of every outermost function body with its signature."""
    stack, start, signature_line, line = [], 0, 1, 1
    container = re.compile(r"\b(namespace|class|struct|union|enum)\b(?![^{]*\)\s*(const)?\s*$)|"
                           r"\bextern\s*\"")
    for position, letter in enumerate(code):
        if letter == "\n":
            line += 1
        elif letter == "{":
            head = code[start:position].strip()
            if "function" in stack or "data" in stack:
                stack.append("inner")
            elif head.startswith("#") or container.search(head) and not head.endswith(")"):
                stack.append("container")
            elif is_body(head):
                stack.append("function")
                skipped = re.match(r"\s*(?:(?:public|private|protected)\s*:\s*)*",
                                   code[start:position]).end()
                signature_line = code.count("\n", 0, start + skipped) + 1
            else:
                stack.append("data")
        elif letter == "}" and stack:
            kind = stack.pop()
            if kind == "function":
                yield signature_line, line
            if kind in ("function", "container"):
                start = position + 1
        if letter == ";" and not {"function", "data"} & set(stack) or \
                letter == "{" and stack and stack[-1] == "container":
            start = position + 1


def is_body(head):
    """Whether the brace after `head` opens a function body, not an initialiser."""
    if ")" not in head or re.search(r"(?<!operator)(?<!operator=)=\s*[\w:<>,\s\[\]]*$", head):
        return False
    in_initialisers = re.search(r"\)\s*(noexcept\s*)?:\s*[\w(]", head)
    return not (in_initialisers and re.search(r"[,:]\s*[\w:<>]+$", head))


def check_function_length(tree):
    for file in tree.cpp():
        code = re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", lambda m: re.sub(r"[^\n]", " ", m.group(0)),
                      file.code, flags=re.M)
        for first, last in functions(code):
            length = last - first + 1
            if length > rules.MAX_FUNCTION_LINES:
                yield (file.name, first, "function-length",
                       f"{length} lines, {rules.MAX_FUNCTION_LINES} are allowed")


def check_markdown(tree):
    for file in tree.files((".md",)):
        in_code, titles = False, 0
        for number, line in enumerate(file.lines, 1):
            if line.lstrip().startswith("```"):
                in_code = not in_code
            if not in_code and line.startswith("# "):
                titles += 1
                if titles > 1:
                    yield file.name, number, "markdown-title", "a page has one title"
            if not in_code:
                yield from link_problems(tree, file, number, line)
        if titles == 0:
            yield file.name, 1, "markdown-title", "a page begins with `# Title`"


def link_problems(tree, file, number, line):
    for target in re.findall(r"\]\(([^)\s]+)\)", line):
        if re.match(r"[a-z]+:|#", target):
            continue
        path = (file.path.parent / target.split("#")[0]).resolve()
        if not path.is_relative_to(tree.root) or not path.exists():
            yield file.name, number, "markdown-link", f"{target} is not in the project"


def check_markdown_paths(tree):
    """A path of the project that a page names in backticks exists."""
    for file in tree.files((".md",)):
        for match in re.finditer(rules.NAMED_PATH, file.text):
            path = match.group(1).rstrip("/")
            if not re.search(r"[A-Z*<{]{2}|[*<{]|/X$", path) and not (tree.root / path).exists():
                yield (file.name, file.line_of(match.start()), "markdown-path",
                       f"{path} is not in the project")


def check_page_copies(tree):
    """Code a page shows as a copy of a file is that file."""
    for file in tree.files((".md",)):
        for match in re.finditer(r"^<!-- copy of (\S+) -->\n```\w*\n(.*?)^```", file.text,
                                 re.S | re.M):
            path = tree.root / match.group(1)
            if not path.is_file() or path.read_text() != match.group(2):
                yield (file.name, file.line_of(match.start()), "page-copy",
                       f"not what {match.group(1)} says")


def histories(tree):
    """{Suite.Test: (file, line, names after `History:` in the comment above it)}."""
    found = {}
    for file in tree.cpp(("tests/",)):
        for match in re.finditer(r"((?:^//[^\n]*\n)*)^TEST(?:_[FP])?\((\w+),\s*(\w+)\)", file.text,
                                 re.M):
            comment = re.sub(r"\n// ?", " ", match.group(1))
            named = re.search(r"History: ([^.]+)\.", comment)
            names = named.group(1).split(", ") if named else []
            line = file.line_of(match.start(2))
            found[f"{match.group(2)}.{match.group(3)}"] = file.name, line, names
    return found


def check_history(tree):
    """The tests of a row of docs/HISTORY.md exist and name the row, and name no other."""
    page = next((file for file in tree.files((".md",)) if file.name == "docs/HISTORY.md"), None)
    if page is None:
        return
    tests, told = histories(tree), set()
    for number, line in enumerate(page.lines, 1):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("| ") or len(cells) != 4 or cells[0] == "name":
            continue
        name = cells[0].split(", ")[0]
        named = re.findall(r"`(\w+\.\w+)`", cells[3])
        if not named:
            yield page.name, number, "history", f"{name} has no test"
        for test in named:
            told.add((test, name))
            if test not in tests:
                yield page.name, number, "history", f"there is no test {test}"
            elif name not in tests[test][2]:
                yield page.name, number, "history", f"{test} does not say `History: {name}.`"
    for test, (file, line, names) in tests.items():
        for name in names:
            if (test, name) not in told:
                yield file, line, "history", f"docs/HISTORY.md does not name {test} for {name}"


def check_foreign_paths(tree):
    for file in tree.files((".md", ".sh", ".cmake", "CMakeLists.txt")):
        for match in re.finditer(rules.FOREIGN_PATH, file.text):
            yield (file.name, file.line_of(match.start()), "foreign-path",
                   f"{match.group(0)} exists on one machine only")


CHECKS = [check_floors, check_third_party, check_banned, check_columns, check_unfinished,
          check_test_registered, check_function_length, check_markdown,
          check_markdown_paths, check_page_copies, check_history, check_foreign_paths,
          api_pages.check]
