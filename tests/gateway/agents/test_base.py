"""An agent alone, as its author's tests have it."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.agents.base import AsyncBaseAgent, ExecutionStatus, TaskExecutionMode
from gateway.tasks import Task
from tests.support.waiting import let_pass

pytestmark = pytest.mark.looptime


class Counter(AsyncBaseAgent):
    """Counts to three."""

    def __init__(self) -> None:
        super().__init__("counter")
        self.counted = 0

    async def stream_execution(self, task: Task) -> AsyncGenerator[dict[str, Any], None]:
        """A dict for each number."""
        async with self.execution_context(task):
            for n in range(3):
                await self._check_pause()
                await let_pass(1)
                self.counted = n + 1
                yield {"n": self.counted}


@pytest.mark.parametrize("mode", TaskExecutionMode)
async def test_every_mode_does_the_whole_task(mode: TaskExecutionMode) -> None:
    """Blocking gives the result, the others begin, and go on by themselves."""
    agent = Counter()
    given = await agent.execute_task(Task(task_id="t"), mode)
    said = {
        TaskExecutionMode.BLOCKING: {"n": 3},
        TaskExecutionMode.STREAMING: {"status": "streaming", "stream_id": "t"},
        TaskExecutionMode.BACKGROUND: {"status": "started", "task_id": "t"},
    }
    assert given == said[mode]
    await let_pass(10)
    assert agent.counted == 3
    assert agent._current_status is ExecutionStatus.COMPLETED


async def test_cancel_is_seen_while_it_stands_still() -> None:
    """Without a resume; it costs nothing until then."""
    agent = Counter()
    await agent.pause_execution()
    running = asyncio.ensure_future(agent.execute_task(Task()))
    await let_pass(5)
    assert (agent.counted, agent._current_status) == (0, ExecutionStatus.PAUSED)
    await agent.cancel_execution()
    await asyncio.wait([running])
    assert running.cancelled()
    assert agent._current_status is ExecutionStatus.CANCELLED


async def test_wishes_change_no_status_by_themselves() -> None:
    """What is asked for is not yet true, and what has ended stays so."""
    agent = Counter()
    wishes = (agent.pause_execution, agent.resume_execution, agent.cancel_execution)
    seen = []
    for wish in wishes[:2]:
        await wish()
        seen.append(agent._current_status)
    await agent.execute_task(Task())
    for wish in wishes:
        await wish()
        seen.append(agent._current_status)
    assert seen == [ExecutionStatus.PENDING] * 2 + [ExecutionStatus.COMPLETED] * 3


async def test_one_object_is_one_run() -> None:
    """To cancel one leaves the other alone."""
    one, other = Counter(), Counter()
    first = asyncio.ensure_future(one.execute_task(Task()))
    second = asyncio.ensure_future(other.execute_task(Task()))
    await let_pass(0.5)
    await one.cancel_execution()
    await asyncio.wait([first, second])
    assert (first.cancelled(), second.result()) == (True, {"n": 3})


async def test_reader_that_leaves_has_not_completed_it() -> None:
    """It was cancelled."""
    agent = Counter()
    steps = agent.stream_execution(Task())
    await anext(steps)
    await steps.aclose()
    assert agent._current_status is ExecutionStatus.CANCELLED


async def test_log_says_its_message_at_its_level() -> None:
    """Also where nobody runs the agent."""
    with capture_logs() as lines:
        Counter().log("hello", "warning")
    assert [(line["event"], line["log_level"]) for line in lines] == [("hello", "warning")]


async def test_restored_checkpoint_is_a_copy_in_the_next_context() -> None:
    """What is changed after it was kept is not in it; an unknown one is False."""
    agent, data = Counter(), {"deep": [1]}
    checkpoint_id = await agent.create_checkpoint(data)
    data["deep"].append(2)
    assert not await agent.restore_from_checkpoint("nothing")
    assert await agent.restore_from_checkpoint(checkpoint_id)
    async with agent.execution_context(Task()) as context:
        assert context["deep"] == [1]


async def test_cancel_of_what_does_not_run_ends_nothing_later() -> None:
    """Whether it has not begun yet, or has ended; one that was started a moment ago runs."""
    agent = Counter()
    for _again in range(2):
        await agent.cancel_execution()
        assert await agent.execute_task(Task()) == {"n": 3}
    started = asyncio.ensure_future(agent.execute_task(Task()))
    await agent.cancel_execution()
    await asyncio.wait([started])
    assert started.cancelled()
    assert await agent.execute_task(Task()) == {"n": 3}


@pytest.mark.parametrize("mode", ["blocking", None])
async def test_mode_may_be_its_word(mode: Any) -> None:
    """None is blocking, as the guide's wrapper has it."""
    assert await Counter().execute_task(Task(), mode) == {"n": 3}


