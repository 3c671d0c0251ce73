"""Agents that somebody wrote, in runs over a real store on virtual time."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson

from gateway.agents.base import AsyncBaseAgent
from gateway.agents.hosted import hosted
from gateway.agents.runner import Agent
from gateway.state.values import NewInput
from gateway.task_changes import lost
from gateway.tasks import Task, TaskRecord
from gateway.wishes import send_input, wish_cancel, wish_pause, wish_resume
from gateway.work.run import Run
from sandbox_bridge.bridge import Bridge
from tests.support.records import NOW_MS
from tests.support.waiting import let_pass
from tests.support.work import LOG, Bench

Steps = Callable[["Scripted", Task], AsyncGenerator[dict[str, Any], None]]


class Scripted(AsyncBaseAgent):
    """Does what a test says."""

    def __init__(self) -> None:
        super().__init__("Scripted")


def that(steps: Steps) -> Agent:
    """An agent whose runs do `steps`."""
    return hosted("scripted", type("It", (Scripted,), {"stream_execution": steps}))


def fail(words: str = "") -> None:
    """Raise."""
    raise ValueError(words)


class Attempt:
    """A run of an agent, and what people wish of it."""

    def __init__(self, table: Bench, agent: Agent, task: TaskRecord, bridge: Bridge | None = None) -> None:
        self.table = table
        self.task_id = task.task_id
        self.run = Run(
            task,
            agent,
            bridge=bridge,
            store=table.store,
            clock=table.clock,
            hold_s=900,
            on_change=lambda: None,
            log=LOG,
        )

    async def wish(self, decide: Any) -> None:
        """Wish something, and wait until it should have reached the agent."""
        await self.table.store.change_task(self.task_id, decide)
        self.run.ring()
        await let_pass(1)

    async def pause(self) -> None:
        """Wish a pause."""
        await self.wish(lambda row: wish_pause(row, now_ms=NOW_MS, by="bob"))

    async def resume(self) -> None:
        """Wish that it go on."""
        await self.wish(lambda row: wish_resume(row, by="bob"))

    async def cancel(self) -> None:
        """Wish its end."""
        await self.wish(lambda row: wish_cancel(row, now_ms=NOW_MS, by="bob"))

    async def answer(self, key: str, data: Any) -> None:
        """Send it input."""
        new = NewInput(orjson.dumps(data), key=key)
        await self.table.store.add_input(self.task_id, new, lambda row: send_input(row, 10))
        self.run.ring()
        await let_pass(1)

    async def row(self) -> TaskRecord:
        """The task as it is now."""
        return await self.table.row(self.task_id)

    async def said(self, *kinds: str) -> list[dict[str, Any]]:
        """The data of the events of these kinds."""
        return [event["data"] for event in await self.table.log(self.task_id) if event["event"] in kinds]


@asynccontextmanager
async def under_way(attempt: Attempt) -> AsyncIterator[Attempt]:
    """It runs inside the block, and is cut off at its end."""
    running = asyncio.ensure_future(attempt.run.execute())
    await let_pass(1)
    try:
        yield attempt
    finally:
        running.cancel()
        await asyncio.wait([running])


async def begun(table: Bench, agent: Agent, given: dict[str, Any] | None = None, **fields: Any) -> Attempt:
    """A task's first attempt."""
    return Attempt(
        table, agent, await table.running({"task": "text"} | (given or {}), takes_input=True, **fields)
    )


async def done(table: Bench, steps: Steps, **fields: Any) -> Attempt:
    """A task that was run to its end."""
    attempt = await begun(table, that(steps), **fields)
    await attempt.run.execute()
    return attempt


async def taken_up(table: Bench, agent: Agent, attempt: Attempt) -> Attempt:
    """The next attempt of a task whose place was lost."""
    await table.store.change_task(attempt.task_id, lambda row: lost(row, "instance_lost", now_ms=NOW_MS))
    return Attempt(table, agent, await table.claim(attempt.task_id))
