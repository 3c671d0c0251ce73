"""A fleet in a storm of a minute: what `make chaos` lets last for ten. `CHAOS_SEED=…` is another one."""

import os
import random
from pathlib import Path

import pytest

from tests.fleets.faults import OF_INSTANCES, OF_SERVERS, OF_THE_NETWORK
from tests.fleets.storm import ENV, QUICK_LEASES, Plan, Storm
from tests.support.fleet import running_fleet

pytestmark = [pytest.mark.journey, pytest.mark.timeout(400)]

SEED = int(os.environ.get("CHAOS_SEED", "5"))
SECONDS = 60.0


async def test_fleet_loses_nothing_in_a_storm_of_a_minute(tmp_path: Path) -> None:
    """Networks, servers and instances fail side by side: every stream is whole, every task ends once."""
    lanes = [list(OF_THE_NETWORK), list(OF_SERVERS), list(OF_INSTANCES)]
    plan = Plan(seed=SEED, seconds=SECONDS, tasks=24, followers=3, lanes=lanes, longest_s=1.5)
    async with running_fleet(tmp_path, gateways=3, env=ENV | QUICK_LEASES, rng=random.Random(SEED)) as fleet:
        storm = Storm(fleet, plan)
        await storm.rages(processes=1)
    told = (SEED, dict(storm.happened), dict(storm.missed), dict(storm.counts))
    # A slow machine takes long to start an instance again: there is no time for all kinds then.
    for kinds in (OF_THE_NETWORK, OF_SERVERS, OF_INSTANCES):
        assert len(kinds.keys() & storm.happened) >= len(kinds) / 2, told
    assert storm.counts["came back to a running task"] > plan.tasks, told
