"""What an agent that somebody wrote says, and how it is steered: over a real store, on virtual time."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError
from structlog.processors import format_exc_info
from structlog.testing import capture_logs

from gateway.agents.base import AsyncBaseAgent
from gateway.agents.hosted import hosted
from gateway.tasks import Task, TaskStatus
from sandbox_bridge.tool import AsyncWebContainerTool
from tests.support.bridges import connected
from tests.support.fake_sandbox import FakeSandbox
from tests.support.hosted import Attempt, Scripted, begun, done, fail, that, under_way
from tests.support.waiting import let_pass
from tests.support.work import Bench, bench

pytestmark = pytest.mark.looptime

Steps = Callable[["Scripted", Task], AsyncGenerator[dict[str, Any], None]]


@pytest.fixture
async def table(tmp_path: Path) -> AsyncIterator[Bench]:
    """A store."""
    async with bench(tmp_path) as made:
        yield made


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


@pytest.mark.parametrize("end", [SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError])
async def test_agent_that_ends_the_process_ends_its_own_task_alone(
    table: Bench, end: type[BaseException]
) -> None:
    """asyncio would let the first two of them end the event loop, and with it the gateway."""

    async def steps(_self: Scripted, _task: Task) -> AsyncGenerator[dict[str, Any], None]:
        yield {"phase": "work"}
        raise end

    attempt = await done(table, steps)
    assert (await attempt.row()).error_code == "agent_error"


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


@pytest.mark.parametrize(
    "step", [{"x": object()}, {"x": "y" * (600 << 10)}, "words"], ids=["no JSON", "too large", "no dict"]
)
async def test_what_is_no_event_is_the_agents_error(table: Bench, step: Any) -> None:
    """What JSON can't say, what is too large, what is no dict."""

    async def steps(_self: Scripted, _task: Task) -> AsyncGenerator[dict[str, Any], None]:
        yield step

    attempt = await done(table, steps)
    assert (await attempt.row()).error_code == "agent_error"


async def test_log_line_that_is_no_text_fails_nobody(table: Bench) -> None:
    """A file's name may be none."""

    async def steps(self: Scripted, _task: Task) -> AsyncGenerator[dict[str, Any], None]:
        self.log("read a\udcffb")
        yield {"phase": "done"}

    attempt = await done(table, steps)
    assert await attempt.said("log") == [{"level": "info", "message": "read a?b"}]
    assert (await attempt.row()).status is TaskStatus.COMPLETED


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


class Stubborn(AsyncBaseAgent):
    """Begins again in its sandbox, whatever it is told."""

    def __init__(self, sandbox_tool: AsyncWebContainerTool) -> None:
        super().__init__("stubborn", sandbox_tool)

    async def stream_execution(self, task: Task) -> AsyncGenerator[dict[str, Any], None]:
        """Until it can't begin any more."""
        while True:
            yield {"phase": task.task}
            with contextlib.suppress(asyncio.CancelledError):
                await self.sandbox.run("hang")


async def test_agent_that_is_left_to_itself_is_left_without_its_sandbox(table: Bench) -> None:
    """What it had begun there is ended, and it can begin nothing more."""
    async with FakeSandbox(listen=False) as fake, connected(fake.dial) as bridge:
        agent = hosted("stubborn", Stubborn)
        task = await table.running({"task": "text"})
        async with under_way(Attempt(table, agent, task, bridge)) as attempt:
            await attempt.cancel()
            assert fake.sessions
            await let_pass(10)
            assert not fake.sessions
            assert bridge.active == 0


class Broad(AsyncBaseAgent):
    """Begins more at once than its sandbox has room for."""

    def __init__(self, sandbox_tool: AsyncWebContainerTool) -> None:
        super().__init__("broad", sandbox_tool)

    async def stream_execution(self, task: Task) -> AsyncGenerator[dict[str, Any], None]:
        """Five, each of which takes longer than a call waits for a stranger's sandbox."""
        done = await asyncio.gather(*(self.sandbox.run("sleep 20") for _ in range(5)))
        yield {"result": {"done": len(done)}}


async def test_what_an_agent_begins_at_once_has_its_turn(table: Bench) -> None:
    """A call that finds its sandbox full of the agent's own waits for one of them to end."""
    async with FakeSandbox(listen=False, max_sessions=2) as fake, connected(fake.dial) as bridge:
        attempt = Attempt(table, hosted("broad", Broad), await table.running({"task": "text"}), bridge)
        async with under_way(attempt):
            await let_pass(70)
            assert (await table.store.get_outcome(attempt.task_id)).result == {"done": 5}


