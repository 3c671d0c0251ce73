"""The gateway on PostgreSQL: the same journeys, with both of them killed."""

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.support.gateway import client, output_of, running_gateway
from tests.support.history import check_one
from tests.support.killed import goes_on_after_a_kill
from tests.support.postgres import LIKE_A_SERVER, Server, postgres_server

pytestmark = pytest.mark.journey


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that syncs."""
    with postgres_server(LIKE_A_SERVER) as server:
        yield server


def environment(server: Server) -> Mapping[str, str]:
    """What makes a gateway keep its state there."""
    return {"STATE_PERSISTENCE_BACKEND": "postgresql", "STATE_DATABASE_URL": server.dsn()}


async def test_killed_gateway_goes_on_from_its_database(tmp_path: Path, server: Server) -> None:
    """After kill -9 of the gateway, ended tasks replay byte for byte and others run again, in the same log."""
    await goes_on_after_a_kill(tmp_path / "data", environment(server))


async def test_task_outlives_a_crash_of_its_database(tmp_path: Path, server: Server) -> None:
    """While the database is away a task is held back, not lost: its output comes whole once it is there again."""
    async with running_gateway(tmp_path / "data", env=environment(server)) as gateway:
        async with client(gateway.socket_url) as me:
            task_id = await me.submit("for n in $(seq 1 40); do echo line $n; sleep 0.05; done")
            await me.until_event(task_id, "output")
            await asyncio.to_thread(server.stop, "immediate")
            await asyncio.to_thread(server.start)
            events = await me.until_ended(task_id)
        assert server.recoveries == 1
        check_one(me.frames[task_id])
        assert output_of(events) == "".join(f"line {n}\n" for n in range(1, 41))
        assert events[-1]["data"]["status"] == "completed"
        assert max(event["data"].get("attempt", 0) for event in events) == 1
