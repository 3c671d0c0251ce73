"""Gateways killed again and again while a separate sandbox service runs many tasks: no attempt and no line is lost.

About two minutes on two cores.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.support.gateway import Client, GatewayProcess, client, output_of, running_gateway
from tests.support.history import check_one
from tests.support.sandbox_process import sandbox_service

pytestmark = [pytest.mark.journey, pytest.mark.timeout(400)]

TASKS = 8
KILLS = 12
LINES = 5000


def given(number: int) -> dict[str, object]:
    """A task's input: lines, slowly, and a file whose hash is its last line."""
    loop = f"for i in $(seq {LINES}); do echo {number}.$i; [ $((i % 100)) = 0 ] && sleep 1; done"
    return {
        "commands": [loop, "head -c 3000000 /dev/urandom > f; sha256sum f"],
        "collect": {"globs": ["f"]},
    }


async def test_many_tasks_outlive_many_gateways(tmp_path: Path) -> None:
    """Each task ends well in the attempt that it began, with each of its lines once and its file whole."""
    rng = Random(11)
    with sandbox_service(resume_s="60", max_sessions=str(TASKS)) as service:
        async with life(tmp_path / "data", service) as (gateway, me):
            tasks = [await me.submit(input=given(number), timeout_s=3000) for number in range(TASKS)]
            for task_id in tasks:
                await me.until_event(task_id, "output")
            await gateway.kill()
        for _ in range(KILLS):
            async with life(tmp_path / "data", service, tasks) as (gateway, me):
                await read_some(me, tasks, rng.randrange(400))
                await gateway.kill()
        async with life(tmp_path / "data", service, tasks) as (_, me):
            for number, task_id in enumerate(tasks):
                await me.until_ended(task_id)
                check_one(me.frames[task_id])
                check(number, me.events[task_id])


@asynccontextmanager
async def life(
    data: Path, service: str, tasks: Sequence[str] = ()
) -> AsyncIterator[tuple[GatewayProcess, Client]]:
    """A gateway's, and a client that follows these tasks."""
    env = {"WEBSOCKET_URL": service}
    async with (
        running_gateway(data, "--no-local-sandbox", env=env) as gateway,
        client(gateway.socket_url) as me,
    ):
        for task_id in tasks:
            await me.ask("subscribe", task_id=task_id)
        yield gateway, me


async def read_some(me: Client, tasks: Sequence[str], most: int) -> None:
    """Read frames, unless nothing more will come."""
    for _ in range(most):
        if all(me.has_ended(task_id) for task_id in tasks):
            return
        await me.read()


def check(number: int, events: list[dict[str, Any]]) -> None:
    """One task's history."""
    statuses = [event["data"]["status"] for event in events if event["event"] == "status"]
    assert statuses == ["pending", "running", "completed"]
    (file,) = events[-1]["data"]["result"]["files"]
    said = "".join(f"{number}.{line}\n" for line in range(1, LINES + 1))
    assert output_of(events) == f"{said}{file['sha256']}  f\n"
