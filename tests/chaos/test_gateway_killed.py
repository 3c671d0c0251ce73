"""The gateway is killed with -9 again and again under work; nobody misses anything. `make chaos` runs it."""

import asyncio
import json
import random
import socket
from pathlib import Path

import pytest

from gateway.client.session import connect
from tests.support.gateway import GatewayProcess, client, running_gateway
from tests.support.history import check_all

KILLS = 20
TASKS = 10
FOLLOWERS = 3
WORK = "i=1; while [ $i -le 40 ]; do echo line $i; i=$((i+1)); sleep 0.05; done"


def free_port() -> int:
    """A port that nobody listens on, for a gateway that comes back to it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def follow(url: str, task_id: str) -> list[str]:
    """Every event of a task, by the client library, over as many connections as it takes."""
    async with connect(url) as session:
        return [json.dumps(event) async for event in await session.subscribe(task_id)]


@pytest.mark.timeout(600)
async def test_killed_gateway_loses_no_event_and_no_task(tmp_path: Path) -> None:
    """Over 20 kills every answered submit is there, and every follower sees the same whole log with one end."""
    rng = random.Random(1)
    data, port = tmp_path / "data", free_port()
    async with asyncio.TaskGroup() as group:
        async with running_gateway(data, "--port", str(port)) as gateway:
            task_ids = await submits(gateway)
            followers = [
                [group.create_task(follow(gateway.url, i)) for _ in range(FOLLOWERS)] for i in task_ids
            ]
            await kill_soon(gateway, rng)
        for _ in range(KILLS - 1):
            async with running_gateway(data, "--port", str(port)) as gateway:
                await kill_soon(gateway, rng)
        async with running_gateway(data, "--port", str(port)):
            histories = [[await follower for follower in several] for several in followers]
    for several in histories:
        check_all(several)
    ends = [json.loads(several[0][-1])["data"] for several in histories]
    assert {end["status"] for end in ends} == {"completed"}
    assert sum(end["attempt"] for end in ends) >= TASKS + KILLS, "the kills hit too little that ran"


async def kill_soon(gateway: GatewayProcess, rng: random.Random) -> None:
    """Kill it after a moment of work."""
    await asyncio.sleep(rng.uniform(0.05, 1.0))
    await gateway.kill()


async def submits(gateway: GatewayProcess) -> list[str]:
    """Some tasks, each answered."""
    async with client(gateway.socket_url) as me:
        return [await me.submit(WORK, mode="background", max_attempts=200) for _ in range(TASKS)]
