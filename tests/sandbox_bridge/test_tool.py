"""The guide's sandbox tool, over real sockets."""

import asyncio
import itertools
from typing import Any

import pytest
from pydantic import ValidationError

from sandbox_bridge.errors import SandboxLost, TaskFailed
from sandbox_bridge.tool import AsyncWebContainerTool, WebContainerToolInput
from tests.support.bridges import until
from tests.support.fake_sandbox import FakeSandbox, HelloManner

NOBODY = "ws://127.0.0.1:1/ws"


def run(*commands: str, **files: str) -> WebContainerToolInput:
    """An input of these commands and files."""
    return WebContainerToolInput(files=dict(files), commands=list(commands))


@pytest.mark.parametrize("hello", ["answer", "refuse"])
async def test_run_returns_the_result(hello: HelloManner) -> None:
    """A task's result comes back, from a sandbox with and without the extensions."""
    async with FakeSandbox(hello=hello) as fake, AsyncWebContainerTool(fake.url) as tool:
        result = await tool.run_async(run("cat page", page="<html>"))
    assert result["commands"][0]["stdout"] == "<html>"


async def test_run_raises_what_failed() -> None:
    """A failure keeps its code and its exit code."""
    async with FakeSandbox() as fake, AsyncWebContainerTool(fake.url) as tool:
        with pytest.raises(TaskFailed) as caught:
            await tool.run_async(run("exit 4"))
    assert (caught.value.code, caught.value.exit_code) == ("command_failed", 4)


@pytest.mark.parametrize("hello", ["answer", "refuse"])
async def test_run_has_a_timeout(hello: HelloManner) -> None:
    """A task that takes too long is ended, not only left alone."""
    async with FakeSandbox(hello=hello) as fake, AsyncWebContainerTool(fake.url, timeout_s=0.1) as tool:
        with pytest.raises(TaskFailed) as caught:
            await tool.run_async(run("hang"))
        assert caught.value.code == "timeout"
        assert not fake.sessions


async def test_run_without_a_service_is_lost() -> None:
    """A service that can't be reached is an error that says so, in time."""
    async with AsyncWebContainerTool(NOBODY, connect_timeout_s=0.1) as tool:
        with pytest.raises(SandboxLost, match="no connection"):
            await tool.run_async(run("echo"))


async def test_run_whose_service_goes_is_lost() -> None:
    """A connection that ends without the task's end is an error, never a silent None."""
    async with FakeSandbox() as fake, AsyncWebContainerTool(fake.url) as tool, asyncio.TaskGroup() as group:
        call = group.create_task(_failure(tool.run_async(run("hang"))))
        await until(lambda: bool(fake.sessions))
        fake.restart("boot-2")
        assert isinstance(await call, SandboxLost)


async def _failure(call: Any) -> Exception:
    try:
        await call
    except Exception as error:  # noqa: BLE001 -- it is what the test looks at
        return error
    raise AssertionError("it did not fail")


async def test_calls_share_one_connection_and_keep_apart() -> None:
    """Many calls at once need one connection, and each gets its own result."""
    async with FakeSandbox(max_sessions=4) as fake, AsyncWebContainerTool(fake.url) as tool:
        results = await asyncio.gather(*(tool.run_async(run(f"echo {number}")) for number in range(20)))
    assert [result["commands"][0]["stdout"] for result in results] == [f"{number}\n" for number in range(20)]
    assert fake.dials == 1


@pytest.mark.parametrize(
    ("command", "last"), [("echo hi", "task_completed"), ("exit 1", "task_error"), ("nonsense", "task_error")]
)
async def test_stream_yields_frames_and_one_end(command: str, last: str) -> None:
    """The stream is the sandbox's frames, the last of them the only end."""
    async with FakeSandbox() as fake, AsyncWebContainerTool(fake.url) as tool:
        frames = [frame async for frame in tool.stream_execution(run(command), session_id="mine")]
    assert [frame["type"] for frame in frames[:-1]] == ["task_progress"] * (len(frames) - 1)
    assert frames[-1]["type"] == last
    assert {frame["session_id"] for frame in frames} == {"mine"}


async def test_stream_gives_credit_as_it_is_read() -> None:
    """A stream of much more than the first credit comes through whole."""
    text = "é" * 1_000_000
    async with FakeSandbox() as fake, AsyncWebContainerTool(fake.url) as tool:
        frames = [frame async for frame in tool.stream_execution(run("cat big", big=text))]
    parts = [frame["progress"]["text"] for frame in frames[:-1] if frame["progress"]["kind"] == "output"]
    assert "".join(parts) == text


