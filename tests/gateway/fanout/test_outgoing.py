"""Who is flushed when."""

import asyncio
import socket

import pytest

from gateway.fanout.hub import Hub
from gateway.fanout.outgoing import SLICE, Outgoing, Sliced
from gateway.fanout.replay import Subscription
from gateway.fanout.sending import FEW
from gateway.fanout.stopwatch import EVERY_S
from tests.support import sinks
from tests.support.records import batch_of
from tests.support.waiting import let_pass

pytestmark = pytest.mark.looptime


class Client:
    """Notes when it is flushed, by the turn of the loop."""

    def __init__(self, turns: "Turns") -> None:
        self._turns = turns
        self.flushed: list[int] = []

    def lend_queue(self) -> bytes:
        """See `Flushed.lend_queue`."""
        self.flushed.append(self._turns.number)
        return b""

    fd = -1

    def send_rest(self, rest: bytes) -> None:
        """See `Sink.send_rest`."""
        raise AssertionError(rest)


class Ready(sinks.Client):
    """A sink that can be sent anything at any time, and notes when."""

    def __init__(self, turns: "Turns") -> None:
        super().__init__(space=1 << 20)
        self._turns = turns
        self.sent: list[int] = []

    def lend(self, size: int) -> int:
        """See `Sink.lend`."""
        del size
        self.sent.append(self._turns.number)
        return sinks.NOWHERE


class Turns:
    """Counts the turns of the loop."""

    def __init__(self) -> None:
        self.number = 0

    async def pass_some(self, turns: int) -> None:
        """Let so many pass."""
        passed, last = asyncio.Event(), self.number + turns
        loop = asyncio.get_running_loop()

        def turn() -> None:
            self.number += 1
            loop.call_soon(turn if self.number < last else passed.set)

        loop.call_soon(turn)
        await passed.wait()


@pytest.mark.parametrize("slices", [1, 3])
async def test_a_broadcast_goes_out_in_slices(slices: int) -> None:
    """Each turn of the loop writes to so many clients and no more, in the order in which they came."""
    turns, outgoing = Turns(), Outgoing()
    clients = [Client(turns) for _ in range(slices * SLICE)]
    for client in clients:
        outgoing.in_turn(client)
    await turns.pass_some(slices + 2)
    assert [client.flushed for client in clients] == [[n // SLICE] for n in range(slices * SLICE)]


@pytest.mark.parametrize(("followers", "written_in"), [(1, 0), (2 * SLICE, 2), (4 * SLICE, 4)])
async def test_way_to_the_sockets_is_measured_to_the_last_one(followers: int, written_in: int) -> None:
    """Of one batch a second, behind the last of its followers."""
    turns, hub, written = Turns(), Hub(), list[int]()
    hub.stopwatch.on_written = lambda _seconds: written.append(turns.number)
    _crowd(hub, turns, followers)
    hub.deliver(batch_of("t1", 1, 1))
    await turns.pass_some(5)
    hub.deliver(batch_of("t1", 2, 2))
    await turns.pass_some(5)
    assert written == [written_in]
    await let_pass(EVERY_S)
    hub.deliver(batch_of("t1", 3, 3))
    await turns.pass_some(5)
    assert written == [written_in, 10 + written_in]


async def test_a_crowd_is_told_in_slices_again_and_again() -> None:
    """Also once its followers stand in cohorts: no more of them in a turn, and each once."""
    turns, hub = Turns(), Hub()
    crowd, followers = _crowd(hub, turns, 2 * SLICE)
    for seq in (1, 2, 3):
        hub.deliver(batch_of("t1", seq, seq))
        followers[-1].catch_up(
            seq - 1
        )  # news of what he has is no reason to leave his cohort before its turn
        await turns.pass_some(5)
    assert [sink.sent for sink in crowd] == [
        [n // SLICE + begun for begun in (0, 5, 10)] for n in range(2 * SLICE)
    ]


def _crowd(hub: Hub, turns: Turns, size: int) -> tuple[list[Ready], list[Subscription]]:
    crowd = [Ready(turns) for _ in range(size)]
    followers = [Subscription("t1", 0, sink, on_behind=_never, on_end=_never) for sink in crowd]
    for follower in followers:
        follower.live = True
        hub.add(follower)
    return crowd, followers


def _never(_subscription: Subscription) -> None:
    raise AssertionError("it fell behind, or ended")


@pytest.mark.parametrize("answers", [1, FEW])
async def test_an_answer_does_not_wait_for_a_broadcast(answers: int) -> None:
    """It goes out with the next turn, however many clients are due an event."""
    turns, outgoing = Turns(), Outgoing()
    for _ in range(10 * SLICE):
        outgoing.in_turn(Client(turns))
    await turns.pass_some(1)
    askers = [Client(turns) for _ in range(answers)]
    for asker in askers:
        outgoing.next(asker)
    await turns.pass_some(5)
    assert [asker.flushed for asker in askers] == [[1]] * answers


async def test_who_comes_while_others_are_flushed_has_its_turn() -> None:
    """Nothing is forgotten that is put in by a flush itself."""
    turns, outgoing = Turns(), Outgoing()
    late = Client(turns)

    class Adding(Client):
        def lend_queue(self) -> bytes:
            outgoing.next(late)
            return super().lend_queue()

    outgoing.in_turn(Adding(turns))
    await turns.pass_some(4)
    assert late.flushed == [1]
    assert repr(outgoing) == "<Outgoing 0 next, 0 in turn>"


async def test_what_stands_before_a_slice_is_written_before_it() -> None:
    """A client's own events, gathered with others', are on its socket when a broadcast writes to the same one."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        turns, outgoing = Turns(), Outgoing()

        class Lending(Client):
            fd = ours.fileno()

            def lend_queue(self) -> bytes:
                return b"first "

        class Straight(Sliced):
            def flush(self) -> int:
                return ours.send(b"second") // 6

        for client in (*(Client(turns) for _ in range(FEW)), Lending(turns)):
            outgoing.in_turn(client)
        outgoing.in_turn(Straight())
        await turns.pass_some(2)
        assert theirs.recv(100) == b"first second"
