"""What an agent that somebody wrote asks and keeps: over a real store, on virtual time."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from gateway.agents.base import ExecutionStatus
from gateway.tasks import Task, TaskStatus
from tests.support.hosted import Scripted, begun, done, taken_up, that, under_way
from tests.support.waiting import let_pass
from tests.support.work import Bench, bench

pytestmark = pytest.mark.looptime

Steps = Callable[["Scripted", Task], AsyncGenerator[dict[str, Any], None]]


@pytest.fixture
async def table(tmp_path: Path) -> AsyncIterator[Bench]:
    """A store."""
    async with bench(tmp_path) as made:
        yield made


# --- questions ------------------------------------------------------------------------------------------


class Choice(BaseModel):
    """An answer."""

    colour: str


async def asking(self: Scripted, _task: Task) -> AsyncGenerator[dict[str, Any], None]:
    """A question, and its answer as the result."""
    answer = await self.ask("Which colour?", Choice, key="colour")
    yield {"result": {"colour": answer.colour}}


@pytest.mark.parametrize(
    "question",
    [
        {"prompt": "q" * (64 << 10)},
        {"key": "k" * 201},
        {"key": "a\0b"},
        {"schema": {"const": "s" * (64 << 10)}},
    ],
    ids=["prompt", "key", "NUL", "schema"],
)
async def test_question_that_can_not_be_shown_or_answered_is_not_asked(
    table: Bench, question: dict[str, Any]
) -> None:
    """One of a mebibyte would leave no room for its task in a list; no input comes with such a key."""

    async def steps(self: Scripted, _task: Task) -> AsyncGenerator[dict[str, Any], None]:
        yield {"result": await self.ask(**({"prompt": "q", "key": "k"} | question))}

    attempt = await done(table, steps)
    assert (await attempt.row()).error_code == "agent_error"
    assert await attempt.said("input_requested") == []


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
            assert found.checkpoint_data is not None
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
