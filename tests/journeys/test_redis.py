"""Two gateways over one database and one Redis act as one: what is done at either is seen at the other."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.support.gateway import GatewayProcess, client, output_of, running_gateway
from tests.support.history import check_all, check_one
from tests.support.postgres import QUICK, Server, postgres_server
from tests.support.redis_server import RedisServer, redis_server
from tests.support.waiting import eventually

pytestmark = pytest.mark.journey


@pytest.fixture
def database() -> Iterator[Server]:
    """What both keep their tasks in."""
    with postgres_server(QUICK) as server:
        yield server


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """What both are joined by."""
    with redis_server() as server:
        yield server


@asynccontextmanager
async def two_gateways(
    folder: Path, database: Server, redis: RedisServer
) -> AsyncIterator[tuple[GatewayProcess, GatewayProcess]]:
    """One with a sandbox, and one that runs no task: so where a task runs is known."""
    env = {
        "STATE_PERSISTENCE_BACKEND": "postgresql",
        "STATE_DATABASE_URL": database.dsn(),
        "EVENT_BUS_BACKEND": "redis",
        "REDIS_URL": redis.url,
    }
    async with AsyncExitStack() as held:
        one = await held.enter_async_context(running_gateway(folder / "one", env=env))
        two = await held.enter_async_context(running_gateway(folder / "two", "--no-local-sandbox", env=env))
        yield one, two


async def test_task_is_submitted_steered_and_watched_anywhere(
    tmp_path: Path, database: Server, redis: RedisServer
) -> None:
    """Submitted at two, run at one, watched at both, cancelled from two: the same events, soon."""
    async with (
        two_gateways(tmp_path, database, redis) as (one, two),
        client(one.socket_url) as near,
        client(two.socket_url) as far,
    ):
        await far.ask("watch", topic="tasks")
        task_id = await far.submit("echo here; sleep 60")
        await near.ask("subscribe", task_id=task_id)
        await far.until_event(task_id, "output", text="here\n")
        assert "task" in await far.ask("cancel_task", task_id=task_id)
        async with asyncio.timeout(10):
            await far.until_ended(task_id)
            await near.until_ended(task_id)
        check_all([near.frames[task_id], far.frames[task_id]])
        assert near.frames[task_id] == far.frames[task_id]
        while not any(update.get("item", {}).get("status") == "cancelled" for update in far.updates):
            await far.read()


async def test_nobody_misses_an_event_when_redis_is_lost(
    tmp_path: Path, database: Server, redis: RedisServer
) -> None:
    """Killed and started empty under a task: each says so, serves on, and both see the whole log."""
    async with (
        two_gateways(tmp_path, database, redis) as (one, two),
        client(one.socket_url) as near,
        client(two.socket_url) as far,
        aiohttp.ClientSession() as http,
    ):

        async def degraded(gateway: GatewayProcess) -> list[str]:
            async with http.get(f"{gateway.url}/readyz") as answer:
                assert answer.status == 200
                found: list[str] = (await answer.json())["degraded"]
                return found

        async def both(expected: list[str]) -> bool:
            return [await degraded(one), await degraded(two)] == [expected, expected]

        task_id = await far.submit("for n in $(seq 1 100); do echo line $n; sleep 0.05; done")
        await near.ask("subscribe", task_id=task_id)
        await far.until_event(task_id, "output")
        await asyncio.to_thread(redis.kill)
        await eventually(lambda: both(["bus"]), within_s=20)
        without = await far.submit("true", mode="blocking")
        assert without
        await asyncio.to_thread(redis.start)
        await eventually(lambda: both([]), within_s=20)
        for who in (near, far):
            events = await who.until_ended(task_id)
            check_one(who.frames[task_id])
            assert output_of(events) == "".join(f"line {n}\n" for n in range(1, 101))
