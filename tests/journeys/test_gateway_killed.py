"""A few kills at random moments, as `make chaos` does them a hundred times."""

from pathlib import Path

import pytest

from tests.crashes.storm import MOMENTS, Storm, schedule

pytestmark = pytest.mark.journey

SEED = 62


async def test_killed_gateway_loses_no_event_and_no_task(tmp_path: Path) -> None:
    """Killed five times, a gateway owes no follower an event, no task its one end, and no answered submit its task."""
    storm = Storm(tmp_path / "data", seed=SEED, kills=5, tasks=4, lines=20)
    await storm.rages()
    assert storm.hits["came back to a running task"] > 0, storm.hits


def test_schedule_is_its_seeds() -> None:
    """The same seed is the same kills; this one has all kinds of them."""
    assert schedule(SEED, 5) == schedule(SEED, 5) != schedule(SEED + 1, 5)
    assert {strike.moment for strike in schedule(SEED, 5)[1:]} == set(MOMENTS)