async def test_stream_that_is_closed_cancels_the_task() -> None:
    """Who stops reading and closes the stream leaves nothing running."""
    async with FakeSandbox() as fake, AsyncWebContainerTool(fake.url) as tool:
        stream = tool.stream_execution(run("echo hi", "hang"))
        await anext(stream)
        await stream.aclose()
        await until(lambda: not fake.sessions)
    assert fake.count("cancel_task") == 1


async def test_stream_whose_service_goes_raises() -> None:
    """A lost connection is an exception, not one more item."""
    async with FakeSandbox() as fake, AsyncWebContainerTool(fake.url) as tool:
        stream = tool.stream_execution(run("hang"))
        await anext(stream)
        fake.restart("boot-2")
        with pytest.raises(SandboxLost):
            await anext(stream)


async def test_cancel_finds_what_runs_and_waits_for_its_end() -> None:
    """Both kinds of call can be cancelled by the caller's id; True means that it has ended so."""
    async with FakeSandbox() as fake, AsyncWebContainerTool(fake.url) as tool, asyncio.TaskGroup() as group:
        call = group.create_task(_failure(tool.run_async(run("hang"), session_id="one")))
        stream = tool.stream_execution(run("hang"), session_id="two")
        await anext(stream)
        await until(lambda: len(fake.sessions) == 2)
        assert await tool.cancel_task("one")
        assert await tool.cancel_task("two")
        assert not fake.sessions
        failure = await call
        assert isinstance(failure, TaskFailed)
        assert failure.code == "cancelled"
        assert (await anext(stream))["error_info"]["code"] == "cancelled"
        assert not await tool.cancel_task("one")


async def test_cancel_reaches_a_call_that_waits_for_room() -> None:
    """A call that the sandbox has no room for yet is cancelled as well, and never sent."""
    async with (
        FakeSandbox(max_sessions=1) as fake,
        AsyncWebContainerTool(fake.url) as tool,
        asyncio.TaskGroup() as group,
    ):
        stream = tool.stream_execution(run("hang"), session_id="one")
        await anext(stream)
        waiting = group.create_task(_failure(tool.run_async(run("echo"), session_id="two")))
        await until(lambda: "two" in tool._active_sessions)
        assert await tool.cancel_task("two")
        async with asyncio.timeout(2):
            failure = await waiting
        assert isinstance(failure, TaskFailed)
        assert failure.code == "cancelled"
        assert fake.count("execute_task") == 0
        await stream.aclose()


async def test_cancel_of_what_is_not_there_is_false() -> None:
    """Nothing to cancel is no success."""
    async with AsyncWebContainerTool(NOBODY) as tool:
        assert not await tool.cancel_task("nobody")


async def test_session_id_in_use_is_refused() -> None:
    """An id names one call at a time."""
    async with FakeSandbox() as fake, AsyncWebContainerTool(fake.url) as tool:
        stream = tool.stream_execution(run("hang"), session_id="one")
        await anext(stream)
        with pytest.raises(ValueError, match="one"):
            await tool.run_async(run("echo"), session_id="one")
        await stream.aclose()


async def test_health_check_tells_a_healthy_service_from_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """True from a service that says so, False where nobody answers, sooner than a task would be given up."""
    monkeypatch.setattr("sandbox_bridge.tool.HEALTH_S", 0.1)
    async with FakeSandbox() as fake, AsyncWebContainerTool(fake.url) as tool:
        assert await tool.health_check()
    async with AsyncWebContainerTool(NOBODY, connect_timeout_s=3600) as tool:
        assert not await tool.health_check()


def test_tool_works_in_one_event_loop_after_another() -> None:
    """Code written to the guide never closes the tool; each event loop it is used in gets a connection."""
    numbers = itertools.count()

    async def use() -> None:
        async with FakeSandbox() as fake:
            tool.websocket_url = fake.url
            result = await tool.run_async(run("echo hi"))
            assert result["exit_code"] == 0

    tool = AsyncWebContainerTool(new_session_id=lambda: f"s{next(numbers)}")
    asyncio.run(use())
    asyncio.run(use())
    assert next(numbers) == 2


@pytest.mark.parametrize(
    "files", [{"/etc/passwd": ""}, {"../x": ""}, {"a//b": ""}, {"a": "", "a/b": ""}, {"a\0": ""}, {"": ""}]
)
def test_input_refuses_bad_paths(files: dict[str, str]) -> None:
    """A path that climbs, is absolute or clashes is refused before anything is sent."""
    with pytest.raises(ValidationError):
        WebContainerToolInput(files=files, commands=[])
