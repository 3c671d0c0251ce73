"""Agents that somebody wrote, as the gateway runs them: over a real store, on virtual time."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import BaseModel

from gateway.agents.base import AsyncBaseAgent, ExecutionStatus
from gateway.agents.hosted import hosted
from gateway.agents.runner import Agent
from gateway.state.base import NewInput
from gateway.tasks import Task, TaskRecord, TaskStatus, lost
from gateway.wishes import send_input, wish_cancel, wish_pause, wish_resume
from gateway.work.run import Run
from tests.support.records import NOW_MS
from tests.support.waiting import let_pass
from tests.support.work import LOG, Bench, bench

pytestmark = pytest.mark.looptime

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


@pytest.fixture
async def table(tmp_path: Path) -> AsyncIterator[Bench]:
    """A store."""
    async with bench(tmp_path) as made:
        yield made


class Attempt:
    """A run of an agent, and what people wish of it."""

    def __init__(self, table: Bench, agent: Agent, task: TaskRecord) -> None:
        self.table = table
        self.task_id = task.task_id
        self.run = Run(
            task,
            agent,
            bridge=None,
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


# --- what it says ---------------------------------------------------------------------------------------


async def test_each_dict_is_progress_and_the_last_one_the_result(table: Bench) -> None:
    """What the agent adds is kept, what is no percentage is null; an object is made for each run."""

    async def steps(self: Scripted, task: Task) -> AsyncGenerator[dict[str, Any], None]:
        yield {"phase": "one", "status": "begun", "progress": 10, "more": [1]}
        yield {"phase": "two", "progress": -1, "task": task.task}

    attempt = await done(table, steps)
    assert await attempt.said("progress") == [
        {"phase": "one", "status": "begun", "progress": 10, "more": [1]},
        {"phase": "two", "status": "two", "progress": None, "task": "text"},
    ]
    assert (await attempt.row()).status is TaskStatus.COMPLETED
    outcome = await table.store.get_outcome(attempt.task_id)
    assert outcome.result == {"phase": "two", "progress": -1, "task": "text"}


async def test_result_of_the_last_dict_is_the_tasks(table: Bench) -> None:
    """Where it has one."""

    async def steps(_self: Scripted, _task: Task) -> AsyncGenerator[dict[str, Any], None]:
        yield {"phase": "complete", "result": {"url": "x"}}

    attempt = await done(table, steps)
    assert (await table.store.get_outcome(attempt.task_id)).result == {"url": "x"}


async def test_error_is_told_by_its_type_alone(table: Bench) -> None:
    """No word of it and no stack reaches strangers; what is yielded while it unwinds is dropped."""

    async def steps(_self: Scripted, _task: Task) -> AsyncGenerator[dict[str, Any], None]:
        try:
            yield {"phase": "work"}
            fail("secret")
        except Exception as error:
            yield {"phase": "error", "error": str(error)}
            raise

    attempt = await done(table, steps)
    error = (await table.store.get_outcome(attempt.task_id)).error
    assert error == {"code": "agent_error", "message": "ValueError in agent scripted", "details": {}}
    assert [data["phase"] for data in await attempt.said("progress")] == ["work"]


async def test_error_that_is_handled_lets_the_agent_go_on(table: Bench) -> None:
    """What it yields while it handles one is told, once it is clear that it goes on."""

    async def steps(_self: Scripted, _task: Task) -> AsyncGenerator[dict[str, Any], None]:
        try:
            fail()
        except ValueError:
            yield {"phase": "again"}
        yield {"phase": "done"}

    attempt = await done(table, steps)
    assert [data["phase"] for data in await attempt.said("progress")] == ["again", "done"]


@pytest.mark.parametrize("step", [{"x": object()}, {"x": "y" * (600 << 10)}, "words", {1: 2}], ids=str)
async def test_what_is_no_event_is_the_agents_error(table: Bench, step: Any) -> None:
    """What JSON can't say, what is too large, what is no dict."""

    async def steps(_self: Scripted, _task: Task) -> AsyncGenerator[dict[str, Any], None]:
        yield step

    attempt = await done(table, steps)
    assert (await attempt.row()).error_code == "agent_error"


async def test_log_lines_come_in_their_place(table: Bench) -> None:
    """In order with what is yielded."""

    async def steps(self: Scripted, _task: Task) -> AsyncGenerator[dict[str, Any], None]:
        self.log("one")
        yield {"phase": "two"}
        self.log("three", "warning")
        await self.progress("four", progress=40)

    attempt = await done(table, steps)
    said = await attempt.said("log", "progress")
    assert [data.get("message") or data["phase"] for data in said] == ["one", "two", "three", "four"]
    assert said[2] == {"level": "warning", "message": "three"}


# --- steering -------------------------------------------------------------------------------------------


