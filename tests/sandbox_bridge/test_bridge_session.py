"""One session from begin to end: credit, cancelling, time. On virtual time and a network in memory."""

import asyncio
import gc
import weakref

import pytest

from sandbox_bridge.bridge import Bridge, BridgeTimes
from sandbox_bridge.call import Call, CallTimes
from sandbox_bridge.errors import SandboxLost
from sandbox_bridge.handshake import SandboxInfo
from sandbox_bridge.protocol import Limits
from sandbox_bridge.spec import TaskSpec
from tests.support.bridges import connected, failure_of, greeted, is_failure, next_within, outputs, until
from tests.support.fake_sandbox import FakeSandbox, HelloManner
from tests.support.task_script import elapse

pytestmark = pytest.mark.looptime

EITHER = pytest.mark.parametrize("hello", ["answer", "refuse"], ids=["extended", "core"])


# --- credit and back-pressure ---


async def test_output_is_held_back_until_credit_is_given() -> None:
    """An extended sandbox stops at 256 KiB of output that nobody granted, and goes on as it is granted."""
    async with FakeSandbox(listen=False) as fake, connected(fake.dial) as bridge:
        async with bridge.open("s1", TaskSpec(commands=["yes"])) as session:
            assert (await anext(session))["kind"] == "command"
            assert sum([len((await anext(session))["text"]) for _ in range(32)]) == 256 << 10
            assert await next_within(session, 10) is None
            session.grant_nowait((64 << 10) - 1)
            assert await next_within(session, 10) is None
            session.grant_nowait(1)
            assert sum([len((await anext(session))["text"]) for _ in range(8)]) == 64 << 10
            assert await next_within(session, 10) is None
        assert [frame["bytes"] for frame in fake.received if frame["type"] == "credit"] == [64 << 10]


async def test_core_output_is_held_back_by_the_socket() -> None:
    """Without credit, a reader that lags leaves the socket unread, and still gets everything in the end."""
    async with FakeSandbox(listen=False, hello="refuse") as fake, connected(fake.dial) as bridge:
        spec = TaskSpec(commands=["cat big"] * 20, files={"big": "x" * 500_000})
        async with bridge.open("s1", spec) as session:
            await anext(session)
            with pytest.raises(TimeoutError):
                await until(lambda: not fake.sessions, within_s=60)
            assert len(await outputs(session)) == 10_000_000
        assert fake.count("credit") == 0


async def test_flood_of_frames_without_credit_is_bounded() -> None:
    """A hostile sandbox that ignores its credit fills a bounded buffer, then waits like any other."""
    async with greeted() as (bridge, peer):
        sent = 0

        async def flood() -> None:
            nonlocal sent
            while True:
                await peer.progress("s1", "x" * 60_000)
                sent += 1

        async with bridge.open("s1", TaskSpec()), asyncio.TaskGroup() as group:
            flooding = group.create_task(flood())
            with pytest.raises(TimeoutError):
                await until(lambda: sent > 1000, within_s=5)
            flooding.cancel()
        assert sent < 300


async def test_reader_that_leaves_a_full_buffer_frees_the_socket() -> None:
    """Other sessions are held up by one that is not read, and go on at once when it is left."""
    async with greeted() as (bridge, peer), bridge.open("other", TaskSpec()) as other:
        async with bridge.open("slow", TaskSpec()):
            for _ in range(80):
                await peer.progress("slow", "x" * 60_000)
            await peer.complete("other")
            with pytest.raises(TimeoutError):
                await until(lambda: other.result is not None, within_s=5)
        await until(lambda: other.result is not None)


async def test_slow_reader_of_a_cancelled_task_does_not_lose_its_end() -> None:
    """The wait for the end does not run out while our own reader keeps it from being read."""
    async with FakeSandbox(listen=False, hello="refuse") as fake, connected(fake.dial) as bridge:
        spec = TaskSpec(commands=["cat big"] * 20 + ["hang"], files={"big": "x" * 500_000})
        async with bridge.open("s1", spec) as session:
            await anext(session)
            await until(lambda: not session._call.inbox.has_room.is_set())
            await session.cancel()
            await elapse(60)
            assert is_failure(await failure_of(session), "cancelled")


