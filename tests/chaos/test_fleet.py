"""A fleet in a long storm, and a Redis that dies again and again. `make chaos` runs it, in some fourteen minutes.

`CHAOS_SEED=… make chaos ARGS="-k fleet"` repeats a schedule of faults; `CHAOS_SECONDS` makes it shorter.
"""

import os
import random
import sys
from pathlib import Path

import pytest

from tests.fleets.faults import OF_INSTANCES, OF_SERVERS, OF_THE_NETWORK
from tests.fleets.storm import ENV, Plan, Storm
from tests.support.fleet import running_fleet

SECONDS = float(os.environ.get("CHAOS_SECONDS", "600"))
TASKS = 200


def said(capsys: pytest.CaptureFixture[str], words: object) -> None:
    """Let who runs it see it."""
    with capsys.disabled():
        sys.stdout.write(f"\n{words}\n")
        sys.stdout.flush()


def seed_of(capsys: pytest.CaptureFixture[str]) -> int:
    """The run's seed, said."""
    seed = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().getrandbits(32))
    said(capsys, f"CHAOS_SEED={seed}")
    return seed


@pytest.mark.timeout(3 * SECONDS + 900)
async def test_fleet_loses_no_event_and_no_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each kind of fault happens; 600 followers miss nothing, and every submit is one task with one end."""
    seed = seed_of(capsys)
    lanes = [[*OF_THE_NETWORK, *OF_INSTANCES], list(OF_SERVERS)]
    plan = Plan(seed=seed, seconds=SECONDS, tasks=TASKS, followers=3, lanes=lanes)
    async with running_fleet(tmp_path, gateways=3, env=ENV, rng=random.Random(seed)) as fleet:
        storm = Storm(fleet, plan)
        try:
            await storm.rages()
        finally:
            said(capsys, {"happened": dict(storm.happened), "missed": dict(storm.missed), **storm.counts})
    assert set(storm.happened) == {fault for lane in lanes for fault in lane}
    assert storm.counts["came back to a running task"] > TASKS


@pytest.mark.timeout(900)
async def test_redis_dies_ten_times_under_load(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Killed with -9 and started empty, its subscribers cut every 60 ms in between: all streams are whole."""
    seed, dead, cut = seed_of(capsys), "Redis killed, empty", "Redis' subscribers killed"
    plan = Plan(seed=seed, seconds=90.0, tasks=60, followers=3, lanes=[[dead, cut]], longest_s=2.0)
    async with running_fleet(tmp_path, gateways=3, env=ENV) as fleet:
        storm = Storm(fleet, plan)
        await storm.rages()
    said(capsys, {"happened": dict(storm.happened), **storm.counts})
    assert storm.happened[dead] >= 10
    assert storm.happened[cut] >= 10