async def looping(self: Scripted, _task: Task) -> AsyncGenerator[dict[str, Any], None]:
    """Work with a place to stand still every ten seconds."""
    for n in range(100):
        yield {"phase": str(n)}
        await let_pass(10)
        await self._check_pause()


async def test_pause_takes_effect_where_the_agent_stands_still(table: Bench) -> None:
    """Until then the task runs; then its time stands still, and it goes on when told."""
    async with under_way(await begun(table, that(looping), timeout_s=60)) as attempt:
        await attempt.pause()
        assert (await attempt.row()).status is TaskStatus.RUNNING
        await let_pass(10)
        assert (await attempt.row()).status is TaskStatus.PAUSED
        await let_pass(300)
        assert (await attempt.row()).status is TaskStatus.PAUSED
        await attempt.resume()
        assert (await attempt.row()).status is TaskStatus.RUNNING
        await let_pass(15)
        assert len(await attempt.said("progress")) == 3
        await let_pass(60)
        assert (await attempt.row()).error_code == "timeout"


@pytest.mark.parametrize("is_paused", [False, True])
async def test_cancel_ends_it_at_its_next_await(table: Bench, is_paused: bool) -> None:
    """Also where it stands still; what it yields on its way out is dropped."""

    async def steps(self: Scripted, task: Task) -> AsyncGenerator[dict[str, Any], None]:
        try:
            async for step in looping(self, task):
                yield step
        except asyncio.CancelledError:
            yield {"phase": "cancelled", "progress": -1}
            raise

    async with under_way(await begun(table, that(steps))) as attempt:
        if is_paused:
            await attempt.pause()
            await let_pass(10)
            assert (await attempt.row()).status is TaskStatus.PAUSED
        await attempt.cancel()
        assert (await attempt.row()).status is TaskStatus.CANCELLED
        assert "cancelled" not in [data["phase"] for data in await attempt.said("progress")]


async def test_agent_that_ends_for_nothing_is_left_to_itself(table: Bench) -> None:
    """One that swallows its cancellation holds nobody up for long."""

    async def steps(_self: Scripted, _task: Task) -> AsyncGenerator[dict[str, Any], None]:
        for _ in range(3):
            try:
                await let_pass(1000)
            except asyncio.CancelledError:
                yield {"phase": "no"}

    async with under_way(await begun(table, that(steps))) as attempt:
        await attempt.cancel()
        await let_pass(10)
        assert (await attempt.row()).status is TaskStatus.CANCELLED


async def test_timeout_is_told_as_such(table: Bench) -> None:
    """An agent that takes too long fails for that."""
    async with under_way(await begun(table, that(looping), timeout_s=30)) as attempt:
        await let_pass(40)
        assert (await attempt.row()).error_code == "timeout"


# --- questions ------------------------------------------------------------------------------------------


class Choice(BaseModel):
    """An answer."""

    colour: str


async def asking(self: Scripted, _task: Task) -> AsyncGenerator[dict[str, Any], None]:
    """A question, and its answer as the result."""
    answer = await self.ask("Which colour?", Choice, key="colour")
    yield {"result": {"colour": answer.colour}}


async def test_question_waits_for_its_answer(table: Bench) -> None:
    """The row says what it waits for, the clock stands still, and the answer is the agent's."""
    async with under_way(await begun(table, that(asking), timeout_s=30)) as attempt:
        row = await attempt.row()
        assert row.waiting_for is not None
        assert (row.waiting_for["key"], row.waiting_for["prompt"]) == ("colour", "Which colour?")
        assert row.waiting_for["schema"]["properties"]["colour"]["type"] == "string"
        await let_pass(1000)
        await attempt.answer("other", {"colour": "blue"})
        assert (await attempt.row()).status is TaskStatus.RUNNING
        await attempt.answer("colour", {"colour": "red"})
        assert (await attempt.row()).waiting_for is None
        assert (await table.store.get_outcome(attempt.task_id)).result == {"colour": "red"}
        assert [data["key"] for data in await attempt.said("input_requested", "input_given")] == [
            "colour"
        ] * 2


async def test_answer_that_does_not_fit_is_asked_for_again(table: Bench) -> None:
    """Under another key, since a repeat of one changes nothing."""
    async with under_way(await begun(table, that(asking))) as attempt:
        await attempt.answer("colour", {"color": "red"})
        row = await attempt.row()
        assert row.waiting_for is not None
        assert row.waiting_for["key"] == "colour-2"
        assert "colour: Field required" in (await attempt.said("log"))[0]["message"]
        await attempt.answer("colour-2", {"colour": "red"})
        assert (await attempt.row()).status is TaskStatus.COMPLETED


