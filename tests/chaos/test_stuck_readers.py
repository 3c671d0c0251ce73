"""A thousand clients stop reading for 20 s during a flood. `make chaos` runs it."""

from pathlib import Path

import pytest

from tests.support.gateway import running_gateway
from tests.support.stuck_crowd import spoken, stuck_crowd

READERS = 1000
STUCK_S = 20.0
GROWS_MIB = 64.0


@pytest.mark.timeout(600)
async def test_thousand_stuck_readers_cost_little_and_catch_up_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever stops reading keeps its place and costs bounded memory; when it reads on it misses nothing."""
    env = {"GATEWAY_MAX_CONNECTIONS_PER_SUBJECT": "0"}
    async with running_gateway(tmp_path / "data", env=env) as gateway:
        found = await stuck_crowd(gateway, tmp_path, readers=READERS, tasks=8, floods=30, over_s=STUCK_S)
    with capsys.disabled():
        print(f"\n{spoken(found)}")  # noqa: T201 - the figures are what the run is for
    found.check()
    assert len(found.reports) == READERS
    assert found.grown < GROWS_MIB
    assert len([queue for queue in found.queues if queue > 64 << 10]) >= READERS, "they were not stuck"
