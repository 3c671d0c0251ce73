"""Steering a run: what is wished of its task is made true of the agent, and written as true, in this order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.agents.runner import RunContext, Sent, TaskCancelledError, UnableError
from gateway.state.values import Decide, NewInput
from gateway.task_changes import lost
from gateway.tasks import Desire, TaskRecord, TaskStatus
from gateway.wishes import resize, send_input, wish_cancel, wish_pause, wish_resume
from gateway.work.run import Run
from gateway.work.steering import TRY_AGAIN_S
from tests.support.agents import agent_that
from tests.support.records import NOW_MS, output
from tests.support.waiting import let_pass
from tests.support.work import LOG, Bench

pytestmark = pytest.mark.looptime

HOLD_S = 900.0
SIZE = {"cols": 100, "rows": 30}


class ScriptedGrip:
    """Notes how it is steered, and what the row says at that moment; `unable` is what it can't do."""

    def __init__(self, bench: Bench, task_id: str) -> None:
        self.unable: set[str] = set()
        self.pausing: asyncio.Event | None = None
        self.steered: list[tuple[Any, ...]] = []
        self.input_seq = 0
        self.leaves = 0
        """So many of its inputs are on their way."""
        self.wants_input = True
        self.over = asyncio.Event()
        self._bench = bench
        self._task_id = task_id

    async def pause(self) -> bool:
        """See `AgentHandle.pause`."""
        self._check("pause")
        await self._note("pause")
        if self.pausing is not None:
            await self.pausing.wait()
        return not self.over.is_set()

    async def resume(self) -> None:
        """See `AgentHandle.resume`."""
        self._check("resume")
        await self._note("resume")

    async def cancel(self) -> None:
        """See `AgentHandle.cancel`."""
        await self._note("cancel")
        self.over.set()

    @property
    def input_taken(self) -> int:
        """See `AgentHandle.input_taken`."""
        return self.input_seq - self.leaves

    def send_input(self, sent: Sent) -> None:
        """See `AgentHandle.send_input`."""
        self._check("stdin")
        self.input_seq += 1
        self.steered.append(("input", sent.data, sent.eof))

    def resize(self, cols: int, rows: int) -> None:
        """See `AgentHandle.resize`."""
        self._check("tty")
        self.steered.append(("resize", cols, rows))

    async def _note(self, what: str) -> None:
        row = await self._bench.row(self._task_id)
        self.steered.append((what, row.status))

    def _check(self, what: str) -> None:
        if what in self.unable:
            raise UnableError(f"it can't {what}")


class Steered:
    """A run under way, and the people who wish something of it."""

    def __init__(self, bench: Bench, task: TaskRecord) -> None:
        self.bench = bench
        self.task_id = task.task_id
        self.handle = ScriptedGrip(bench, task.task_id)
        self.changes = 0
        self.run = Run(
            task,
            agent_that(self._agent),
            bridge=None,
            store=bench.store,
            clock=bench.clock,
            hold_s=HOLD_S,
            on_change=self._changed,
            log=LOG,
        )

    async def _agent(self, context: RunContext) -> dict[str, Any]:
        context.steered_by(self.handle)
        await context.emit(output("begun"))
        await self.handle.over.wait()
        if context.cancel_wanted.is_set():
            raise TaskCancelledError
        return {}

    def _changed(self) -> None:
        self.changes += 1

    async def wish(self, wish: Decide) -> TaskRecord:
        """Wish something, and wait until it should have reached the agent."""
        row = await self.bench.store.change_task(self.task_id, wish)
        await self.rung()
        return row

    async def rung(self) -> TaskRecord:
        """Ring, and wait until that should have been heard; the row then."""
        self.run.ring()
        await let_pass(0.1)
        return await self.bench.row(self.task_id)

    async def pause(self, by: str = "bob") -> TaskRecord:
        """Wish a pause; the row after it."""
        await self.wish(lambda row: wish_pause(row, now_ms=NOW_MS, by=by))
        return await self.bench.row(self.task_id)

    async def resume(self, by: str = "bob") -> TaskRecord:
        """Wish that it go on; the row after it."""
        await self.wish(lambda row: wish_resume(row, by=by))
        return await self.bench.row(self.task_id)

    async def cancel(self) -> TaskRecord:
        """Wish its end; the row after it."""
        await self.wish(lambda row: wish_cancel(row, now_ms=NOW_MS, by="eve"))
        return await self.bench.row(self.task_id)

    async def send(self, data: str, *, eof: bool = False) -> None:
        """Send it text."""
        new = NewInput(f'"{data}"'.encode(), eof=eof)
        await self.bench.store.add_input(self.task_id, new, lambda row: send_input(row, len(data)))
        await self.rung()

    async def statuses(self) -> list[str]:
        """What the log says the task was."""
        log = await self.bench.log(self.task_id)
        return [event["data"]["status"] for event in log if event["event"] == "status"]

    async def logged(self) -> list[str]:
        """The messages in the log."""
        log = await self.bench.log(self.task_id)
        return [event["data"]["message"] for event in log if event["event"] == "log"]


