"""A fleet in a short storm: what `make chaos` lets last for ten minutes."""

import random
from pathlib import Path

import pytest

from tests.fleets.faults import OF_SERVERS, OF_THE_NETWORK
from tests.fleets.storm import ENV, Plan, Storm
from tests.support.fleet import running_fleet

pytestmark = pytest.mark.journey

SEED = 5
SECONDS = 8.0
QUICK_LEASES = {"GATEWAY_LEASE_S": "3", "GATEWAY_LEASE_RENEW_S": "1", "GATEWAY_TAKEOVER_S": "4"}


async def test_fleet_loses_nothing_in_a_short_storm(tmp_path: Path) -> None:
    """Networks and servers fail side by side: every stream is whole, every task ends once."""
    lanes = [list(OF_THE_NETWORK), list(OF_SERVERS)]
    plan = Plan(seed=SEED, seconds=SECONDS, tasks=24, followers=3, lanes=lanes, stay_s=3.0, longest_s=1.5)
    async with running_fleet(tmp_path, env=ENV | QUICK_LEASES, rng=random.Random(SEED)) as fleet:
        storm = Storm(fleet, plan)
        await storm.rages(processes=1)
    assert storm.happened.total() >= 6, (storm.happened, storm.missed)
    assert storm.counts["came back to a running task"] > 0
