#!/usr/bin/env python3
"""Pages of the public headers, docs/api: made from the headers' own comments.

Usage: api_pages.py --write     writes the pages; tidy's quick part fails while they differ
"""

import re
import sys
from pathlib import Path

FOLDERS = (("include/varve", "C++"), ("include/varve/c", "C"))
TARGET = "docs/api"
HOW = "run tests/tidy/api_pages.py --write"


def page_name(header):
    """include/varve/c/queue.h -> c_queue.md"""
    return header.removeprefix("include/varve/").removesuffix(".h").replace("/", "_") + ".md"


def prose(comment):
    """Comment lines as Markdown: indented ones and lists keep their lines."""
    lines = [line.strip().removeprefix("//").removeprefix(" ") for line in comment]
    text, in_code, in_item = [], False, False
    for line in lines:
        in_item = bool(line.strip()) and (in_item or line.lstrip().startswith("* "))
        is_code = line.startswith("  ") and not in_item
        if is_code and not in_code:
            text.append("```text")
            in_code = True
        elif in_code and not is_code:
            text.append("```")
            in_code = False
        text.append(line.strip() if line.lstrip().startswith("* ") else line)
    if in_code:
        text.append("```")
    return text


def chunks(lines):
    """Declarations: runs of lines up to an empty one outside of braces."""
    chunk, depth = [], 0
    for line in lines:
        if not line.strip() and depth == 0:
            if chunk:
                yield chunk
            chunk = []
            continue
        chunk.append(line)
        code = re.sub(r'//.*|"(?:\\.|[^"\\])*"', "", line)
        if not re.match(r"\s*(namespace\b.*\{|extern \"C\")", line):
            depth += code.count("{") - code.count("}")
    if chunk:
        yield chunk


def is_noise(line):
    return bool(re.match(r"#(pragma once|include|ifdef|else|endif|define VARVE_(C_|API))|"
                         r"namespace varve \{|\}  // namespace|VARVE_C_(BEGIN|END)|\s*#", line)) \
        and not line.startswith("#define VARVE_")


def make_page(header, text, language):
    lines = text.splitlines()
    start = next((i for i, line in enumerate(lines) if not line.startswith("//")), len(lines))
    page = [f"# `{header.removeprefix('include/')}`", "",
            f"Made from the header's comments; {HOW} after changing them.", ""]
    page += prose(lines[:start])
    body = [line for line in lines[start:] if not is_noise(line)]
    block = "c" if language == "C" else "cpp"
    for chunk in chunks(body):
        split = next((i for i, line in enumerate(chunk) if not line.startswith("//")), len(chunk))
        page.append("")
        if split:
            page += [*prose(chunk[:split]), ""]
        if chunk[split:]:
            page += [f"```{block}", *chunk[split:], "```"]
    return "\n".join(page).rstrip() + "\n"


def pages(root):
    """{name: text} of every page there must be."""
    found, index = {}, []
    for folder, language in FOLDERS:
        headers = sorted((root / folder).glob("*.h"))
        if headers:
            index += ["", f"{language}:", ""]
        for path in headers:
            header = str(path.relative_to(root))
            text = path.read_text()
            is_c = language == "C" or header.endswith("varve/varve.h")
            name = page_name(header)
            found[name] = make_page(header, text, "C" if is_c else "C++")
            first = re.sub(r"\s+", " ", " ".join(
                line.removeprefix("//").strip() for line in text.splitlines()[:3]
                if line.startswith("//")))
            index.append(f"* [{header.removeprefix('include/')}]({name}): "
                         f"{first.split('. ')[0].rstrip('.')}.")
    if found:
        found["README.md"] = "\n".join(
            ["# The public headers", "",
             f"A page for each, made from its comments; {HOW} after changing one.", *index]) + "\n"
    return found


def check(tree):
    """docs/api is what the headers say."""
    wanted = pages(tree.root)
    present = {path.name: path.read_text() for path in (tree.root / TARGET).glob("*.md")}
    for name in sorted(wanted.keys() | present.keys()):
        if wanted.get(name) != present.get(name):
            yield f"{TARGET}/{name}", 1, "api-page", f"not what the header says: {HOW}"


def main():
    root = Path(__file__).resolve().parents[2]
    if sys.argv[1:] != ["--write"]:
        print(__doc__)
        return 2
    target = root / TARGET
    target.mkdir(exist_ok=True)
    wanted = pages(root)
    for path in target.glob("*.md"):
        if path.name not in wanted:
            path.unlink()
    for name, text in wanted.items():
        (target / name).write_text(text)
    print(f"{len(wanted)} pages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
