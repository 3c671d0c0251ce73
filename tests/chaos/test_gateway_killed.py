"""The gateway is killed with -9 again and again under work; nobody misses anything. `make chaos` runs it.

About three minutes on two cores. `CHAOS_SEED=… make chaos ARGS="-k killed"` repeats a schedule of kills.
"""

import os
import random
import sys
from pathlib import Path

import pytest

from tests.crashes.storm import MOMENTS, Storm

KILLS = 100
TASKS = 20


@pytest.mark.timeout(1800)
async def test_killed_gateway_loses_no_event_and_no_task(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Over 100 kills 40 followers miss nothing, every task ends once, and every answered submit is one task."""
    seed = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().getrandbits(32))
    with capsys.disabled():
        sys.stdout.write(f"\nCHAOS_SEED={seed}\n")
    storm = Storm(tmp_path / "data", seed=seed, kills=KILLS, tasks=TASKS, lines=60)
    await storm.rages()
    with capsys.disabled():
        sys.stdout.write(f"{dict(storm.hits)}\n")
    assert storm.hits["attempts of long tasks"] >= 5 * TASKS, "the kills hit too little that ran"
    for hit in (*MOMENTS, "came back to a running task"):
        assert storm.hits[hit] >= KILLS // 20, storm.hits
