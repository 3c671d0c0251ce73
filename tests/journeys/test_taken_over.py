"""A separate sandbox service survives its gateway: what ran in it is gone on with, in the same attempt."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.support.gateway import Client, GatewayProcess, client, output_of, running_gateway
from tests.support.history import check_one
from tests.support.sandbox_process import sandbox_service

pytestmark = pytest.mark.journey


@pytest.fixture(name="service")
def _service() -> Iterator[str]:
    # However busy this machine is, a gateway is back by then.
    with sandbox_service(resume_s="60") as url:
        yield url


@asynccontextmanager
async def gateway_of(data: Path, service: str, **env: str) -> AsyncIterator[GatewayProcess]:
    """A gateway whose only sandbox is the service."""
    given = {"WEBSOCKET_URL": service, **env}
    async with running_gateway(data, "--no-local-sandbox", env=given) as gateway:
        yield gateway


@asynccontextmanager
async def watching(gateway: GatewayProcess, task_id: str) -> AsyncIterator[Client]:
    """A client that follows the task from its beginning."""
    async with client(gateway.socket_url) as me:
        await me.ask("subscribe", task_id=task_id)
        yield me


def statuses(events: list[dict[str, Any]]) -> list[str]:
    """What the task was, one after the other."""
    return [event["data"]["status"] for event in events if event["event"] == "status"]


async def begun(data: Path, service: str, *commands: Any, **fields: Any) -> str:
    """A task that has put something out when its gateway is killed."""
    async with gateway_of(data, service) as gateway, client(gateway.socket_url) as me:
        task_id = await me.submit(*commands, **fields)
        await me.until_event(task_id, "output")
        await gateway.kill()
    return task_id


def lines(first: int, last: int) -> str:
    """What `seq` prints."""
    return "".join(f"{number}\n" for number in range(first, last + 1))


async def test_gateway_killed_again_and_again_costs_no_attempt_and_no_line(
    tmp_path: Path, service: str
) -> None:
    """Wherever its gateway is killed, a task goes on in the same attempt, and each line is in its log once."""
    rng = Random(4)
    data = tmp_path / "data"
    count = 2000
    command = f"for i in $(seq {count}); do echo $i; [ $((i % 20)) = 0 ] && sleep 0.05; done"
    task_id = await begun(data, service, command)
    for _ in range(3):
        async with gateway_of(data, service) as gateway, watching(gateway, task_id) as me:
            seen = rng.randrange(100)
            while len(me.events.get(task_id, [])) < seen and not me.has_ended(task_id):
                await me.read()
            await gateway.kill()
    async with gateway_of(data, service) as gateway, watching(gateway, task_id) as me:
        events = await me.until_ended(task_id)
        check_one(me.frames[task_id])
        task = (await me.ask("get_task", task_id=task_id))["task"]
    assert statuses(events) == ["pending", "running", "completed"]
    assert output_of(events) == lines(1, count)
    assert [event["data"]["exit_code"] for event in events if event["event"] == "command"] == [None, 0]
    assert (task["attempt"], task["instance"]) == (1, None)


async def test_task_that_ended_while_the_gateway_was_away_has_its_end(tmp_path: Path, service: str) -> None:
    """The sandbox keeps the end, and all that came before it, for as long as it would have run on."""
    data = tmp_path / "data"
    task_id = await begun(data, service, "echo begun", "sleep 1; seq 50000; exit 3")
    async with gateway_of(data, service) as gateway, watching(gateway, task_id) as me:
        events = await me.until_ended(task_id)
        check_one(me.frames[task_id])
    assert statuses(events) == ["pending", "running", "failed"]
    assert output_of(events) == "begun\n" + lines(1, 50000)
    assert events[-1]["data"]["error"]["details"]["exit_code"] == 3