async def test_timeout_is_told_as_such(table: Bench) -> None:
    """An agent that takes too long fails for that."""
    async with under_way(await begun(table, that(looping), timeout_s=30)) as attempt:
        await let_pass(40)
        assert (await attempt.row()).error_code == "timeout"


# --- what is around it ----------------------------------------------------------------------------------


class Bed(BaseModel):
    """An input with a default, and of types that JSON has no word for."""

    rows: int = 3
    day: date = date(2026, 1, 1)


async def test_input_has_its_models_defaults(table: Bench) -> None:
    """The agent is given what was sent, and what its model says where nothing was."""
    seen: list[Task] = []

    async def steps(_self: Scripted, task: Task) -> AsyncGenerator[dict[str, Any], None]:
        seen.append(task)
        yield {}

    kind = type("It", (Scripted,), {"stream_execution": steps, "input_model": Bed})
    attempt = await begun(table, hosted("scripted", kind), {"day": "2026-02-03", "more": 1})
    await attempt.run.execute()
    assert seen[0].input == {"task": "text", "rows": 3, "day": "2026-02-03", "more": 1}


@pytest.mark.parametrize("given", [{"rows": "3"}, {"rows": True}, {"day": 5}, {"task": 1}], ids=str)
def test_input_is_taken_as_json_says_it(given: dict[str, Any]) -> None:
    """A text is no number, and a number no date."""
    agent = hosted("scripted", type("It", (Scripted,), {"input_model": Bed}))
    with pytest.raises(ValidationError):
        agent.check({"task": "text"} | given)


async def test_input_that_the_agent_does_not_take_after_all_is_bad_input(table: Bench) -> None:
    """As it was submitted where nobody has the agent's model: the outcome says where it is wrong."""
    agent = hosted("scripted", type("It", (Scripted,), {"input_model": Bed, "stream_execution": looping}))
    attempt = await begun(table, agent, {"rows": "3"})
    await attempt.run.execute()
    error = (await table.store.get_outcome(attempt.task_id)).error
    assert error is not None
    assert (error["code"], error["details"]["errors"][0]["loc"]) == ("bad_input", ["input", "rows"])
    assert (await attempt.row()).status is TaskStatus.FAILED


async def test_constructor_that_raises_is_the_agents_error(table: Bench) -> None:
    """The task ends for it."""

    def made(_self: object) -> None:
        fail("secret")

    attempt = await begun(
        table, hosted("scripted", type("It", (Scripted,), {"__init__": made, "stream_execution": looping}))
    )
    await attempt.run.execute()
    assert (await table.store.get_outcome(attempt.task_id)).error == {
        "code": "agent_error",
        "message": "ValueError in agent scripted",
        "details": {},
    }


async def test_agent_that_holds_up_everybody_is_named(table: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the log, for each step that blocks; what it does is as it would be."""
    monkeypatch.setattr("gateway.agents.blocked_loop.HELD_S", 0.02)

    async def steps(_self: Scripted, _task: Task) -> AsyncGenerator[dict[str, Any], None]:
        until = time.monotonic() + 0.03
        while time.monotonic() < until:
            pass
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await asyncio.Event().wait()
        yield {"result": "done"}

    with capture_logs() as lines:
        attempt = await done(table, steps)
    held = [line for line in lines if "held up" in line["event"]]
    assert [(line["agent"], line["log_level"]) for line in held] == [("scripted", "warning")]
    assert (await table.store.get_outcome(attempt.task_id)).result == {"result": "done"}


def it_forgets(_self: AsyncBaseAgent) -> None:
    """A constructor that leaves out `super().__init__()`."""


async def it_yields_text(_self: Scripted, _task: Task) -> AsyncGenerator[Any, None]:
    """Steps that are no dicts."""
    yield "text"


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (
            {"__init__": it_forgets, "stream_execution": it_yields_text},
            "It.__init__ does not call super().__init__()",
        ),
        ({"stream_execution": it_yields_text}, "an agent yields dicts, and this is a str"),
    ],
)
async def test_log_tells_an_author_of_the_mistake(table: Bench, parts: dict[str, Any], said: str) -> None:
    """In its own words, and not as an error of the gateway's code."""
    with capture_logs(processors=[format_exc_info]) as lines:
        attempt = await begun(table, hosted("scripted", type("It", (Scripted,), parts)))
        await attempt.run.execute()
    assert (await attempt.row()).status is TaskStatus.FAILED
    (told,) = (line for line in lines if line["event"] == "the agent failed")
    assert told["exception"].splitlines()[-1] == f"TypeError: {said}"
