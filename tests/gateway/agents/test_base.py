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
