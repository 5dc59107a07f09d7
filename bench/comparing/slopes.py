"""Lives of snapshots as a table, as JSON and as a plot."""

import math
from xml.sax.saxutils import escape

from comparing import lives
from comparing.figures import NAMES, Row

SECONDS = Row("", "", "s")
COLOURS = {"create": "#4f81bd", "apply": "#c0504d", "delete": "#6b8e23"}
LEFT, TOP, WIDTH, HEIGHT = 80, 50, 560, 380


def table(points):
    heads = ["disk", "layout", "cache", "program", "pause", "create", "apply, serving", "apply",
             "delete, visible", "delete"]
    lines = [heads]
    for point, life in points:
        figures = [life["create"]["pause"], life["create"]["total"], life["apply"]["usable"],
                   life["apply"]["total"], life["delete"]["usable"], life["delete"]["total"]]
        lines.append([f"{point.size >> 30} GiB", point.layout, point.cache, NAMES[point.program],
                      *map(SECONDS.show, figures)])
    return aligned(lines)


def slopes(points):
    heads = ["layout", "cache", "step", "Varve, s per TiB", "QEMU, s per TiB", "QEMU / Varve"]
    lines = [heads]
    kinds = sorted({(point.layout, point.cache) for point, _ in points}, reverse=True)
    programs = {point.program for point, _ in points}
    for layout, cache in kinds:
        for step in lives.STEPS:
            found = {p: lives.slope(points, layout, cache, p, step) for p in programs}
            ours, theirs = found.get("varve"), found.get("qemu")
            lines.append([layout, cache, step, "–" if ours is None else f"{ours:.3f}",
                          "–" if theirs is None else f"{theirs:.3f}",
                          f"{theirs / ours:.1f}" if ours and theirs and ours > 0 else "–"])
    return aligned(lines)


def openings(found):
    lines = [["state", "program", "open for writing"]]
    lines += [[one["state"], NAMES[one["program"]], SECONDS.show(one["seconds"])] for one in found]
    return aligned(lines)


def aligned(lines):
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    text = ["| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths)) + " |"
            for line in lines]
    text.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(text)


def as_data(points, found):
    return {"lives": [{**vars(point), "steps": life} for point, life in points],
            "openings": found}


def draw(points, layout, cache):
    """Total time of each step against the disk's size, both axes logarithmic."""
    chosen = [(p, life) for p, life in points if (p.layout, p.cache) == (layout, cache)]
    times = [life[step]["total"] for _, life in chosen for step in lives.STEPS]
    sizes = [point.size for point, _ in chosen]
    low, high = math.floor(math.log10(min(times))), math.ceil(math.log10(max(times)))
    first, last = math.log2(min(sizes)), math.log2(max(sizes))

    def x(size):
        return LEFT + WIDTH * (math.log2(size) - first) / max(last - first, 1)

    def y(seconds):
        return TOP + HEIGHT * (high - math.log10(seconds)) / max(high - low, 1)

    text = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 150}" '
            f'height="{TOP + HEIGHT + 50}" font-family="sans-serif" font-size="13">',
            '<rect width="100%" height="100%" fill="white"/>',
            f'<text x="10" y="24" font-size="16">Snapshot steps against disk size, '
            f'{escape(layout)}, {escape(cache)} cache</text>']
    for power in range(low, high + 1):
        at = y(10 ** power)
        text.append(f'<line x1="{LEFT}" y1="{at:.1f}" x2="{LEFT + WIDTH}" y2="{at:.1f}" '
                    f'stroke="#ddd"/><text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end" '
                    f'fill="#555">{SECONDS.show(10 ** power)}</text>')
    for size in sorted(set(sizes)):
        text.append(f'<text x="{x(size):.1f}" y="{TOP + HEIGHT + 24}" text-anchor="middle" '
                    f'fill="#555">{size >> 30} GiB</text>')
    for program, dashes in (("varve", ""), ("qemu", ' stroke-dasharray="6 4"')):
        for step in lives.STEPS:
            line = sorted((p.size, life[step]["total"]) for p, life in chosen
                          if p.program == program)
            if line:
                text += curve(line, x, y, f"{NAMES[program]} {step}", COLOURS[step], dashes)
    text.append("</svg>")
    return "\n".join(text) + "\n"


def curve(line, x, y, name, colour, dashes):
    places = [(x(size), y(seconds)) for size, seconds in line]
    path = " ".join(f"{px:.1f},{py:.1f}" for px, py in places)
    parts = [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>']
    parts += [f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3" fill="{colour}"/>' for px, py in places]
    parts.append(f'<text x="{places[-1][0] + 8:.1f}" y="{places[-1][1] + 4:.1f}" '
                 f'fill="{colour}">{escape(name)}</text>')
    return parts
