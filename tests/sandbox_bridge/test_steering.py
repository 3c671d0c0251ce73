"""Pause, resume, input and the terminal's size, on virtual time and a network in memory."""

import asyncio

import pytest

from sandbox_bridge.errors import SandboxLost, SandboxUnable
from sandbox_bridge.protocol import Limits
from sandbox_bridge.spec import TaskSpec
from tests.support.bridges import connected, failure_of, greeted, is_failure, next_within, outputs
from tests.support.fake_sandbox import FakeSandbox
from tests.support.task_script import elapse

pytestmark = pytest.mark.looptime
ABLE = {
    "type": "hello",
    "protocol": "sandbox.v1",
    "sandbox_id": "s",
    "boot_id": "b",
    "max_sessions": 2,
    "capabilities": ["pause", "stdin", "tty"],
}


# --- pause and resume ---


async def test_paused_task_says_nothing_until_it_is_resumed() -> None:
    """Between the two nothing comes, and nothing is lost."""
    async with (
        FakeSandbox(listen=False) as fake,
        connected(fake.dial) as bridge,
        bridge.open("s1", TaskSpec(commands=["sleepy 20 100"])) as session,
    ):
        assert session.can("pause")
        await anext(session)
        await session.pause()
        while await next_within(session, 0) is not None:
            """What came before."""
        assert await next_within(session, 100) is None
        await session.resume()
        assert (await outputs(session)).endswith("line 20\n")


async def test_pause_comes_true_when_the_sandbox_says_so() -> None:
    """`pause` and `resume` return with the sandbox's word; repeated, they ask nothing."""
    async with greeted(hello=ABLE) as (bridge, peer), bridge.open("s1", TaskSpec()) as session:
        assert (await peer.next())["type"] == "stream_task"
        for wish, frame, word in (
            (session.pause, "pause_task", "task_paused"),
            (session.resume, "resume_task", "task_resumed"),
        ):
            async with asyncio.TaskGroup() as group:
                wished = group.create_task(wish())
                assert await peer.next() == {"type": frame, "session_id": "s1"}
                assert not wished.done()
                await peer.say({"type": word, "session_id": "s1"})
            await wish()
        await session.cancel()
        assert (await peer.next())["type"] == "cancel_task"


async def test_wishes_are_told_one_after_another() -> None:
    """A resume that is wished during a pause is told once the pause has come true."""
    async with greeted(hello=ABLE) as (bridge, peer), bridge.open("s1", TaskSpec()) as session:
        await peer.next()
        async with asyncio.TaskGroup() as group:
            group.create_task(session.pause())
            resuming = group.create_task(session.resume())
            assert (await peer.next())["type"] == "pause_task"
            await peer.say({"type": "task_paused", "session_id": "s1"})
            assert (await peer.next())["type"] == "resume_task"
            assert not resuming.done()
            await peer.say({"type": "task_resumed", "session_id": "s1"})


async def test_pause_that_does_not_come_true_is_an_error() -> None:
    """A sandbox that does not say `task_paused` in time is unable to; the task is not blamed for it."""
    async with greeted(hello=ABLE) as (bridge, peer), bridge.open("s1", TaskSpec()) as session:
        with pytest.raises(SandboxUnable, match="did not pause"):
            await session.pause()
        await peer.complete("s1")
        await outputs(session)


async def test_sandbox_that_can_not_is_not_asked() -> None:
    """Without the capability a wish is an error at once."""
    fake = FakeSandbox(listen=False, capabilities=())
    async with (
        fake,
        connected(fake.dial) as bridge,
        bridge.open("s1", TaskSpec(commands=["hang"])) as session,
    ):
        await anext(session)
        with pytest.raises(SandboxUnable):
            await session.pause()
        with pytest.raises(SandboxUnable):
            await session.resume()
        with pytest.raises(SandboxUnable):
            session.send_input("x")
        with pytest.raises(SandboxUnable):
            session.resize_nowait(80, 24)
        await session.cancel()
        assert is_failure(await failure_of(session), "cancelled")
    assert {frame["type"] for frame in fake.received} == {"hello", "stream_task", "cancel_task"}


@pytest.mark.parametrize("ends_well", [True, False])
async def test_pause_of_a_session_that_ends_raises(ends_well: bool) -> None:
    """Who waits for a pause learns what the session ended with; of a good end, that there was nothing to pause."""
    async with greeted(hello=ABLE) as (bridge, peer), bridge.open("s1", TaskSpec()) as session:

        async def end() -> None:
            while (await peer.next())["type"] != "pause_task":
                """The task comes first."""
            if ends_well:
                await peer.complete("s1")
            else:
                info = {"code": "sandbox_lost"}
                await peer.say({"type": "task_error", "session_id": "s1", "error": "x", "error_info": info})

        async with asyncio.TaskGroup() as group:
            group.create_task(end())
            with pytest.raises(SandboxUnable if ends_well else SandboxLost):
                await session.pause()


