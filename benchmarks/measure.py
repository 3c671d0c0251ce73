"""Figures and how they are told: the median of several runs, each beside a floor of the same run."""

import json
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(slots=True)
class Figure:
    """One measured thing: its runs, those of its floor, and what it should be.

    `at_most` and `at_least` bound the median itself, `ratio_at_most` and `ratio_at_least` the median over
    the floor's. Absolute bounds are told, and judged by people: these machines are noisy.
    """

    name: str
    unit: str
    runs: list[float]
    floor_name: str = ""
    floor_runs: list[float] = field(default_factory=list)
    at_most: float | None = None
    at_least: float | None = None
    ratio_at_most: float | None = None
    ratio_at_least: float | None = None
    note: str = ""

    @property
    def median(self) -> float:
        """Of the runs."""
        return statistics.median(self.runs)

    @property
    def floor(self) -> float | None:
        """The median of the floor's runs."""
        return statistics.median(self.floor_runs) if self.floor_runs else None

    @property
    def ratio(self) -> float | None:
        """How many times the floor it is."""
        return self.median / self.floor if self.floor else None

    @property
    def verdict(self) -> str:
        """Whether it is what it should be."""
        bounds = [
            (self.median, self.at_most, False),
            (self.median, self.at_least, True),
            (self.ratio, self.ratio_at_most, False),
            (self.ratio, self.ratio_at_least, True),
        ]
        wanted = [
            (value, bound, up) for value, bound, up in bounds if value is not None and bound is not None
        ]
        if not wanted:
            return ""
        return (
            "ok" if all(value >= bound if up else value <= bound for value, bound, up in wanted) else "MISSED"
        )

    def line(self) -> str:
        """For people."""
        spread = f"{min(self.runs):.3g}–{max(self.runs):.3g}"
        words = [f"{self.name:<44} {self.median:>9.3g} {self.unit:<5} ({spread})"]
        if self.floor is not None:
            words.append(f"{self.floor_name}: {self.floor:.3g} {self.unit}, ratio {self.ratio:.2f}")
        wants = {
            "≤": self.at_most,
            "≥": self.at_least,
            "ratio ≤": self.ratio_at_most,
            "ratio ≥": self.ratio_at_least,
        }
        words += [f"wanted {sign} {bound:g}" for sign, bound in wants.items() if bound is not None]
        return "  ".join([*words, self.verdict, self.note]).rstrip()


def tell(figures: list[Figure], *, as_json: bool) -> bool:
    """Print `figures`; whether all are what they should be."""
    for figure in figures:
        extra = {"median": figure.median, "ratio": figure.ratio, "verdict": figure.verdict}
        sys.stdout.write((json.dumps(asdict(figure) | extra) if as_json else figure.line()) + "\n")
        sys.stdout.flush()
    return all(figure.verdict != "MISSED" for figure in figures)


@contextmanager
def disk() -> Iterator[Path]:
    """A folder on the disk of this tree: a file system in memory, as `/tmp` may be one, syncs nothing."""
    with tempfile.TemporaryDirectory(dir=Path(__file__).parents[1], prefix=".bench-") as folder:
        yield Path(folder)