async def test_contexts_may_stand_in_each_other() -> None:
    """The inner one's end is not the outer one's; what was wished stands until that has ended."""
    agent = Counter()
    async with agent.execution_context(Task(task_id="outer")) as outer:
        await agent.cancel_execution()
        async with agent.execution_context(Task(task_id="inner")) as inner:
            assert (inner["task_id"], inner["status"]) == ("inner", "running")
        assert (agent._execution_context, agent._current_status) == (outer, ExecutionStatus.RUNNING)
        with pytest.raises(asyncio.CancelledError):
            await agent._check_cancellation()
    assert (outer["status"], agent._current_status) == ("completed", ExecutionStatus.COMPLETED)
    await agent._check_cancellation()


class Elsewhere(Counter):
    """Keeps its checkpoints in a storage of its own, too."""

    def __init__(self) -> None:
        super().__init__()
        self.storage: dict[str, dict[str, Any]] = {}

    async def _persist_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.storage[checkpoint["id"]] = checkpoint

    async def _load_checkpoint(self, checkpoint_id: str) -> dict[str, Any] | None:
        return self.storage.get(checkpoint_id)


async def test_author_may_keep_checkpoints_elsewhere() -> None:
    """Whole, under the id that was given; what that storage has is restored first, and what it lost is not lost."""
    agent = Elsewhere()
    checkpoint_id = await agent.create_checkpoint({"phase": "one"})
    kept = agent.storage[checkpoint_id]
    assert kept == agent._state_checkpoints[-1]
    assert (kept["data"], kept["agent_name"], kept["status"]) == ({"phase": "one"}, "counter", "pending")
    kept["data"] = {"phase": "changed"}
    for expected in ({"phase": "changed"}, {"phase": "one"}):
        assert await agent.restore_from_checkpoint(checkpoint_id)
        assert agent._execution_context == expected
        agent.storage.clear()
    assert not await agent.restore_from_checkpoint("nothing")


class Stubborn(Counter):
    """Uses names that the base class might have used."""

    def __init__(self) -> None:
        super().__init__()
        self.sandbox = self.progress = self.ask = self._host = self._steered = self._standing = "mine"  # type: ignore[assignment, method-assign]

    async def _execute(self, task: Task) -> None:
        raise NotImplementedError


async def test_authors_names_are_their_own() -> None:
    """An agent that uses names of its own for its own things runs, and is steered, all the same."""
    agent = Stubborn()
    await agent.pause_execution()
    running = asyncio.ensure_future(agent.execute_task(Task()))
    await let_pass(1)
    assert agent._current_status is ExecutionStatus.PAUSED
    await agent.resume_execution()
    assert await running == {"n": 3}
    assert vars(agent)["sandbox"] == "mine"


@pytest.mark.parametrize(("level", "ours"), [("critical", "error"), ("warn", "warning"), ("loud", "info")])
async def test_levels_of_the_guides_logger_are_known(level: str, ours: str) -> None:
    """Under the word that we have for them; what is no text is one."""
    with capture_logs() as lines:
        Counter().log({"n": 1}, level)  # type: ignore[arg-type]
    assert [(line["event"], line["log_level"]) for line in lines] == [("{'n': 1}", ours)]
