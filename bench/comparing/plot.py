"""The ratios to QEMU as a plot: one bar a row, on a logarithmic scale, the target as a mark."""

import math
from xml.sax.saxutils import escape

LINE = 26
LEFT = 430
WIDTH = 460
TOP = 56


def draw(result):
    rows = [row for row in result["rows"] if row["ratios"].get("qemu", 0) > 0]
    marks = [row["target_factors"].get("qemu", 1) for row in rows]
    values = [row["ratios"]["qemu"] for row in rows]
    low = math.floor(math.log10(min(values + marks + [0.9])))
    high = math.ceil(math.log10(max(values + marks + [10])))

    def x(value):
        return LEFT + WIDTH * (math.log10(value) - low) / (high - low)

    height = TOP + LINE * len(rows) + 40
    text = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 90}" '
            f'height="{height}" font-family="sans-serif" font-size="13">',
            '<rect width="100%" height="100%" fill="white"/>',
            f'<text x="10" y="24" font-size="16">Times as fast as QEMU, '
            f'{escape(result["date"])}, {escape(result["programs"]["qemu"])}</text>']
    for power in range(low, high + 1):
        at = x(10 ** power)
        text.append(f'<line x1="{at:.1f}" y1="{TOP - 8}" x2="{at:.1f}" y2="{height - 30}" '
                    f'stroke="#ccc"/><text x="{at:.1f}" y="{height - 12}" '
                    f'text-anchor="middle" fill="#555">{10 ** power:g}</text>')
    for number, row in enumerate(rows):
        text += bar(row, TOP + LINE * number, x)
    text.append("</svg>")
    return "\n".join(text) + "\n"


def bar(row, y, x):
    ratio = row["ratios"]["qemu"]
    start, end = sorted((x(1), x(ratio)))
    colour = "#c0504d" if row["falls_short"] else "#4f81bd"
    parts = [f'<text x="{LEFT - 10}" y="{y + 14}" text-anchor="end">{escape(row["title"])}</text>',
             f'<rect x="{start:.1f}" y="{y + 2}" width="{max(end - start, 1):.1f}" '
             f'height="{LINE - 10}" fill="{colour}"/>',
             f'<text x="{end + 6:.1f}" y="{y + 14}">{ratio:.2f}</text>']
    wanted = row["target_factors"].get("qemu")
    if wanted:
        parts.append(f'<line x1="{x(wanted):.1f}" y1="{y}" x2="{x(wanted):.1f}" '
                     f'y2="{y + LINE - 6}" stroke="black" stroke-width="2"/>')
    return parts
