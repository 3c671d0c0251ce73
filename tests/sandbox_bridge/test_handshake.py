"""How bridge and sandbox agree on how to talk, on virtual time."""

import asyncio

import pytest

from sandbox_bridge.spec import TaskSpec
from tests.support.bridges import HELLO, Peer, connected, greeted, outputs, running, until
from tests.support.fake_sandbox import FakeSandbox, HelloManner

pytestmark = pytest.mark.looptime


async def test_hello_answered_makes_the_sandbox_extended() -> None:
    """A sandbox that returns `hello` is known by what it said there."""
    async with FakeSandbox(listen=False, max_sessions=3) as fake, connected(fake.dial) as bridge:
        info = bridge.info
        assert info is not None
        assert (info.extended, info.sandbox_id, info.boot_id, info.runtime) == (
            True,
            "fake-1",
            "boot-1",
            "local",
        )
        assert (info.max_sessions, info.trust, bridge.free) == (3, "server", 3)
        assert "backpressure" in info.capabilities
        assert fake.count("health_check") == 0


async def test_hello_of_a_full_sandbox_is_a_hello() -> None:
    """One that has no room when it is greeted speaks the extensions all the same; its room is tried again later."""
    async with FakeSandbox(listen=False, max_sessions=0) as fake, connected(fake.dial) as bridge:
        assert bridge.info is not None
        assert (bridge.info.extended, bridge.free) == (True, 1)


@pytest.mark.parametrize("hello", ["ignore", "refuse", "close"])
async def test_hello_not_answered_means_core_only(hello: HelloManner) -> None:
    """Silence, another frame or a close in return for `hello` means core only, with room as `health` says."""
    async with FakeSandbox(listen=False, hello=hello, max_sessions=3) as fake, connected(fake.dial) as bridge:
        assert bridge.info is not None
        assert (bridge.info.extended, bridge.info.max_sessions) == (False, 3)
        assert fake.count("hello") == 1


async def test_hello_waits_two_seconds() -> None:
    """A sandbox that says nothing is core only 2 s after it was greeted, not sooner."""
    loop = asyncio.get_running_loop()
    async with FakeSandbox(listen=False, hello="ignore") as fake, connected(fake.dial):
        assert 2.0 <= loop.time() < 2.2


async def test_hello_answered_by_a_close_is_not_said_again() -> None:
    """A bridge remembers that its peer closes at `hello`, over all later connections."""
    async with FakeSandbox(listen=False, hello="close") as fake, connected(fake.dial) as bridge:
        assert fake.dials == 2
        fake.drop()
        await until(lambda: fake.dials == 3 and bridge.info is not None)
        assert fake.count("hello") == 1


async def test_hello_answered_by_going_away_is_said_again() -> None:
    """A service that goes down just then, and says so, is greeted anew when it is back."""
    peer = Peer()
    async with running(peer.dial):
        await peer.accept()
        assert (await peer.next())["type"] == "hello"
        peer.hang_up(1001)
        await peer.accept()
        assert (await peer.next())["type"] == "hello"


async def test_hello_that_the_network_breaks_is_said_again() -> None:
    """A connection that breaks says nothing of its sandbox: two in a row, and it is greeted the third time as well."""
    peer = Peer()
    async with running(peer.dial) as bridge:
        for _ in range(2):
            await peer.accept()
            assert (await peer.next())["type"] == "hello"
            peer.hang_up()
        await peer.greet()
        await until(lambda: bridge.info is not None)
        assert bridge.info is not None
        assert bridge.info.extended


async def test_hello_that_always_breaks_the_connection_is_left_out_for_once() -> None:
    """Who can't be greeted is met without a `hello` the fourth time, and greeted again after that."""
    peer = Peer()
    async with running(peer.dial) as bridge:
        for _ in range(3):
            await peer.accept()
            assert (await peer.next())["type"] == "hello"
            peer.hang_up()
        await peer.accept()
        assert (await peer.next())["type"] == "health_check"
        await peer.say({"type": "health", "status": "healthy", "max_sessions": 4})
        await until(lambda: bridge.info is not None)
        peer.hang_up()
        await peer.accept()
        assert (await peer.next())["type"] == "hello"


async def test_hello_of_another_protocol_means_core_only() -> None:
    """A `hello` that names another protocol agrees to nothing."""
    peer = Peer()
    async with running(peer.dial) as bridge:
        await peer.greet({**HELLO, "protocol": "sandbox.v9"})
        assert (await peer.next())["type"] == "health_check"
        await peer.say({"type": "health", "status": "healthy", "max_sessions": 4})
        await until(lambda: bridge.info is not None)
        assert bridge.info is not None
        assert (bridge.info.extended, bridge.info.max_sessions) == (False, 4)


async def test_core_sandbox_that_tells_nothing_gets_one_session_at_a_time() -> None:
    """Without an answer to `health_check` either, one session is what may be assumed."""
    async with FakeSandbox(listen=False, mute=True) as fake, connected(fake.dial) as bridge:
        assert bridge.free == 1


async def test_hello_that_comes_late_still_counts() -> None:
    """A sandbox that says `hello` after 2 s counts credit from then on, so its sessions must get some."""
    async with FakeSandbox(listen=False, hello_delay_s=4.0) as fake, connected(fake.dial) as bridge:
        spec = TaskSpec(commands=["sleep 5", "cat big"], files={"big": "x" * 600_000})
        before = bridge.info
        async with bridge.open("s1", spec) as session:
            assert await outputs(session) == "x" * 600_000
        assert before is not None
        assert not before.extended
        assert bridge.info is not None
        assert bridge.info.extended
        assert fake.count("credit") > 0


async def test_hello_that_comes_instead_of_the_health_counts() -> None:
    """Over a slow line both answers come late, the `hello` first: the sandbox is not taken for a core one for that."""
    peer = Peer()
    async with running(peer.dial) as bridge:
        await peer.accept()
        assert [(await peer.next())["type"] for _ in range(2)] == ["hello", "health_check"]
        await peer.say(HELLO)
        await peer.say({"type": "health", "status": "healthy", "max_sessions": 4})
        await until(lambda: bridge.info is not None)
        assert bridge.info is not None
        assert (bridge.info.extended, bridge.info.sandbox_id) == (True, HELLO["sandbox_id"])


async def test_credit_given_before_a_late_hello_is_not_lost() -> None:
    """What was granted while the sandbox seemed to be core only is sent as soon as it is not."""
    peer = Peer()
    async with running(peer.dial) as bridge:
        await peer.accept()
        assert [(await peer.next())["type"] for _ in range(2)] == ["hello", "health_check"]
        await peer.say({"type": "health", "status": "healthy"})
        await until(lambda: bridge.info is not None)
        async with bridge.open("s1", TaskSpec()) as session:
            assert (await peer.next())["type"] == "stream_task"
            session.grant_nowait(100_000)
            await peer.say(HELLO)
            assert await peer.next() == {"type": "credit", "session_id": "s1", "bytes": 100_000}


async def test_hello_again_changes_nothing() -> None:
    """A second `hello` on a connection is ignored."""
    async with greeted() as (bridge, peer):
        before = bridge.info
        await peer.say({**HELLO, "max_sessions": 99})
        async with bridge.open("s1", TaskSpec(commands=["x"])) as session:
            await peer.complete("s1")
            await outputs(session)
        assert bridge.info == before
