"""Whether the simulation would notice: bugs planted on purpose are caught, each by the check that is meant for it."""

import gc
from collections.abc import Iterator

import pytest
from aiohttp import web_app

from tests.simulation.mutants import BUGS, MADE_GOOD, Mutant
from tests.simulation.runs import fresh_run

SEEDS = range(80)

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True, scope="module")
def ruins() -> Iterator[None]:
    """Take away what is left of worlds that have failed: tasks and files, which the next test would be blamed for."""
    yield
    web_app._cached_build_middleware.cache_clear()  # aiohttp's, which holds whole worlds until others take their place
    gc.collect()


@pytest.mark.parametrize("mutant", BUGS, ids=lambda mutant: mutant.name)
def test_a_bug_is_caught(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within 80 seeds, and by one of its checks."""
    mutant.plant(monkeypatch)
    seeds = [mutant.known, *SEEDS]
    errors = (fresh_run(seed, mutant.instances, mutant.kinds).error for seed in seeds)
    error = next((error for error in errors if error is not None), "nothing: all seeds held")
    assert error.startswith(mutant.checks), error


@pytest.mark.parametrize("mutant", MADE_GOOD, ids=lambda mutant: mutant.name)
def test_what_the_bus_does_wrong_is_made_good(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody sees a gap, a repeat or another order, whatever comes over the bus."""
    mutant.plant(monkeypatch)
    assert [error for seed in range(4) if (error := fresh_run(seed).error) is not None] == []
