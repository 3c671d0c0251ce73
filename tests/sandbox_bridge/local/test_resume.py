"""Sessions that outlive their socket."""

import asyncio
import random
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from websockets.exceptions import ConnectionClosed

from tests.sandbox_bridge.local.service import (
    Frame,
    Peer,
    Service,
    code_of,
    eventually,
    is_end,
    processes_with,
    running_service,
    task,
    text_of,
)

HOLD_S = 2.0


@pytest.fixture
def service() -> Iterator[Service]:
    """A service that waits for its bridges, and whose places are few."""
    with running_service(SANDBOX_RESUME_S=str(HOLD_S), SANDBOX_MAX_SESSIONS="2") as running:
        yield running


@asynccontextmanager
async def greeted(service: Service, *orders: Frame) -> AsyncIterator[tuple[Peer, Frame]]:
    """A peer that has said hello with `orders`, and the answer; its socket breaks at the end."""
    async with Peer(service.url) as peer:
        await peer.send({"type": "hello", "protocol": "sandbox.v1", "sessions": list(orders)})
        try:
            yield peer, await peer.recv()
        finally:
            peer.socket.transport.abort()


def order(session_id: str, action: str, after_seq: int = 0) -> Frame:
    """What a bridge wants done with a session."""
    return {"session_id": session_id, "action": action, "after_seq": after_seq}


async def active(peer: Peer) -> int:
    """How many sessions the service has."""
    await peer.send({"type": "health_check"})
    frame = await peer.recv()
    count: int = frame["active_sessions"]
    return count


async def until_free(service: Service) -> None:
    """Wait until no session is left."""
    async with Peer(service.url) as peer, asyncio.timeout(10):
        while await active(peer):
            """It ends within moments, or when nobody has come for it."""


async def test_session_goes_on_without_its_socket(service: Service) -> None:
    """What a session produced while its bridge was away comes when that is back; it counts as active."""
    async with greeted(service) as (peer, _):
        await peer.send(task("echo one", "read -r line < fifo", "echo $line", files={"fifo": ""}))
        await peer.until(lambda frame: frame.get("seq") == 3)
    async with greeted(service, order("s", "continue", 2)) as (peer, hello):
        assert [offer["session_id"] for offer in hello["resume"]] == ["s"]
        assert hello["resume"][0]["input_seq"] == 0
        frames = await peer.until_end()
    assert [frame["seq"] for frame in frames] == list(range(3, 3 + len(frames)))
    assert hello["resume"][0]["last_seq"] <= frames[-1]["seq"]


async def test_end_that_was_lost_is_told_again(service: Service) -> None:
    """A session that ended while its bridge was away has its end for it, once it asks."""
    async with greeted(service) as (peer, _):
        await peer.send(task("true", kind="execute_task"))
    async with Peer(service.url) as other:
        async with asyncio.timeout(5):
            while await active(other):
                """Until it has ended."""
    async with greeted(service, order("s", "continue")) as (peer, hello):
        assert hello["resume"] == [{"session_id": "s", "last_seq": 1, "input_seq": 0}]
        assert (await peer.recv())["type"] == "task_completed"


async def test_kill_ends_a_waiting_session(service: Service) -> None:
    """A bridge that does not want its session back has it end, and hears so."""
    async with greeted(service) as (peer, _):
        await peer.send(task("sleep 60"))
        await peer.recv()
    async with greeted(service, order("s", "kill")) as (peer, _):
        assert code_of((await peer.until_end())[-1]) == "cancelled"


async def test_kill_is_heard_before_the_former_socket_is_known_to_be_gone(service: Service) -> None:
    """The end goes to the bridge that asked for it, not into a socket that nobody reads any more."""
    async with greeted(service) as (former, _):
        await former.send(task("sleep 60"))
        await former.recv()
        async with greeted(service, order("s", "kill")) as (peer, _):
            assert code_of((await peer.until_end())[-1]) == "cancelled"


async def test_nobody_comes_back_and_it_is_over(service: Service) -> None:
    """A session whose bridge stays away is killed after its time, and is unknown then."""
    async with greeted(service) as (peer, _):
        await peer.send(task("sleep 4711.01", session_id="lonely"))
        assert await asyncio.to_thread(eventually, lambda: bool(processes_with("sleep 4711.01")))
    assert eventually(lambda: not processes_with("sleep 4711.01"), HOLD_S + 2)
    async with greeted(service, order("lonely", "continue")) as (peer, hello):
        assert hello["resume"] == []
        assert code_of(await peer.recv()) == "unknown_session"


async def test_waiting_sessions_keep_their_places(service: Service) -> None:
    """A session that waits for its bridge counts: there is no room for another."""
    async with greeted(service) as (peer, _):
        for name in ("a", "b"):
            await peer.send(task("sleep 60", session_id=name))
        await peer.until(lambda frame: frame["session_id"] == "b")
    async with greeted(service) as (peer, hello):
        assert sorted(offer["session_id"] for offer in hello["resume"]) == ["a", "b"]
        await peer.send(task("true", session_id="c"))
        assert code_of(await peer.recv()) == "busy"
        for name in ("a", "b"):
            await peer.send({"type": "cancel_task", "session_id": name})
            assert code_of((await peer.until_end(name))[-1]) == "cancelled"


