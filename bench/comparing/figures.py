"""A row: what was measured, what it is compared with, what is wanted."""

import statistics
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Target:
    """Varve is wanted to be `factor` times as good as `peer`, or its figure to reach `limit`."""
    peer: str = ""
    factor: float = 0
    limit: float = 0

    def text(self, row):
        if self.peer:
            return f"≥ {self.factor:g} × {NAMES[self.peer]}"
        return f"{'≤' if row.unit == 's' else '≥'} {row.show(self.limit)}"


NAMES = {"varve": "Varve", "raw": "raw loop", "fio": "fio raw", "copy": "copy loop",
         "qemu": "QEMU"}


@dataclass(frozen=True)
class Row:
    name: str
    title: str  # May name the snapshot disks' sizes: {small}, {large}.
    unit: str  # "/s", "%": more is better. "s": less is better.
    targets: tuple = field(default=())

    def show(self, figure):
        if self.unit == "/s":
            return f"{figure / 1000:.1f} k/s"
        if self.unit == "%":
            return f"{figure * 100:.0f} %"
        if figure >= 1:
            return f"{figure:.2f} s"
        return f"{figure * 1e3:.1f} ms" if figure >= 1e-3 else f"{figure * 1e6:.1f} µs"

    def better(self, ours, theirs):
        """How many times better ours is."""
        if self.unit == "s":
            return theirs / ours if ours else 0
        return ours / theirs if theirs else 0

    def judge(self, samples, words):
        """Medians, spreads and ratios of figures taken in pairs, round by round."""
        programs = {}
        for program, found in samples.items():
            figures = [sample["figure"] for sample in found if "figure" in sample]
            if not figures:
                continue
            median = statistics.median(figures)
            programs[program] = {
                "median": median, "spread": (max(figures) - min(figures)) / median if median else 0,
                "figures": figures, "samples": found}
        ours = programs.get("varve", {}).get("figures", [])
        ratios = {
            program: statistics.median(map(self.better, ours, theirs["figures"]))
            for program, theirs in programs.items() if program != "varve" and ours}
        wanted = [{"text": target.text(self), "reached": self.is_reached(target, programs, ratios)}
                  for target in self.targets]
        return {"name": self.name, "title": self.title.format(**words), "unit": self.unit,
                "programs": programs,
                "shown": {p: self.show(v["median"]) for p, v in programs.items()},
                "ratios": ratios, "targets": wanted,
                "falls_short": any(w["reached"] is False for w in wanted),
                "target_factors": {t.peer: t.factor for t in self.targets if t.peer}}

    def is_reached(self, target, programs, ratios):
        """None where there was nothing to compare with."""
        if target.peer:
            return ratios[target.peer] >= target.factor if target.peer in ratios else None
        if "varve" not in programs:
            return None
        return self.better(programs["varve"]["median"], target.limit) >= 1
