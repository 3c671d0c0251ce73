"""Whether the simulation would notice: bugs planted on purpose are caught, each by the check that is meant for it."""

import pytest

from tests.simulation.mutants import BUGS, MADE_GOOD, Mutant
from tests.simulation.runs import fresh_run

SEEDS = range(80)


@pytest.mark.parametrize("mutant", BUGS, ids=lambda mutant: mutant.name)
def test_a_bug_is_caught(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within 80 seeds, and by one of its checks."""
    mutant.plant(monkeypatch)
    errors = (fresh_run(seed, mutant.instances, mutant.kinds).error for seed in SEEDS)
    error = next((error for error in errors if error is not None), "nothing: all seeds held")
    assert error.startswith(mutant.checks), error


@pytest.mark.parametrize("mutant", MADE_GOOD, ids=lambda mutant: mutant.name)
def test_what_the_bus_does_wrong_is_made_good(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody sees a gap, a repeat or another order, whatever comes over the bus."""
    mutant.plant(monkeypatch)
    assert [error for seed in range(4) if (error := fresh_run(seed).error) is not None] == []
