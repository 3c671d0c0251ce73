"""A real gateway is killed at exact points of its code: those of `docs/crash-points.md` that take longer."""

from pathlib import Path

import pytest

from tests.crashes.points import LONG
from tests.crashes.stage import POINTS, Stage

pytestmark = pytest.mark.journey


@pytest.mark.parametrize("name", LONG)
async def test_crash_loses_nothing(tmp_path: Path, name: str) -> None:
    """Killed there, a gateway leaves what its row of the table says, and the next one goes on from that."""
    point = POINTS[name]
    await point.act(Stage(point, tmp_path / "data"))
