"""Synchronous agents and functions: in real threads and processes."""

import asyncio
import functools
import os
import threading
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Literal

import pytest

from gateway.agents.base import ExecutionStatus
from gateway.agents.migration import AsyncMigrationWrapper, async_compatible
from gateway.agents.sync_workers import Workers
from gateway.tasks import Task
from tests.support.old_agents import Old
from tests.support.processes import until
from tests.support.waiting import eventually

WORKERS = ("thread", "process")
USER: ContextVar[str] = ContextVar("user", default="nobody")


class Heard:
    """A host that notes what it is told."""

    def __init__(self) -> None:
        self.phases: list[str] = []

    async def progress(self, data: Any) -> None:
        """See `Host.progress`."""
        self.phases.append(data["phase"])

    def stands_still(self) -> None:
        """See `Host.stands_still`."""


def old(worker: Literal["thread", "process"]) -> tuple[AsyncMigrationWrapper, Heard]:
    """A wrapped agent, and what it tells."""
    agent, heard = AsyncMigrationWrapper(Old(), worker=worker), Heard()
    agent.hosted_by(heard)  # type: ignore[arg-type]  # nothing else is asked of it
    return agent, heard


@pytest.mark.parametrize("worker", WORKERS)
async def test_synchronous_agent_runs_beside_the_loop(worker: Literal["thread", "process"]) -> None:
    """Its result is the task's, its progress is told, and it is where it should be."""
    agent, heard = old(worker)
    result = await agent.execute_task(Task(task="x"))
    assert heard.phases == ["begin"]
    assert (result["pid"] == os.getpid(), result["thread"]) == (worker == "thread", worker == "process")
    assert agent.name == "old"


@pytest.mark.parametrize("worker", WORKERS)
async def test_error_of_a_worker_is_its_own(worker: Literal["thread", "process"]) -> None:
    """With its type."""
    agent, _ = old(worker)
    with pytest.raises(LookupError, match="secret"):
        await agent.execute_task(Task(task="fail"))
    assert agent._current_status is ExecutionStatus.FAILED


@pytest.mark.parametrize("end", ["StopIteration", "SystemExit"])
async def test_what_asyncio_can_not_be_told_is_an_error_like_any_other(end: str) -> None:
    """A `next` of nothing in synchronous code: no future takes it, and the task would hang."""
    agent, _ = old("thread")
    with pytest.raises(RuntimeError, match=end):
        await agent.execute_task(Task(task=end))


async def test_process_that_dies_is_an_error() -> None:
    """Nobody waits for it for ever."""
    agent, _ = old("process")
    with pytest.raises(RuntimeError, match="died with 3"):
        await agent.execute_task(Task(task="die"))


async def test_cancelled_process_is_gone(tmp_path: Path) -> None:
    """When the one who waited has been told."""
    agent, _ = old("process")
    pid = tmp_path / "pid"
    running = asyncio.ensure_future(agent.execute_task(Task(task="hang", input={"pid": str(pid)})))
    await until(lambda: pid.exists() and pid.read_text() != "", within_s=30, what="the worker works")
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


async def test_cancelled_thread_ends_where_it_tells_its_progress() -> None:
    """Who waited goes at once."""
    before = threading.active_count()
    agent, heard = old("thread")
    running = asyncio.ensure_future(agent.execute_task(Task(task="talk")))
    await until(lambda: len(heard.phases) > 3, within_s=30, what="it talks")
    running.cancel()
    await asyncio.wait([running])
    await until(lambda: threading.active_count() <= before, within_s=30, what="the thread has ended")


@pytest.mark.parametrize("worker", WORKERS)
async def test_paused_one_stands_still_where_it_tells_its_progress(
    worker: Literal["thread", "process"],
) -> None:
    """And sees a cancel there."""
    agent, heard = old(worker)
    running = asyncio.ensure_future(agent.execute_task(Task(task="talk")))
    await until(lambda: len(heard.phases) > 3, within_s=30, what="it talks")
    await agent.pause_execution()
    async with asyncio.timeout(30):
        await agent.stands_still()
    told = len(heard.phases)
    await agent.resume_execution()
    await until(lambda: len(heard.phases) > told, within_s=30, what="it goes on")
    await agent.pause_execution()
    await agent.cancel_execution()
    async with asyncio.timeout(30):
        await asyncio.wait([running])
    assert running.cancelled() or running.exception() is not None


async def test_outside_a_gateway_a_task_may_be_anything() -> None:
    """As the guide has it: what a synchronous agent is called with is its own affair."""

    class Echo:
        def execute_task(self, task: Any) -> Any:
            return {"task": task}

    tasks: list[Any] = ["text", {"task_id": 1}, None]
    for task in tasks:
        assert await AsyncMigrationWrapper(Echo()).execute_task(task) == {"task": task}


async def test_agent_without_execute_task_is_refused() -> None:
    """With words."""
    with pytest.raises(NotImplementedError):
        await AsyncMigrationWrapper(object()).execute_task(Task(), None)


async def test_wrapped_coroutine_is_awaited() -> None:
    """No thread is taken for it."""

    class New:
        async def execute_task(self, task: Task) -> dict[str, Any]:
            return {"thread": threading.current_thread() is threading.main_thread()}

    assert await AsyncMigrationWrapper(New()).execute_task(Task()) == {"thread": True}


# --- functions ------------------------------------------------------------------------------------------


async def test_function_keeps_keywords_and_context() -> None:
    """What it is called with, and the caller's context variables; it runs in another thread."""

    def told(a: int, *, b: int) -> tuple[int, str, bool]:
        return a + b, USER.get(), threading.current_thread() is threading.main_thread()

    USER.set("alice")
    assert await async_compatible(told)(1, b=2) == (3, "alice", False)
    assert await async_compatible(functools.partial(told, 1))(b=4) == (5, "alice", False)


async def test_what_is_awaitable_is_awaited() -> None:
    """A coroutine function, and one that merely gives a coroutine."""

    async def told(a: int) -> int:
        return a

    assert await async_compatible(told)(1) == 1
    assert await async_compatible(lambda: told(2))() == 2


async def test_workers_are_bounded() -> None:
    """What is beyond the limit waits for a slot; one who leaves the queue takes none."""
    workers, gate = Workers(2), threading.Event()
    running = [asyncio.ensure_future(workers.call(gate.wait)) for _ in range(4)]

    async def two_wait() -> bool:
        return len(workers._waiting) == 2

    await eventually(two_wait, 30)
    running[2].cancel()
    running[0].cancel()
    await asyncio.wait([running[0], running[2]])
    assert len(workers._waiting) == 1
    gate.set()
    async with asyncio.timeout(30):
        assert [await running[1], await running[3]] == [True, True]
        assert await workers.call(lambda: 5) == 5
    await until(lambda: workers._free == 2, within_s=30, what="every slot is free")