@asynccontextmanager
async def executing(it: Steered) -> AsyncIterator[Steered]:
    """Its run is under way inside the block, cut off at its end."""
    under_way = asyncio.ensure_future(it.run.execute())
    await let_pass(0.1)
    try:
        yield it
    finally:
        under_way.cancel()
        await asyncio.wait([under_way])


@asynccontextmanager
async def steered(bench: Bench) -> AsyncIterator[Steered]:
    """A run under way inside the block."""
    async with executing(Steered(bench, await bench.running(takes_input=True))) as it:
        yield it


# --- pause and resume -----------------------------------------------------------------------------------


async def test_pause_is_written_once_it_is_true(bench: Bench) -> None:
    """The agent stands still before the log says so, and the log says so before it goes on."""
    async with steered(bench) as it:
        held = await it.pause()
        assert (held.status, held.owner, held.desire) == (TaskStatus.PAUSED, "instance-1", Desire.PAUSE)
        told = await bench.last(it.task_id)
        assert told == {"status": "paused", "previous": "running", "attempt": 1, "by": "bob"}
        going = await it.resume("eve")
        assert (going.status, going.attempt) == (TaskStatus.RUNNING, 1)
        assert (await bench.last(it.task_id))["by"] == "eve"
        assert it.handle.steered == [("pause", "running"), ("resume", "running")]
        assert it.changes == 2


async def test_time_of_a_pause_does_not_count(bench: Bench) -> None:
    """Running time is what was spent running."""
    async with steered(bench) as it:
        held = await it.pause()
        ran_ms = held.ran_ms
        await let_pass(100)
        going = await it.resume()
        assert going.ran_ms == ran_ms
        assert ran_ms < 1000


async def test_pause_that_is_taken_back_before_it_came_true_never_happened(bench: Bench) -> None:
    """The log knows nothing of it, and the agent goes on."""
    async with steered(bench) as it:
        it.handle.pausing = asyncio.Event()
        await it.pause()
        await it.resume()
        it.handle.pausing.set()
        await it.rung()
        assert it.handle.steered == [("pause", "running"), ("resume", "running")]
        assert await it.statuses() == ["pending", "running"]


async def test_wish_from_before_the_agent_was_ready_reaches_it(bench: Bench) -> None:
    """A claim and a wish may cross."""
    task = await bench.running()
    await bench.store.change_task(task.task_id, lambda row: wish_pause(row, now_ms=NOW_MS, by="bob"))
    async with executing(Steered(bench, task)) as it:
        assert (await bench.row(it.task_id)).status is TaskStatus.PAUSED


async def test_cancel_reaches_a_paused_task(bench: Bench) -> None:
    """From `paused` straight to `cancelled`, by whoever wished that."""
    async with steered(bench) as it:
        await it.pause()
        assert (await it.cancel()).status is TaskStatus.CANCELLED
        assert await it.statuses() == ["pending", "running", "paused", "cancelled"]
        assert (await bench.last(it.task_id))["by"] == "eve"


async def test_cancel_does_not_wait_for_a_pause(bench: Bench) -> None:
    """A sandbox that is slow to stand still is told to end at once."""
    async with steered(bench) as it:
        it.handle.pausing = asyncio.Event()
        await it.pause()
        assert (await it.cancel()).status is TaskStatus.CANCELLED
        assert await it.statuses() == ["pending", "running", "cancelled"]


async def test_pause_that_can_not_be_is_told_and_tried_again(bench: Bench) -> None:
    """The wish stays a wish, the log says why, once; and it comes true as soon as it can."""
    async with steered(bench) as it:
        it.handle.unable = {"pause"}
        row = await it.pause()
        assert (row.status, row.desire) == (TaskStatus.RUNNING, Desire.PAUSE)
        await let_pass(3 * TRY_AGAIN_S)
        assert await it.logged() == ["it can't pause; the task stays running for now"]
        it.handle.unable = set()
        await let_pass(TRY_AGAIN_S)
        assert (await bench.row(it.task_id)).status is TaskStatus.PAUSED