async def test_time_stands_still_while_paused() -> None:
    """Neither the sandbox nor the bridge's own backstop counts the time of a pause."""
    async with (
        FakeSandbox(listen=False) as fake,
        connected(fake.dial) as bridge,
        bridge.open("s1", TaskSpec(commands=["hang"], limits=Limits(timeout_s=30))) as session,
    ):
        await anext(session)
        await elapse(20)
        await session.pause()
        await elapse(1000)
        await session.resume()
        assert await next_within(session, 9) is None
        assert is_failure(await failure_of(session), "timeout")
    assert fake.count("cancel_task") == 0


async def test_backstop_goes_on_after_a_pause() -> None:
    """A sandbox that lets a task run on after its time, not counting its pause, has it cancelled."""
    loop = asyncio.get_running_loop()
    async with greeted(hello=ABLE) as (bridge, peer):
        began_at = loop.time()
        async with bridge.open("s1", TaskSpec(limits=Limits(timeout_s=30))):
            await peer.next()
            await peer.say({"type": "task_paused", "session_id": "s1"})
            await elapse(100)
            await peer.say({"type": "task_resumed", "session_id": "s1"})
            assert (await peer.next())["type"] == "cancel_task"
            assert loop.time() - began_at == pytest.approx(140, abs=0.1)


async def test_paused_task_can_be_cancelled() -> None:
    """A pause does not hold up a cancel, nor the wait for its end."""
    async with (
        FakeSandbox(listen=False) as fake,
        connected(fake.dial) as bridge,
        bridge.open("s1", TaskSpec(commands=["hang"])) as session,
    ):
        await anext(session)
        await session.pause()
        await session.cancel()
        assert is_failure(await failure_of(session), "cancelled")
    async with greeted(hello=ABLE) as (bridge, peer), bridge.open("s1", TaskSpec()) as session:
        await peer.next()
        await peer.say({"type": "task_paused", "session_id": "s1"})
        await session.cancel()
        await peer.say({"type": "task_paused", "session_id": "s1"})
        async with asyncio.timeout(5.1):
            assert isinstance(await failure_of(session), SandboxLost)


# --- input and the terminal ---


async def test_input_comes_in_order_and_ends() -> None:
    """What is sent is what the command reads, numbered on the wire."""
    async with (
        FakeSandbox(listen=False) as fake,
        connected(fake.dial) as bridge,
        bridge.open("s1", TaskSpec(commands=["cat", "echo done"], stdin=True)) as session,
    ):
        for number in range(50):
            session.send_input(f"{number}\n")
        session.send_input("end\n", eof=True)
        text = await outputs(session)
        session.send_input("too late")
    assert text == "".join(f"{number}\n" for number in range(50)) + "end\ndone\n"
    inputs = [frame for frame in fake.received if frame["type"] == "task_input"]
    assert [frame["seq"] for frame in inputs] == list(range(1, 52))
    assert [frame["eof"] for frame in inputs] == [False] * 50 + [True]


@pytest.mark.parametrize("tells", [True, False])
async def test_sandbox_that_tells_keeps_a_bounded_part_of_the_input(tells: bool) -> None:
    """No more is wanted than 1 MiB that is with no command; one that does not tell is given what its socket takes."""
    able = ABLE | {"input_taken": tells}
    async with greeted(hello=able) as (bridge, peer), bridge.open("s1", TaskSpec(stdin=True)) as session:
        await peer.next()
        moved: list[int] = []
        session.on_input_moved(lambda: moved.append(session.input_taken))
        while session.wants_input and session.input_seq < 40:
            session.send_input("x" * 50_000)
            assert (await peer.next())["seq"] == session.input_seq
        assert (session.input_seq, session.input_taken) == ((21, 0) if tells else (40, 40))
        await peer.say({"type": "input_taken", "session_id": "s1", "input_seq": 20})
        await peer.say({"type": "input_taken", "session_id": "s1", "input_seq": 1000})
        await elapse(1)
        assert (session.wants_input, moved) == (True, [20, 21] if tells else [40, 40])


async def test_newest_size_is_told_once() -> None:
    """Of sizes that follow each other before one is sent, the last counts."""
    async with greeted(hello=ABLE) as (bridge, peer), bridge.open("s1", TaskSpec()) as session:
        session.resize_nowait(80, 24)
        session.resize_nowait(120, 40)
        assert (await peer.next())["type"] == "stream_task"
        assert await peer.next() == {"type": "resize", "session_id": "s1", "cols": 120, "rows": 40}
        await session.cancel()
        assert (await peer.next())["type"] == "cancel_task"