async def test_call_ends_once() -> None:
    """Whatever is said of a call after its end changes nothing."""
    calls: list[Call] = []
    info = SandboxInfo(address="a", sandbox_id="s", boot_id="b", runtime="local", max_sessions=1)
    call = Call(
        "s1",
        TaskSpec(),
        stream=True,
        times=CallTimes(),
        info=lambda: info,
        on_work=calls.append,
        on_end=calls.append,
    )
    call.complete({"exit_code": 0})
    call.fail(SandboxLost("late"))
    call.complete({"exit_code": 1})
    call.cancel()
    assert (call.result, call.error, calls) == ({"exit_code": 0}, None, [call])
    assert call.next_frame(extended=True, now=0) is None


async def test_ended_session_leaves_nothing_behind() -> None:
    """Neither a timer nor the bridge keeps an ended session in memory, whatever its timeout was."""
    async with FakeSandbox(listen=False) as fake, connected(fake.dial) as bridge:
        async with bridge.open("s1", TaskSpec(commands=["echo x"])) as session:
            await outputs(session)
        left = weakref.ref(session._call)
        del session
        await until(lambda: gc.collect() >= 0 and left() is None)


# --- cancelling and leaving ---


@EITHER
async def test_cancel_ends_the_session_as_cancelled(hello: HelloManner) -> None:
    """Cancelling twice is one `cancel_task`, and the end is `TaskFailed` `cancelled`."""
    async with FakeSandbox(listen=False, hello=hello) as fake, connected(fake.dial) as bridge:
        async with bridge.open("s1", TaskSpec(commands=["hang"])) as session:
            await anext(session)
            await session.cancel()
            await session.cancel()
            failure = await failure_of(session)
            await session.cancel()
        assert is_failure(failure, "cancelled")
        assert fake.count("cancel_task") == 1
        assert bridge.active == 0


async def test_cancel_before_the_task_was_sent_sends_nothing() -> None:
    """A session cancelled at once ends as cancelled, and the sandbox never hears of it."""
    async with FakeSandbox(listen=False) as fake, connected(fake.dial) as bridge:
        async with bridge.open("s1", TaskSpec(commands=["hang"])) as session:
            await session.cancel()
            failure = await failure_of(session)
        assert is_failure(failure, "cancelled")
        assert (await bridge.health()).active_sessions == 0
        assert fake.count("stream_task") == fake.count("cancel_task") == 0


async def test_cancel_that_has_no_effect_is_a_lost_sandbox() -> None:
    """A sandbox that does not end a cancelled task within 2.5 s is given up on for this session."""
    loop = asyncio.get_running_loop()
    async with FakeSandbox(listen=False) as fake, connected(fake.dial) as bridge:
        async with bridge.open("s1", TaskSpec(commands=["trap"])) as session:
            await anext(session)
            began_at = loop.time()
            await session.cancel()
            assert isinstance(await failure_of(session), SandboxLost)
            assert loop.time() - began_at == pytest.approx(2.5)
        assert bridge.active == 0


async def test_session_left_early_is_cancelled_and_counts_until_its_end() -> None:
    """Leaving sends `cancel_task` without waiting; the place is free once the sandbox has said the end."""
    async with greeted() as (bridge, peer):
        with pytest.raises(RuntimeError, match="mine"):
            async with bridge.open("s1", TaskSpec(commands=["hang"])):
                assert (await peer.next())["type"] == "stream_task"
                raise RuntimeError("mine")
        assert await peer.next() == {"type": "cancel_task", "session_id": "s1"}
        assert (bridge.active, bridge.free) == (1, 1)
        await peer.say(
            {"type": "task_error", "session_id": "s1", "error": "x", "error_info": {"code": "cancelled"}}
        )
        await until(lambda: bridge.active == 0)


