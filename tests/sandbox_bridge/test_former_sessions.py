"""Sessions that nobody goes on with, on virtual time and a network in memory: their sandbox is told to end them."""

import asyncio

import pytest

from sandbox_bridge.errors import SandboxLost
from sandbox_bridge.spec import TaskSpec
from tests.support.bridges import HELLO, Peer, connected, failure_of, greeted, running, until
from tests.support.fake_sandbox import FakeSandbox
from tests.support.task_script import elapse

pytestmark = pytest.mark.looptime


async def test_session_given_up_while_the_sandbox_was_told_to_go_on_with_it_is_ended() -> None:
    """The 8 s may be over between our hello and its own: what it goes on with then is nobody's."""
    async with greeted(hello=HELLO) as (bridge, peer), bridge.open("s1", TaskSpec()) as session:
        await peer.next()
        peer.hang_up()
        await elapse(7.5)
        await peer.accept()
        hello = await peer.next()
        assert [order["action"] for order in hello["sessions"]] == ["continue"]
        assert isinstance(await failure_of(session), SandboxLost)
        await peer.say(HELLO | {"resume": [{"session_id": "s1", "last_seq": 0}]})
        assert await peer.next() == {"type": "close_session", "session_id": "s1"}


async def test_session_that_another_has_left_is_ended() -> None:
    """At once where there is a connection; else by the hello of the next one, and no more by the one after it."""
    async with greeted(hello=HELLO) as (bridge, peer):
        bridge.end_former("theirs")
        assert await peer.next() == {"type": "close_session", "session_id": "theirs"}
        peer.hang_up()
        await until(lambda: bridge.info is None)
        bridge.end_former("also theirs")
        told = []
        for _ in range(2):
            await peer.accept()
            told.append((await peer.next())["sessions"])
            await peer.say(HELLO)
            await until(lambda: bridge.info is not None)
            peer.hang_up()
            await until(lambda: bridge.info is None)
        assert told == [[{"session_id": "also theirs", "action": "kill", "after_seq": 0}], []]


async def test_cancel_has_its_3_s_without_a_socket() -> None:
    """A cancelled session does not wait for a socket that may never come; the next hello kills what it has left."""
    async with FakeSandbox(listen=False) as fake, connected(fake.dial) as bridge:
        async with bridge.open("s1", TaskSpec(commands=["hang"])) as session:
            await anext(session)
            fake.is_away = True
            fake.drop()
            await until(lambda: bridge.info is None)
            began_at = asyncio.get_running_loop().time()
            await session.cancel()
            assert isinstance(await failure_of(session), SandboxLost)
            assert asyncio.get_running_loop().time() - began_at < 3
        fake.is_away = False
        await until(lambda: not fake.sessions)
        assert bridge.active == 0


async def test_core_sandbox_is_met_though_something_was_to_be_killed() -> None:
    """What never said hello has no such session."""
    peer = Peer()
    async with running(peer.dial) as bridge:
        bridge.end_former("theirs")
        await peer.accept()
        assert (await peer.next())["type"] == "hello"
        await peer.say({"type": "health", "status": "healthy", "active_sessions": 0, "max_sessions": 3})
        await until(lambda: bridge.info is not None)
        assert bridge.info is not None
        assert not bridge.info.extended
