"""What the runs came to: per row and server a cell, and what of it is held against the wanted ratios."""

import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.fanout.load import Loaded
from benchmarks.fanout.rows import Row
from benchmarks.measure import Figure


@dataclass(slots=True)
class Cell:
    """One row on one server, in all rounds."""

    runs: list[Loaded] = field(default_factory=list)
    kib: list[float] = field(default_factory=list)
    """Instead of runs, where it is memory that was measured."""

    @property
    def values(self) -> list[float]:
        """us of CPU, or KiB, for one of what is counted; of each round."""
        return self.kib or [run.each_us for run in self.runs]

    @property
    def each(self) -> float:
        """The median of them."""
        return statistics.median(self.values)

    @property
    def a_second(self) -> list[float]:
        """How many there were, of each round."""
        return [run.a_second for run in self.runs]

    def median(self, name: str) -> float:
        """Of a number of `Loaded`."""
        return float(statistics.median(getattr(run, name) for run in self.runs))

    @property
    def broken(self) -> str:
        """What came wrong: numbers with gaps, lost connections or requests; nothing where all is well."""
        gaps, lost = sum(run.gaps for run in self.runs), sum(run.lost for run in self.runs)
        return f"{gaps} GAPS, {lost} LOST" if gaps or lost else ""

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        return {"each": self.each, "kib": self.kib, "runs": [asdict(run) for run in self.runs]}


Cells = Mapping[str, Cell]
"""By server."""


def line(cell: Cell, row: Row, floor: Cell | None) -> str:
    """A cell for people."""
    unit = "KiB" if cell.kib else "us"
    ratio = f"{cell.each / floor.each:6.2f} x floor" if floor is not None and cell.runs else ""
    words = [f"{cell.each:8.2f} {unit} a {row.unit:<10} {ratio:<15}"]
    if cell.runs:
        words += [
            f"p50 {cell.median('p50_us') / 1000:7.1f}  p99 {cell.median('p99_us') / 1000:7.1f} ms",
            f"{cell.median('a_second'):>11,.0f}/s",
            f"cores {cell.median('cores'):.2f}, load {cell.median('own_cpu'):.2f}",
            f"{cell.median('share'):.0%} came",
        ]
    return "  ".join([*words, cell.broken]).rstrip()


def figures(row: Row, cells: Cells) -> list[Figure]:
    """Ours, held against what it should be."""
    if (mine := cells.get(row.mine)) is None:
        return []
    unit = "KiB" if mine.kib else "us"
    found = [
        Figure(f"{row.name}: per {row.unit}", unit, mine.values, name, cells[name].values, ratio_at_most=most)
        for name, most in row.at_most.items()
        if name in cells
    ]
    if row.each is not None:
        found.append(Figure(f"{row.name}: per {row.unit}", unit, mine.values, at_most=row.each))
    if row.p99_ms is not None:
        p99 = [run.p99_us / 1000 for run in mine.runs]
        found.append(Figure(f"{row.name}: p99", "ms", p99, at_most=row.p99_ms))
    if row.cores is not None:
        found.append(Figure(f"{row.name}: cores", "", [run.cores for run in mine.runs], at_most=row.cores))
        shares = [run.share for run in mine.runs]
        found.append(Figure(f"{row.name}: came", "", shares, at_least=1))
    if row.a_second is not None:
        allowed = 0.8 * cells["disk"].median("a_second") if "disk" in cells else row.a_second
        least = min(row.a_second, allowed)
        found.append(Figure(f"{row.name}: rate", "/s", mine.a_second, at_least=least))
    return found
