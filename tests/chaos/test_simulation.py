"""Ten thousand seeds of the simulation, on all processors. `make chaos` runs it."""

import multiprocessing
import os
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

import pytest

from tests.simulation.runs import Summary, summary_of
from tests.simulation.sightings import BRANCHES
from tests.simulation.weather import KINDS

SEEDS = range(1000, 11_000)


@pytest.mark.timeout(3600)
def test_nothing_is_lost_in_ten_thousand_seeds() -> None:
    """Every seed holds; each fault has happened, a hundred times at least, and each way out was taken twenty times."""
    happened, seen, failures = Counter[str](), Counter[str](), list[str]()
    for summary in _summaries():
        happened += summary.faults
        seen += summary.seen
        failures += [summary.failure] if summary.failure is not None else []
    if failures:
        pytest.fail("\n".join([f"{len(failures)} seeds failed:", *failures[:20]]), pytrace=False)
    assert [kind for kind in KINDS if happened[kind] < 100] == []
    assert [branch for branch in BRANCHES if seen[branch] < 20] == []


def _summaries() -> list[Summary]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        os.process_cpu_count() if hasattr(os, "process_cpu_count") else os.cpu_count(), context
    ) as pool:
        return list(pool.map(summary_of, SEEDS, chunksize=50))