async def test_another_bridge_takes_over(service: Service) -> None:
    """A session is nobody's own: another bridge cancels it, and both hear of that what is theirs."""
    async with greeted(service) as (first, _), greeted(service) as (second, _):
        await first.send(task("sleep 60"))
        await first.recv()
        await second.send({"type": "cancel_task", "session_id": "s"})
        assert code_of((await first.until_end())[-1]) == "cancelled"
        await second.send({"type": "cancel_task", "session_id": "s"})
        assert await active(second) == 0


async def test_bridge_that_takes_one_session_leaves_the_others_alone(service: Service) -> None:
    """A session can go on with another bridge, and the rest of the former one's goes on where it was."""
    async with greeted(service) as (first, _):
        for session_id in ("s", "t"):
            await first.send(task(f"sleep 0.5; echo {session_id}", session_id=session_id))
        heard = set[str]()
        while heard != {"s", "t"}:
            heard.add((await first.recv())["session_id"])
        async with greeted(service, order("s", "continue", 1)) as (second, _):
            assert text_of(await second.until_end("s")) == "s\n"
        assert text_of(await first.until_end("t")) == "t\n"


async def test_bridge_that_is_back_has_lost_its_former_socket(service: Service) -> None:
    """Who continues a session over a new socket has it alone; the old one is hung up on."""
    async with greeted(service) as (old, _):
        await old.send(task("sleep 0.3; echo here"))
        await old.recv()
        async with greeted(service, order("s", "continue", 1)) as (new, _):
            assert text_of(await new.until_end()) == "here\n"
        with pytest.raises(ConnectionClosed):
            await old.recv()


async def test_order_can_follow_the_offer(service: Service) -> None:
    """A bridge that learns from the answer what there is may say in a second hello what to do with it."""
    async with greeted(service) as (peer, _):
        await peer.send(task("sleep 60"))
        await peer.recv()
    async with greeted(service) as (peer, hello):
        orders = [order(offer["session_id"], "kill") for offer in hello["resume"]]
        await peer.send({"type": "hello", "protocol": "sandbox.v1", "sessions": orders})
        assert code_of((await peer.until_end())[-1]) == "cancelled"


async def test_silent_bridge_is_as_good_as_gone(service: Service) -> None:
    """A bridge that sends nothing, not even a pong, loses its sessions, counted from its last byte."""
    async with greeted(service) as (peer, _):
        await peer.send(task("sleep 4711.02"))
        assert await asyncio.to_thread(eventually, lambda: bool(processes_with("sleep 4711.02")))
        began = time.monotonic()
        peer.socket.transport.pause_reading()
        assert await asyncio.to_thread(eventually, lambda: not processes_with("sleep 4711.02"), 3 * HOLD_S)
        assert HOLD_S * 0.9 < time.monotonic() - began < HOLD_S * 1.3 + 0.5
    await until_free(service)


async def test_quiet_bridge_lives(service: Service) -> None:
    """A bridge that has nothing to say answers our pings, and keeps its sessions."""
    async with greeted(service) as (peer, _):
        frames = await peer.run(f"sleep {1.5 * HOLD_S}; echo fine")
        assert text_of(frames) == "fine\n"


async def test_service_ends_with_sessions_that_wait() -> None:
    """SIGTERM does not wait for bridges that are away."""
    with running_service() as service:
        async with greeted(service) as (peer, _):
            await peer.send(task("sleep 4711.03"))
            assert await asyncio.to_thread(eventually, lambda: bool(processes_with("sleep 4711.03")))
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(3) == 0
        assert not processes_with("sleep 4711.03")


@dataclass
class Reader:
    """A bridge that stores what it reads, grants it, and is cut off again and again."""

    service: Service
    rng: random.Random
    stored: list[Frame] = field(default_factory=list)

    async def read_some(self, peer: Peer, most: int) -> None:
        """Read up to `most` frames."""
        for _ in range(most):
            frame = await peer.recv()
            assert frame["seq"] == len(self.stored) + 1
            self.stored.append(frame)
            if is_end(frame):
                return
            if (count := len(text_of([frame]).encode())) > 0:
                await peer.send({"type": "credit", "session_id": "s", "bytes": count})

    async def read_all(self, *commands: str) -> None:
        """Run a task to its end over as many sockets as it takes."""
        async with greeted(self.service) as (peer, _):
            await peer.send(task(*commands))
            await self.read_some(peer, self.rng.randint(1, 20))
        while not is_end(self.stored[-1]):
            async with greeted(self.service, order("s", "continue", len(self.stored))) as (peer, _):
                await self.read_some(peer, self.rng.randint(0, 40))


@pytest.mark.parametrize("seed", range(4))
async def test_no_byte_is_lost_or_doubled(service: Service, seed: int) -> None:
    """Wherever the socket is cut, every frame comes once and in order, and the output is whole."""
    lines = 400_000
    reader = Reader(service, random.Random(seed))
    async with asyncio.timeout(60):
        await reader.read_all(f"seq 1 {lines}", "echo last >&2")
    assert text_of(reader.stored) == "".join(f"{n}\n" for n in range(1, lines + 1))
    assert text_of(reader.stored, "stderr") == "last\n"
    assert reader.stored[-1]["type"] == "task_completed"
    await until_free(service)
