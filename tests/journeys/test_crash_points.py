"""A real gateway is killed at exact points of its code: the quick ones of `docs/crash-points.md`."""

from pathlib import Path

import pytest

from tests.crashes.launch import place_of
from tests.crashes.points import QUICK
from tests.crashes.stage import POINTS, Stage

pytestmark = pytest.mark.journey


@pytest.mark.parametrize("name", QUICK)
async def test_crash_loses_nothing(tmp_path: Path, name: str) -> None:
    """Killed there, a gateway leaves what its row of the table says, and the next one goes on from that."""
    point = POINTS[name]
    await point.act(Stage(point, tmp_path / "data"))


@pytest.mark.parametrize("name", POINTS)
def test_crash_point_is_there(name: str) -> None:
    """Every row of the table names code of the product, so that a change of that code is noticed at once."""
    when, _, where = POINTS[name].at.partition(" ")
    if when in {"before", "after"}:
        owner, called = place_of(where)
        assert callable(getattr(owner, called))
