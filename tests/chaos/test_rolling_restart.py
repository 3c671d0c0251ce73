"""A fleet is restarted, one instance after the other, under work: nobody misses an event, nothing runs twice."""

import asyncio
from pathlib import Path

import pytest
from redis.asyncio import Redis

from tests.fleets.balanced import CLIENTS, TASKS, Crowd, check_counted, submitted
from tests.fleets.storm import AGENTS
from tests.support.fleet import Fleet, running_fleet
from tests.support.processes import until
from tests.support.waiting import let_pass

pytestmark = [pytest.mark.journey, pytest.mark.timeout(600)]

NEWER = b'{"kind":"of a version to come","v":2}'


async def test_rolling_restart_costs_nobody_an_event(tmp_path: Path) -> None:
    """Clients are sent off, each at its own time, and go on elsewhere; a newer version speaks on the bus."""
    env = {"GATEWAY_AGENTS": AGENTS, "GATEWAY_DRAIN_S": "1", "GATEWAY_REQUESTS_PER_S": "0"}
    async with running_fleet(tmp_path, env=env) as fleet:
        task_ids = await submitted(fleet)
        crowd = Crowd(fleet)
        async with asyncio.TaskGroup() as group:
            following = [group.create_task(crowd.follows(task_ids[n % TASKS])) for n in range(CLIENTS)]
            newer = group.create_task(newer_speaks(fleet))
            await until(lambda: crowd.came >= CLIENTS, within_s=60, what="all clients")
            for instance in fleet.instances:
                assert await instance.stop() == 0
                await instance.start()
            await asyncio.wait(following)
            newer.cancel()
        check_counted([done.result() for done in following])
    assert len(crowd.off) >= CLIENTS // 4, "too few were sent off"
    assert len(set(crowd.off)) > len(crowd.off) // 2, "many were told the same time"


async def newer_speaks(fleet: Fleet) -> None:
    """An instance of version N+1 says on the bus what nobody here understands."""
    redis = Redis.from_url(fleet.redis.url)
    try:
        while True:
            for channel in await redis.pubsub_channels("gateway:*"):
                await redis.publish(channel, b"newer\n" + NEWER)
            await let_pass(0.5)
    finally:
        await redis.aclose()
