"""Sandboxes that dial in, each a peer over a connection in memory."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from sandbox_bridge.bridge import TaskSpec
from sandbox_bridge.errors import SandboxLost, TransportClosed
from sandbox_bridge.handshake import Trust
from sandbox_bridge.listener import MAX_PER_SUBJECT, MAX_SESSIONS, Listener
from sandbox_bridge.pool import Pool, Want
from tests.support.memory_transport import MemoryTransport, memory_pair
from tests.support.waiting import let_pass

pytestmark = pytest.mark.looptime

HELLO: dict[str, Any] = {
    "type": "hello",
    "protocol": "sandbox.v1",
    "sandbox_id": "tab",
    "boot_id": "b",
    "runtime": "webcontainer",
    "max_sessions": 2,
}


class Door:
    """A listener, and what those that dial in are served by."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self.pool = Pool()
        self.changes = 0
        self.listener = Listener(self.pool, random=random.Random(1), on_change=self._changed)
        self._group = group

    def _changed(self) -> None:
        self.changes += 1

    async def dial(
        self, hello: dict[str, Any] | None = HELLO, subject: str = "alice", trust: Trust = "client"
    ) -> MemoryTransport:
        """A new sandbox's end of its connection, its hello said."""
        ours, theirs = memory_pair()
        self._group.create_task(self.listener.accept(theirs, subject=subject, trust=trust))
        if hello is not None:
            await ours.send(orjson.dumps(hello).decode())
            await let_pass(0.01)
        return ours


@contextlib.asynccontextmanager
async def door() -> AsyncIterator[Door]:
    """One, which is empty."""
    async with asyncio.TaskGroup() as group:
        made = Door(group)
        yield made
        for guest in list(made.listener._guests.values()):
            if guest.transport is not None:
                await guest.transport.aclose()


async def heard(transport: MemoryTransport) -> dict[str, Any]:
    """The next frame that a sandbox is sent."""
    async with asyncio.timeout(5):
        frame: dict[str, Any] = orjson.loads(await transport.recv())
        return frame


async def test_sandbox_that_says_hello_is_answered_and_works() -> None:
    """It is its subject's, and what it is given is what any sandbox is."""
    async with door() as on:
        tab = await on.dial()
        assert (await heard(tab))["type"] == "hello"
        assert on.pool.choose() is None
        assert on.pool.choose(Want(subject="bob")) is None
        bridge = on.pool.choose(Want(subject="alice", runtime="webcontainer"))
        assert bridge is not None
        assert bridge.info is not None
        assert (bridge.info.trust, bridge.info.subject, bridge.info.extended) == ("client", "alice", True)
        async with bridge.open("s", TaskSpec(commands=["x"])) as session:
            assert (await heard(tab))["session_id"] == "s"
            end = {"type": "task_completed", "session_id": "s", "result": {"exit_code": 0}, "seq": 1}
            await tab.send(orjson.dumps(end).decode())
            async with asyncio.timeout(5):
                await session.wait_ended()
            assert session.result == {"exit_code": 0}


async def test_trusted_sandbox_is_for_everybody() -> None:
    """As one that was dialled."""
    async with door() as on:
        await on.dial(trust="server")
        assert on.pool.choose() is not None
        assert on.pool.choose(Want(subject="bob")) is not None


@pytest.mark.parametrize(
    "first",
    [
        None,
        {"type": "health", "status": "healthy", "active_sessions": 0, "max_sessions": 1},
        {"type": "nonsense"},
        HELLO | {"protocol": "sandbox.v2"},
        HELLO | {"sandbox_id": ""},
        HELLO | {"sandbox_id": "x" * 201},
        HELLO | {"boot_id": "x" * 201},
        HELLO | {"max_sessions": -1},
        HELLO | {"runtime": ""},
        HELLO | {"labels": {str(number): "x" * 100 for number in range(200)}},
        HELLO | {"capabilities": ["x" * 20_000]},
        HELLO | {"isolation": {"claims": "x" * 20_000}},
    ],
)
async def test_who_says_no_good_hello_is_told_and_hung_up_on(first: dict[str, Any] | None) -> None:
    """Within two seconds, and never in the pool."""
    async with door() as on:
        stranger = await on.dial(first)
        async with asyncio.timeout(2.5):
            goodbye = await heard(stranger)
            assert (goodbye["type"], goodbye["code"], goodbye["reconnect"]) == ("goodbye", 4400, False)
            with pytest.raises(TransportClosed) as closed:
                await stranger.recv()
            assert closed.value.code == 4400
        assert on.pool.bridges == ()


