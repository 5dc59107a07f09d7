"""The result as a table for people and as JSON for programs."""

import json

from comparing.figures import NAMES

PEERS = ("raw", "fio", "qemu")


def figure(row, program):
    if program == "raw" and "raw" not in row["shown"]:
        program = "copy"
    if program not in row["shown"]:
        return "–"
    spread = row["programs"][program]["spread"] * 100
    return f"{row['shown'][program]} ±{spread / 2:.0f}%"


def ratio(row, *programs):
    for program in programs:
        if program in row["ratios"]:
            return f"{row['ratios'][program]:.2f}"
    return "–"


def verdict(row):
    if not row["targets"]:
        return "reported"
    if row["falls_short"]:
        return "falls short"
    return "reached" if all(t["reached"] for t in row["targets"]) else "not compared"


def table(result):
    heads = ["work", "Varve", "own loop", "fio", "QEMU", "× own loop", "× QEMU", "wanted", ""]
    lines = [heads]
    for row in result["rows"]:
        lines.append([row["title"], figure(row, "varve"), *(figure(row, p) for p in PEERS),
                      ratio(row, "raw", "copy"), ratio(row, "qemu"),
                      ", ".join(t["text"] for t in row["targets"]) or "–", verdict(row)])
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
    text = [describe(result), ""]
    for number, line in enumerate(lines):
        text.append("| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths)) + " |")
        if number == 0:
            text.append("|" + "|".join("-" * (w + 2) for w in widths) + "|")
    short = [row["name"] for row in result["rows"] if row["falls_short"]]
    text += ["", f"Falls short: {', '.join(short)}." if short else "No row falls short."]
    return "\n".join(text)


def describe(result):
    of = result["machine"]
    return (f"{result['date']}, {of['processors']} processors ({of['model']}), "
            f"{of['memory_gib']} GiB, Linux {of['kernel']}, {of['file_system']} and "
            f"{of['memory_file_system']}; {result['programs']['varve']}, "
            f"{result['programs']['qemu']}, {result['programs']['fio']}; "
            f"size {result['size']}, {result['rounds']} rounds, medians ± half the spread.")


def write_json(result, path):
    path.write_text(json.dumps({"names": NAMES, **result}, indent=1, ensure_ascii=False) + "\n",
                    encoding="utf-8")
