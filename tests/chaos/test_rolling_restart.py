"""A fleet is restarted, one instance after the other, under work: nobody misses an event, nothing runs twice."""

import asyncio
import contextlib
import json
from pathlib import Path

import pytest
from redis.asyncio import Redis
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from tests.fleets.storm import AGENTS
from tests.support.fleet import Fleet, running_fleet
from tests.support.gateway import Client, client, is_final
from tests.support.history import check_all
from tests.support.processes import until
from tests.support.waiting import let_pass

pytestmark = [pytest.mark.journey, pytest.mark.timeout(600)]

TASKS = 12
CLIENTS = 40
GONE = (ConnectionClosed, InvalidHandshake, OSError, EOFError, TimeoutError)
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
        for task_id in task_ids:
            histories = [done.result()[1] for done in following if done.result()[0] == task_id]
            check_all(histories)
            end = json.loads(histories[0][-1])["data"]
            assert (end["status"], end["result"]) == ("completed", {"ticks": 60})
    assert len(crowd.off) >= CLIENTS // 4, "too few were sent off"
    assert len(set(crowd.off)) > len(crowd.off) // 2, "many were told the same time"


async def submitted(fleet: Fleet) -> list[str]:
    """Tasks that last as long as the restart: 15 s each, and more for what is done anew."""
    given = {"agent": "ticker", "input": {"task": "count", "ticks": 60, "every_s": 0.25}}
    async with client(fleet.socket_url) as me:
        return [await me.submit(mode="background", **given) for _ in range(TASKS)]


class Crowd:
    """Clients of the balancer: how often one came, and when those that were sent off were told to come back, in ms."""

    def __init__(self, fleet: Fleet) -> None:
        self.came = 0
        self.off: list[int] = []
        self._fleet = fleet

    async def follows(self, task_id: str) -> tuple[str, list[str]]:
        """All of a task, over as many connections as it takes."""
        frames: list[str] = []
        while not (frames and is_final(json.loads(frames[-1]))):
            with contextlib.suppress(*GONE):
                async with client(self._fleet.socket_url) as me:
                    await self._reads(me, task_id, frames)
            await let_pass(0.1)
        return task_id, frames

    async def _reads(self, me: Client, task_id: str, frames: list[str]) -> None:
        answer = await me.ask("subscribe", task_id=task_id, after_seq=len(frames))
        self.came += "task" in answer
        try:
            await me.until_ended(task_id)
        finally:
            frames += me.frames.get(task_id, [])
            if me.goodbye is not None:
                self.off.append(me.goodbye["reconnect_in_ms"])


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