async def test_who_breaks_the_protocol_again_and_again_is_closed_with_4400() -> None:
    """As a client is: it need not come back."""
    async with door() as on:
        broken = await on.dial()
        assert (await heard(broken))["type"] == "hello"
        for _ in range(21):
            await broken.send("{")
        with pytest.raises(TransportClosed) as closed:
            await broken.recv()
        assert closed.value.code == 4400


async def test_claimed_room_is_bounded() -> None:
    """However many sessions it says that it takes."""
    async with door() as on:
        await on.dial(HELLO | {"max_sessions": 10**6})
        assert on.pool.free == MAX_SESSIONS


async def test_sandbox_that_comes_again_replaces_its_former_socket() -> None:
    """One bridge for it; another of the same name, but of another subject or trust, is another sandbox."""
    async with door() as on:
        former = await on.dial()
        again = await on.dial()
        await heard(former)
        with pytest.raises(TransportClosed):
            await former.recv()
        assert (await heard(again))["type"] == "hello"
        assert len(on.pool.bridges) == 1
        await on.dial(subject="bob")
        await on.dial(trust="server")
        assert len(on.pool.bridges) == 3


async def test_sandbox_goes_on_with_its_sessions_when_it_comes_again() -> None:
    """Its bridge outlives the socket, says what to go on with, and is in no pool once nothing is left."""
    async with door() as on:
        tab = await on.dial()
        await heard(tab)
        (bridge,) = on.pool.bridges
        async with bridge.open("s", TaskSpec(commands=["x"])) as session:
            assert (await heard(tab))["session_id"] == "s"
            await tab.aclose()
            await let_pass(5)
            assert on.pool.choose(Want(subject="alice")) is None
            assert bridge in on.pool.bridges
            tab = await on.dial(HELLO | {"resume": [{"session_id": "s", "last_seq": 0}]})
            order = {"session_id": "s", "action": "continue", "after_seq": 0}
            assert (await heard(tab))["sessions"] == [order]
            await let_pass(20)
            assert bridge.active == 1
            await tab.aclose()
            await let_pass(9)
            assert isinstance(session.error, SandboxLost)
        assert not on.pool.bridges


async def test_sessions_that_nobody_goes_on_with_are_killed_when_their_sandbox_comes() -> None:
    """They were a former owner's, at this instance or another; those that are ours go on."""
    async with door() as on:
        tab = await on.dial()
        await heard(tab)
        (bridge,) = on.pool.bridges
        async with bridge.open("ours", TaskSpec(commands=["x"])):
            await heard(tab)
            await tab.aclose()
            offers = [{"session_id": name, "last_seq": 3} for name in ("theirs", "ours")]
            tab = await on.dial(HELLO | {"resume": offers})
            told = (await heard(tab))["sessions"]
            assert {order["session_id"]: order["action"] for order in told} == {
                "ours": "continue",
                "theirs": "kill",
            }
            await tab.aclose()


async def test_sandbox_of_another_boot_has_lost_its_sessions() -> None:
    """Nothing is left of what ran in the former one, whatever it offers."""
    async with door() as on:
        await on.dial()
        (bridge,) = on.pool.bridges
        async with bridge.open("s", TaskSpec(commands=["x"])) as session:
            await let_pass(0.1)
            tab = await on.dial(HELLO | {"boot_id": "c", "resume": [{"session_id": "s", "last_seq": 0}]})
            assert [order["action"] for order in (await heard(tab))["sessions"]] == ["kill"]
            assert isinstance(session.error, SandboxLost)
        assert bridge.free == 2


async def test_subject_has_so_many_sandboxes() -> None:
    """One more is hung up on; another's are not counted."""
    async with door() as on:
        for number in range(MAX_PER_SUBJECT):
            await on.dial(HELLO | {"sandbox_id": f"tab-{number}"})
        refused = await on.dial()
        assert (await heard(refused))["code"] == 1013
        with pytest.raises(TransportClosed):
            await refused.recv()
        assert (await heard(await on.dial(subject="bob")))["type"] == "hello"