async def test_session_left_early_counts_no_longer_than_its_deadline() -> None:
    """A sandbox that never says the end of a left session holds its place for 5 s."""
    async with FakeSandbox(listen=False) as fake, connected(fake.dial) as bridge:
        async with bridge.open("s1", TaskSpec(commands=["trap"])) as session:
            await anext(session)
        assert bridge.active == 1
        await until(lambda: bridge.active == 0, within_s=5.1)


async def test_cancelled_reader_has_its_task_cancelled() -> None:
    """Cancelling the asyncio task that reads a session cancels the session, and is not swallowed."""

    async def read(bridge: Bridge) -> None:
        async with bridge.open("s1", TaskSpec(commands=["hang"])) as session:
            await outputs(session)

    async with FakeSandbox(listen=False) as fake, connected(fake.dial) as bridge:
        async with asyncio.TaskGroup() as group:
            reader = group.create_task(read(bridge))
            await until(lambda: "s1" in fake.sessions)
            reader.cancel()
        assert reader.cancelled()
        await until(lambda: not fake.sessions and bridge.active == 0)


# --- time ---


async def test_core_timeout_is_kept_by_the_bridge() -> None:
    """A core sandbox is told no limits: the bridge cancels when the time is over and calls it `timeout`."""
    loop = asyncio.get_running_loop()
    async with FakeSandbox(listen=False, hello="refuse") as fake, connected(fake.dial) as bridge:
        began_at = loop.time()
        async with bridge.open("s1", TaskSpec(commands=["hang"], limits=Limits(timeout_s=30))) as session:
            failure = await failure_of(session)
        assert is_failure(failure, "timeout")
        assert loop.time() - began_at == pytest.approx(30, abs=0.1)
        assert all("limits" not in frame for frame in fake.received)


async def test_core_timeout_without_effect_is_a_timeout_all_the_same() -> None:
    """A core sandbox that does not end a task whose time is over is given up on, and the task has failed."""
    spec = TaskSpec(commands=["trap"], limits=Limits(timeout_s=30))
    async with (
        FakeSandbox(listen=False, hello="refuse") as fake,
        connected(fake.dial) as bridge,
        bridge.open("s1", spec) as session,
    ):
        assert is_failure(await failure_of(session), "timeout")


async def test_extended_timeout_is_kept_by_the_sandbox() -> None:
    """An extended sandbox keeps the limit itself; the bridge does not cancel before its grace."""
    async with FakeSandbox(listen=False) as fake, connected(fake.dial) as bridge:
        async with bridge.open("s1", TaskSpec(commands=["hang"], limits=Limits(timeout_s=30))) as session:
            failure = await failure_of(session)
        assert is_failure(failure, "timeout")
        assert fake.count("cancel_task") == 0


async def test_extended_timeout_not_kept_is_enforced() -> None:
    """A sandbox that lets a task run on after its time has it cancelled after a grace of 10 s."""
    loop = asyncio.get_running_loop()
    async with greeted() as (bridge, peer):
        began_at = loop.time()
        async with bridge.open("s1", TaskSpec(limits=Limits(timeout_s=30))) as session:
            await peer.next()
            assert (await peer.next())["type"] == "cancel_task"
            assert loop.time() - began_at == pytest.approx(40, abs=0.1)
            await peer.complete("s1")
            await outputs(session)
        assert session.result == {"exit_code": 0}


async def test_task_without_timeout_has_a_last_deadline() -> None:
    """Even a task that nobody limited ends some day."""
    times = BridgeTimes(call=CallTimes(longest_task_s=100))
    async with FakeSandbox(listen=False) as fake, connected(fake.dial, times=times) as bridge:
        async with bridge.open("s1", TaskSpec(commands=["hang"])) as session:
            failure = await failure_of(session)
        assert is_failure(failure, "timeout")
