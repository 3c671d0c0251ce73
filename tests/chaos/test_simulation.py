"""Ten thousand seeds of the simulation with one instance, and with three, on all processors. `make chaos` runs it."""

import multiprocessing
import os
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import pytest

from tests.simulation.runs import Summary, summary_of
from tests.simulation.sightings import BRANCHES, OF_MANY
from tests.simulation.weather import FLEET_KINDS, KINDS

SEEDS = range(1000, 11_000)


@pytest.mark.timeout(7200)
@pytest.mark.parametrize(("instances", "kinds", "ways"), [(1, KINDS, BRANCHES), (3, FLEET_KINDS, OF_MANY)])
def test_nothing_is_lost_in_ten_thousand_seeds(
    instances: int, kinds: Iterable[str], ways: Iterable[str]
) -> None:
    """Every seed holds; each fault has happened, a hundred times at least, and each way out was taken twenty times."""
    happened, seen, failures = Counter[str](), Counter[str](), list[str]()
    for summary in _summaries(instances):
        happened += summary.faults
        seen += summary.seen
        failures += [summary.failure] if summary.failure is not None else []
    if failures:
        pytest.fail("\n".join([f"{len(failures)} seeds failed:", *failures[:20]]), pytrace=False)
    assert [kind for kind in kinds if happened[kind] < 100] == []
    assert [branch for branch in ways if seen[branch] < 20] == []


def _summaries(instances: int) -> list[Summary]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        os.process_cpu_count() if hasattr(os, "process_cpu_count") else os.cpu_count(), context
    ) as pool:
        return list(pool.map(partial(summary_of, instances=instances), SEEDS, chunksize=50))
