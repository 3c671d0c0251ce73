"""The whole on virtual time: seeds of a minute each, in which people work and things go wrong.

A failing seed prints the line that replays it: `python -m tests.simulation 7`.
"""

import functools
from collections import Counter

import pytest

from tests.simulation.runs import fresh_run, summary_of
from tests.simulation.sightings import BRANCHES, OF_MANY
from tests.simulation.weather import FLEET_KINDS, KINDS

SEEDS = (*range(300), 318, 372, 419)
"""In the last ones a sandbox goes before its task comes, as in one of a hundred and fifty."""
SEEDS_OF_MANY = (*range(70), 1574, 2190, 2505, 4520)
"""The later ones have found something: a session that ran on for nobody, a wish that nobody heard."""
MANY = 3
known = functools.cache(summary_of)


@pytest.mark.parametrize("seed", SEEDS, ids="seed-{}".format)
def test_nothing_is_lost_whatever_goes_wrong(seed: int) -> None:
    """Each follower sees the same whole log; each answered submit is there once; wishes come true; tasks end."""
    summary = known(seed)
    if summary.failure is not None:
        pytest.fail(summary.failure, pytrace=False)
    assert summary.virtual_s >= 60


def test_each_fault_happens() -> None:
    """Over the seeds every kind of fault has happened; else the runs prove nothing about it."""
    happened = sum((known(seed).faults for seed in SEEDS), Counter[str]())
    assert [kind for kind in (*KINDS, "cut", "delayed", "split", "refused") if happened[kind] < 20] == []


def test_each_way_out_is_taken() -> None:
    """Over the seeds the product has taken each of its ways of getting over a fault."""
    seen = sum((known(seed).seen for seed in SEEDS), Counter[str]())
    assert [branch for branch in BRANCHES if not seen[branch]] == []


@pytest.mark.parametrize("seed", SEEDS_OF_MANY, ids="seed-{}".format)
def test_many_instances_lose_nothing_either(seed: int) -> None:
    """Three over one store and a lossy bus, killed, frozen, cut off: the same holds, and none does another's work."""
    summary = known(seed, MANY)
    if summary.failure is not None:
        pytest.fail(summary.failure, pytrace=False)


def test_each_fault_of_many_happens() -> None:
    """And so does each way of getting over it that only many instances have."""
    happened = sum((known(seed, MANY).faults for seed in SEEDS_OF_MANY), Counter[str]())
    seen = sum((known(seed, MANY).seen for seed in SEEDS_OF_MANY), Counter[str]())
    assert [kind for kind in FLEET_KINDS if happened[kind] < 3] == []
    assert [branch for branch in OF_MANY if seen[branch] < 3] == []


@pytest.mark.parametrize(("seed", "instances"), [(3, 1), (5, 1), (4, MANY)])
def test_a_seed_is_one_history(seed: int, instances: int) -> None:
    """The same seed gives the same history, to the byte; another gives another."""
    first, second = (fresh_run(seed, instances).digest for _ in range(2))
    assert first == second
    assert first != fresh_run(seed + 1, instances).digest
