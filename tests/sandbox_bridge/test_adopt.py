"""Sessions that another bridge has left, on virtual time and a network in memory."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest

from sandbox_bridge.bridge import Bridge, FormerSession
from sandbox_bridge.errors import SandboxLost, SessionDropped, TransportClosed
from sandbox_bridge.outgoing import MAX_UNSENT_INPUT_BYTES
from sandbox_bridge.spec import TaskSpec
from tests.support.bridges import HELLO, Peer, connected, failure_of, greeted, is_failure, outputs, until
from tests.support.fake_sandbox import FakeSandbox
from tests.support.task_script import elapse

pytestmark = pytest.mark.looptime
ABLE = HELLO | {"capabilities": ["pause", "stdin", "tty"]}


def former(**fields: Any) -> FormerSession:
    """What another has left at the sandbox `s`, started as `b`."""
    defaults: dict[str, Any] = {"sandbox_id": "s", "boot_id": "b", "after_seq": 0, "timeout_s": 100.0}
    return FormerSession(**(defaults | fields))


def of(fake: FakeSandbox, **fields: Any) -> FormerSession:
    """What another has left at the fake sandbox."""
    return former(sandbox_id=fake.sandbox_id, boot_id=fake.boot_id, **fields)


def offer(last_seq: int, **more: Any) -> dict[str, Any]:
    """The hello of a sandbox that has `s1`."""
    return ABLE | {"resume": [{"session_id": "s1", "last_seq": last_seq, **more}]}


@asynccontextmanager
async def taking_over(dial: Any) -> AsyncIterator[Bridge]:
    """A bridge that is run only after the block has had the time to adopt."""
    bridge = Bridge(dial, address="test", random=Random(1), wall_clock=lambda: 1.5)
    async with asyncio.TaskGroup() as group:
        run = group.create_task(bridge.run())
        try:
            yield bridge
        finally:
            run.cancel()


async def test_another_bridge_goes_on_with_a_session_behind_what_was_stored() -> None:
    """All that comes after `after_seq` is given out, each once; the session ends as if nothing had been."""
    async with FakeSandbox(listen=False) as fake:
        async with (
            connected(fake.dial) as first,
            first.open("s1", TaskSpec(commands=["sleepy 50 100"])) as s1,
        ):
            said = [await anext(s1) for _ in range(20)]
            after_seq = s1.taken_seq
            fake.drop()
            # The first one dies, and can cancel nothing.
            fake.is_away = True
            await until(lambda: first.info is None)
        fake.is_away = False
        async with (
            taking_over(fake.dial) as bridge,
            bridge.adopt("s1", of(fake, after_seq=after_seq)) as session,
        ):
            await session.wait_taken_up()
            rest = await outputs(session)
            assert session.result is not None
        text = "".join(progress.get("text", "") for progress in said) + rest
        assert text == "".join(f"line {number}\n" for number in range(1, 51))
        assert fake.count("stream_task") == 1
        assert fake.count("cancel_task") == 0


async def test_first_hello_asks_for_what_was_left() -> None:
    """The sandbox may not have noticed that the former socket is gone: it is told which sessions we mean."""
    peer = Peer()
    async with taking_over(peer.dial) as bridge, bridge.adopt("s1", former(after_seq=7)) as session:
        await peer.accept()
        orders = [{"session_id": "s1", "action": "continue", "after_seq": 7}]
        assert (await peer.next())["sessions"] == orders
        await peer.say(offer(9))
        await session.wait_taken_up()
        assert bridge.active == 1
        # Nobody knows whether it stood still.
        assert (await peer.next())["type"] == "resume_task"
        progress = {"kind": "output", "text": "x"}
        for seq in (8, 9):
            await peer.say({"type": "task_progress", "session_id": "s1", "progress": progress, "seq": seq})
        await peer.complete("s1")
        assert await outputs(session) == "xx"


async def test_paused_session_is_told_to_stand_still_and_its_time_does_too() -> None:
    """The former bridge may have died before it could say so."""
    peer = Peer()
    left = former(is_paused=True, timeout_s=5.0)
    async with taking_over(peer.dial) as bridge, bridge.adopt("s1", left) as session:
        await peer.greet(offer(0))
        await session.wait_taken_up()
        assert (await peer.next())["type"] == "pause_task"
        await peer.say({"type": "task_paused", "session_id": "s1"})
        await elapse(100)
        assert bridge.active == 1
        async with asyncio.TaskGroup() as group:
            group.create_task(session.resume())
            assert (await peer.next())["type"] == "resume_task"
            await peer.say({"type": "task_resumed", "session_id": "s1"})
        # From here on its 5 s and our patience run.
        assert (await peer.next())["type"] == "cancel_task"
        error = {"code": "cancelled"}
        await peer.say({"type": "task_error", "session_id": "s1", "error": "x", "error_info": error})
        assert is_failure(await failure_of(session), "timeout")


async def test_input_goes_on_behind_what_the_sandbox_has() -> None:
    """Its `resume` says how much of the input came; a peer that does not say gets none again."""
    for said, begins in ((2, 2), (None, 3)):
        peer = Peer()
        async with taking_over(peer.dial) as bridge, bridge.adopt("s1", former(inputs=3)) as session:
            await peer.greet(offer(0) if said is None else offer(0, input_seq=said))
            await session.wait_taken_up()
            assert session.input_seq == begins
            session.send_input("next")
            frames = [await peer.next() for _ in range(2)]
            assert (frames[1]["type"], frames[1]["seq"]) == ("task_input", begins + 1)
            await peer.complete("s1")
            await session.wait_ended()


LOST = {
    "another start": (HELLO | {"boot_id": "c", "resume": [{"session_id": "s1", "last_seq": 9}]}, SandboxLost),
    "another sandbox": (
        HELLO | {"sandbox_id": "t", "resume": [{"session_id": "s1", "last_seq": 9}]},
        SandboxLost,
    ),
    "dropped": (HELLO, SessionDropped),
    "less than was stored": (offer(6), SandboxLost),
}


@pytest.mark.parametrize("why", LOST)
async def test_session_that_is_not_there_any_more_is_lost(why: str) -> None:
    """It ends at once, and what it ended with tells whether the sandbox is still there."""
    hello, error = LOST[why]
    peer = Peer()
    async with taking_over(peer.dial) as bridge, bridge.adopt("s1", former(after_seq=7)) as session:
        await peer.greet(hello)
        with pytest.raises(SandboxLost) as raised:
            await session.wait_taken_up()
        assert type(raised.value) is error
        assert bridge.active == 0


async def test_sandbox_that_does_not_come_back_is_waited_for_as_long_as_its_sessions_last() -> None:
    """8 s after the takeover nothing of it can be left, whether it can be reached or not."""

    async def nobody() -> Any:
        raise TransportClosed("away")

    async with taking_over(nobody) as bridge, bridge.adopt("s1", former()) as session:
        began = asyncio.get_running_loop().time()
        with pytest.raises(SandboxLost):
            await session.wait_taken_up()
        assert asyncio.get_running_loop().time() - began == pytest.approx(8)
        assert bridge.active == 0


async def test_connection_that_breaks_before_its_hello_is_tried_again() -> None:
    """What was left there said hello before: the sandbox is no core peer because a socket broke."""
    peer = Peer()
    async with taking_over(peer.dial) as bridge, bridge.adopt("s1", former()) as session:
        await peer.accept()
        peer.hang_up()
        await peer.greet(offer(0))
        await session.wait_taken_up()
        assert bridge.info is not None
        assert bridge.info.extended


async def test_input_is_bounded_until_it_is_sent() -> None:
    """A session asks for more once there is room, and keeps nothing that was sent."""
    async with greeted(hello=ABLE) as (bridge, peer), bridge.open("s1", TaskSpec()) as session:
        await peer.next()
        asked: list[int] = []
        session.on_input_moved(lambda: asked.append(session.input_seq))
        piece, given = "x" * (64 << 10), 0
        while session.wants_input:
            session.send_input(piece)
            given += 1
        assert given == MAX_UNSENT_INPUT_BYTES // len(piece)
        assert asked == []
        assert [(await peer.next())["seq"] for _ in range(given)] == list(range(1, given + 1))
        await until(lambda: asked == [given])
        session.send_input("one key")
        assert (await peer.next())["data"] == "one key"
        assert asked == [given]
        await peer.complete("s1")
        await session.wait_ended()
