#!/usr/bin/env python3
"""The tool's man pages, docs/man: made from what its verbs answer to --help.

Usage: make_pages.py VARVE --write      writes the pages
       make_pages.py VARVE              fails while they are not what they should be
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MAN = "docs/man"
OWN_ACTIONS = ("create", "list", "apply", "delete", "rename", "diff", "export", "import",
               "read-state")


class Option:
    def __init__(self, flags, argument, text):
        self.flags, self.argument, self.text = flags, argument, text


class Help:
    """One verb's help, taken apart."""

    def __init__(self, verb, text):
        self.verb = verb
        self.usage, self.options, self.operands, self.notes, self.examples = [], [], [], [], []
        head, _, rest = text.partition("Usage:")
        self.summary = " ".join(head.split()).rstrip(".")
        part = "usage"
        for line in rest.split("\n"):
            part = self.take(line, part)
        self.notes = [" ".join(note.split()) for note in self.notes]

    def take(self, line, part):
        heading = re.match(r"(Options|Positionals|Examples?|Exit codes|See|Environment)\b:?(.*)",
                           line)
        if heading:
            part = heading[1].rstrip("s").lower()
            if part in ("exit code", "see", "environment"):
                self.notes.append(line)
            return part
        if not line.strip():
            return "option" if part == "usage" and self.usage else part
        row = re.match(r"  (-\S.*?)(?:  +(\S.*))?$", line)
        if row and part == "option":
            self.options.append(make_option(row[1], row[2] or ""))
        elif part == "option" and self.options and line.startswith("    "):
            self.options[-1].text += " " + line.strip()
        elif part == "positional":
            name, text = re.match(r"  (\S+).*?  +(\S.*)$", line).groups()
            self.operands.append((name, text))
        elif part == "example":
            self.examples.append(line.strip())
        elif part == "usage":
            self.take_usage(line)
        else:
            self.notes.append(line)
        return part

    def take_usage(self, line):
        if line.strip().startswith("varve"):
            self.usage.append(line.strip())
        else:
            self.usage[-1] += " " + line.strip()


def make_option(left, text):
    """'-f, --format FMT' and CLI11's '--state TEXT Needs: --full'."""
    left = re.sub(r"\s+(REQUIRED|Needs:.*)$", "", left).replace(",--", ", --")
    flags = [word for word in left.replace(",", " ").split() if word.startswith("-")]
    argument = left.split(flags[-1], 1)[1].strip()
    return Option(flags, argument, text)


def ask(varve, *arguments):
    answer = subprocess.run([varve, *arguments, "--help"], check=True, capture_output=True,
                            text=True).stdout
    return Help(" ".join(arguments), answer)


def ask_all(varve):
    """The verbs' help in the order the tool lists them; snapshot's actions behind it."""
    listing = subprocess.run([varve, "--help"], check=True, capture_output=True, text=True).stdout
    verbs = re.findall(r"^  (\w+) - (.*)$", listing, re.M)
    helps = {name: ask(varve, name) for name, _ in verbs}
    actions = [ask(varve, "snapshot", action) for action in OWN_ACTIONS]
    return verbs, helps, actions


def roff(text):
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text.startswith((".", "'")) else text


def roff_options(options):
    for option in options:
        flags = ", ".join(f"\\fB{roff(flag)}\\fR" for flag in option.flags)
        argument = f" \\fI{roff(option.argument)}\\fR" if option.argument else ""
        yield from (".TP", flags + argument, roff(option.text))


def roff_usage(help_text):
    for usage in help_text.usage:
        yield from (".HP", roff(usage))


def roff_examples(examples):
    if examples:
        yield from (".SH EXAMPLES", ".nf", *map(roff, examples), ".fi")


def page_head(name, summary):
    return ['.\\" Made by tools/man/make_pages.py from --help; change that.',
            f'.TH {name.upper().replace("-", chr(92) + "-")} 1 "" "Varve" "Disk images"',
            ".SH NAME", f"{roff(name)} \\- {roff(summary[0].lower() + summary[1:])}"]


def verb_page(summary, help_text, actions):
    name = "varve-" + help_text.verb
    lines = page_head(name, summary) + [".SH SYNOPSIS", *roff_usage(help_text)]
    lines += [".SH DESCRIPTION", roff(help_text.summary) + "."]
    for note in help_text.notes:
        lines += [".PP", roff(note)]
    lines += [".SH OPTIONS", *roff_options(help_text.options)]
    if actions:
        lines.append(".SH ACTIONS")
    for action in actions:
        lines += [f".SS {action.verb.split()[1]}", *roff_usage(action)]
        for operand, text in action.operands:
            lines += [".TP", f"\\fI{roff(operand)}\\fR", roff(text)]
        lines += roff_options(option for option in action.options if "--help" not in option.flags)
    lines += roff_examples(help_text.examples + [e for action in actions for e in action.examples])
    lines += [".SH SEE ALSO", ".BR varve (1)"]
    return "\n".join(lines) + "\n"


def tool_page(verbs):
    lines = page_head("varve", "create, inspect, change and snapshot qcow2 and raw disk images")
    lines += [".SH SYNOPSIS", ".B varve",
              "[\\fB\\-\\-aio\\fR \\fIio_uring\\fR|\\fIthreads\\fR]",
              "[\\fB\\-\\-strict\\-format\\fR]", "\\fIVERB\\fR [\\fIoptions\\fR]",
              ".SH DESCRIPTION",
              roff("The verbs that qemu-img(1) has too take its options, print what it prints and "
                   "exit as it does; called by the name qemu-img or qemu-io, varve is that "
                   "program."), ".SH VERBS"]
    for name, summary in verbs:
        lines += [".TP", f".BR varve\\-{name} (1)", roff(summary)]
    lines += [".SH OPTIONS",
              *roff_options([
                  Option(["--aio"], "io_uring|threads", "The I/O engine; by itself varve takes "
                         "io_uring where the kernel has it."),
                  Option(["--strict-format"], "", "A writing verb that would have to guess an "
                         "image's format fails, and says which -f to add.")]),
              ".SH ENVIRONMENT", ".TP", ".B VARVE_AIO", "As \\-\\-aio.",
              ".TP", ".B VARVE_STRICT_FORMAT", "1: as \\-\\-strict\\-format.",
              ".SH SIGNALS", ".TP", ".B SIGUSR1", "Prints how far long work has come.",
              ".TP", ".B SIGINT, SIGTERM", "End long work at once and leave a consistent image."]
    return "\n".join(lines) + "\n"


def main():
    varve, write = sys.argv[1], "--write" in sys.argv[2:]
    verbs, helps, actions = ask_all(varve)
    pages = {f"{MAN}/varve.1": tool_page(verbs)}
    for name, summary in verbs:
        pages[f"{MAN}/varve-{name}.1"] = verb_page(summary, helps[name],
                                                    actions if name == "snapshot" else [])
    stale = [name for name, text in pages.items()
             if not (ROOT / name).exists() or (ROOT / name).read_text() != text]
    if write:
        for name in stale:
            (ROOT / name).parent.mkdir(parents=True, exist_ok=True)
            (ROOT / name).write_text(pages[name])
    elif stale:
        sys.exit(f"{', '.join(stale)}: not what --help says; run tools/man/make_pages.py VARVE "
                 "--write")


if __name__ == "__main__":
    main()