async def test_resume_that_fails_is_tried_again(bench: Bench) -> None:
    """It is wanted, and so it is asked for until it comes true."""
    async with steered(bench) as it:
        await it.pause()
        it.handle.unable = {"resume"}
        await it.resume()
        it.handle.unable = set()
        await let_pass(TRY_AGAIN_S)
        assert [what for what, *_ in it.handle.steered] == ["pause", "resume"]


async def test_place_is_given_up_after_the_hold(bench: Bench) -> None:
    """Nobody owns the task then; it stays paused, and resuming is a new attempt that does not count."""
    task = await bench.running(max_attempts=1)
    it = Steered(bench, task)
    under_way = asyncio.ensure_future(it.run.execute())
    await let_pass(0.1)
    await it.pause()
    await let_pass(HOLD_S - 10)
    assert (await bench.row(it.task_id)).owner == "instance-1"
    await let_pass(11)
    assert await under_way is TaskStatus.PAUSED
    row = await bench.row(it.task_id)
    assert (row.status, row.owner, row.uncounted) == (TaskStatus.PAUSED, None, 1)
    assert "new attempt" in (await it.logged())[-1]
    assert (await it.resume()).status is TaskStatus.PENDING
    second = await bench.claim(it.task_id)
    again = await bench.store.change_task(
        it.task_id, lambda row: lost(row, "drain", now_ms=NOW_MS, counts=False)
    )
    assert (second.attempt, again.status) == (2, TaskStatus.PENDING)


async def test_hold_begins_anew_with_each_pause(bench: Bench) -> None:
    """Only a pause that lasts costs the place."""
    async with steered(bench) as it:
        for _ in range(3):
            await it.pause()
            await let_pass(HOLD_S - 10)
            await it.resume()
        await let_pass(2 * HOLD_S)
        assert (await bench.row(it.task_id)).status is TaskStatus.RUNNING


async def test_agent_that_ends_instead_of_pausing_has_ended(bench: Bench) -> None:
    """What was true first is written; a pause of what is over is not."""
    async with steered(bench) as it:
        it.handle.pausing = asyncio.Event()
        await it.pause()
        it.handle.over.set()
        it.handle.pausing.set()
        await it.rung()
        assert await it.statuses() == ["pending", "running", "completed"]


# --- input ----------------------------------------------------------------------------------------------


async def test_input_is_given_in_the_order_of_storing(bench: Bench) -> None:
    """What was stored while the task waited first, each once, and the end where it was told."""
    task = await bench.pending(takes_input=True)
    await Steered(bench, task).send("zero")
    async with executing(Steered(bench, await bench.claim(task.task_id))) as it:
        await it.send("one")
        await it.send("two", eof=True)
        await it.rung()
        assert it.handle.steered == [
            ("input", "zero", False),
            ("input", "one", False),
            ("input", "two", True),
        ]


async def test_every_attempt_is_given_all_input(bench: Bench) -> None:
    """A second one begins where the first began; what one was given is not waiting any more."""
    async with steered(bench) as first:
        for _ in range(3):
            await first.send("x" * 50_000)
        assert (await bench.row(first.task_id)).input_given_bytes == 100_000
        await bench.store.change_task(first.task_id, lambda row: lost(row, "sandbox_lost", now_ms=NOW_MS))
        async with executing(Steered(bench, await bench.claim(first.task_id))) as second:
            assert [len(data) for _, data, _ in second.handle.steered] == [50_000] * 3
        assert (await bench.row(first.task_id)).input_given_bytes >= 100_000


async def test_input_that_nobody_has_taken_still_waits(bench: Bench) -> None:
    """Given is not taken: the row counts what is where it was to go, as soon as the handle tells."""
    async with steered(bench) as it:
        it.handle.leaves = 2
        for _ in range(4):
            await it.send("x" * 50_000)
        assert (await bench.row(it.task_id)).input_given_bytes == 100_000
        it.handle.leaves = 0
        it.run.steered_by(it.handle)
        assert (await it.rung()).input_given_bytes == 200_000


async def test_size_of_the_terminal_reaches_the_agent_when_it_changes(bench: Bench) -> None:
    """The newest one, once."""
    async with steered(bench) as it:
        await it.wish(lambda row: resize(row, SIZE))
        await it.rung()
        assert it.handle.steered == [("resize", 100, 30)]


async def test_input_to_what_has_none_is_told_once(bench: Bench) -> None:
    """The task goes on; its log says that nothing arrives."""
    async with steered(bench) as it:
        it.handle.unable = {"stdin", "tty"}
        await it.send("x")
        await it.send("y")
        assert await it.logged() == ["it can't stdin"]
        assert await it.statuses() == ["pending", "running"]