async def test_pause_and_cancel_reach_a_task_that_waits(table: Bench) -> None:
    """It stands still as it is; an answer that comes meanwhile is taken when it goes on."""
    async with under_way(await begun(table, that(asking))) as attempt:
        await attempt.pause()
        assert (await attempt.row()).status is TaskStatus.PAUSED
        await attempt.answer("colour", {"colour": "red"})
        assert (await attempt.row()).status is TaskStatus.PAUSED
        await attempt.resume()
        assert (await attempt.row()).status is TaskStatus.COMPLETED
    async with under_way(await begun(table, that(asking))) as attempt:
        await attempt.cancel()
        assert (await attempt.row()).status is TaskStatus.CANCELLED


async def test_later_attempt_is_given_the_answer_without_asking(table: Bench) -> None:
    """Nobody is asked twice."""

    async def steps(self: Scripted, task: Task) -> AsyncGenerator[dict[str, Any], None]:
        async for step in asking(self, task):
            yield step
        await let_pass(100)

    agent = that(steps)
    async with under_way(await begun(table, agent)) as attempt:
        await attempt.answer("colour", {"colour": "red"})
        assert (await attempt.row()).status is TaskStatus.RUNNING
    again = await taken_up(table, agent, attempt)
    async with under_way(again):
        await let_pass(100)
        assert (await again.row()).status is TaskStatus.COMPLETED
        assert len(await again.said("input_requested")) == 1


async def taken_up(table: Bench, agent: Agent, attempt: Attempt) -> Attempt:
    """The next attempt of a task whose place was lost."""
    await table.store.change_task(attempt.task_id, lambda row: lost(row, "instance_lost", now_ms=NOW_MS))
    return Attempt(table, agent, await table.claim(attempt.task_id))


# --- checkpoints ----------------------------------------------------------------------------------------


async def test_later_attempt_goes_on_from_the_newest_checkpoint(table: Bench) -> None:
    """Its data is in the context again; what was finished is not done once more."""
    built: list[str] = []

    async def steps(self: Scripted, task: Task) -> AsyncGenerator[dict[str, Any], None]:
        async with self.execution_context(task) as context:
            for phase in ("one", "two", "three"):
                if phase in context.get("built", []):
                    continue
                built.append(phase)
                yield {"phase": phase}
                await self.create_checkpoint({"phase": phase, "built": built[:], "html": "x" * 5000})
                await let_pass(10)

    agent = that(steps)
    async with under_way(await begun(table, agent)) as attempt:
        await let_pass(12)
        assert built == ["one", "two"]
    again = await taken_up(table, agent, attempt)
    async with under_way(again):
        await let_pass(50)
        assert (await again.row()).status is TaskStatus.COMPLETED
        assert built == ["one", "two", "three"]
        told = await again.said("checkpoint")
        assert [data["step_name"] for data in told] == ["one", "two", "three"]
        for data in told:
            found = await table.store.get_checkpoint(data["checkpoint_id"])
            assert found is not None
            assert (found.step_name, found.task_id, found.agent_name) == (
                data["step_name"],
                again.task_id,
                "Scripted",
            )
            assert found.checkpoint_data["html"] == "x" * 5000


async def test_checkpoint_is_durable_when_its_id_is_there(table: Bench) -> None:
    """With the event that tells of it; one without a phase is named after its agent."""
    seen: list[Any] = []

    async def steps(self: Scripted, _task: Task) -> AsyncGenerator[dict[str, Any], None]:
        checkpoint_id = await self.create_checkpoint({"n": 1, "phase": 3})
        seen.append(await table.store.get_checkpoint(checkpoint_id))
        seen.append(await self.restore_from_checkpoint("nothing"))
        yield {"phase": "done"}

    attempt = await done(table, steps)
    kept, restored = seen
    assert not restored
    assert (kept.checkpoint_data, kept.step_name) == ({"n": 1, "phase": 3}, "agent_Scripted_checkpoint")
    assert [event["event"] for event in await table.log(attempt.task_id)][kept.seq - 1] == "checkpoint"


@pytest.mark.parametrize("data", [{"x": object()}, {"x": "y" * (9 << 20)}], ids=["object", "large"])
async def test_checkpoint_that_can_not_be_kept_is_the_agents_error(
    table: Bench, data: dict[str, Any]
) -> None:
    """It is not taken for kept."""

    async def steps(self: Scripted, _task: Task) -> AsyncGenerator[dict[str, Any], None]:
        await self.create_checkpoint(data)
        yield {"phase": "done"}

    attempt = await done(table, steps)
    assert (await attempt.row()).error_code == "agent_error"
    assert await attempt.said("checkpoint", "progress") == []


async def test_status_is_what_is_true(table: Bench) -> None:
    """Not what was asked for."""
    statuses: list[ExecutionStatus] = []

    async def steps(self: Scripted, task: Task) -> AsyncGenerator[dict[str, Any], None]:
        statuses.append(self._current_status)
        async with self.execution_context(task):
            statuses.append(self._current_status)
            yield {"phase": "x"}
        statuses.append(self._current_status)

    await done(table, steps)
    assert statuses == [ExecutionStatus.PENDING, ExecutionStatus.RUNNING, ExecutionStatus.COMPLETED]
