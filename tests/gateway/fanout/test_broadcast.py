"""Events and answers for many: straight to real sockets, by real transports."""

import socket
from collections.abc import Callable

import pytest

from gateway.events import TaskEvents
from gateway.fanout.broadcast import MAX_BYTES
from gateway.fanout.hub import MANY, Hub
from gateway.fanout.outgoing import SLICE, Outgoing
from gateway.sessions.client_transport import ClientTransport
from gateway.sessions.intake import best
from gateway.sessions.outbox import MAX_TOGETHER, Outbox
from gateway.wire import text_frame
from tests.support.records import batch_of
from tests.support.watchers import Net, Test, turns


def test_all_get_all_in_order_whatever_their_sockets_take(run: Callable[[Test], None]) -> None:
    """What a socket does not take at once stays in its place, before all that comes after it."""

    async def test(net: Net) -> None:
        watchers = net.watchers
        await net.come(MANY)
        watchers.transports[0].get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        batches = [batch_of("t1", seq, seq, text="x" * (50_000 if seq == 2 else 10)) for seq in (1, 2, 3, 4)]
        for batch in batches:
            watchers.hub.deliver(batch)
            await turns()
        watchers.boxes[0].send(b"an answer")
        await turns()
        assert watchers.transports[0].get_write_buffer_size() > 0, (
            "it took all at once, and nothing was tried"
        )
        said = b"".join(batch.wire for batch in batches)
        for number in range(1, MANY):
            assert await net.read(number, len(said)) == said
        assert await net.read(0, len(said) + 11) == said + b"\x81\x09an answer"
        assert not watchers.fell_behind

    run(test)


def test_what_a_transport_holds_is_written_before_what_would_go_past_it(run: Callable[[Test], None]) -> None:
    """Its client may have read on since, so that the socket takes more: before the transport has heard of that."""

    async def test(net: Net) -> None:
        await net.come(1)
        (transport,), (box,), held = net.watchers.transports, net.watchers.boxes, bytes(1 << 20)
        transport.write(held)
        assert box.lend(1) == -1
        got = net.drained(0)
        assert box.lend(1) == -1
        box.send(b"an answer")
        assert box.lend_queue() == b""
        box.send(b"another")
        box.flush()
        got += await net.read(0, len(held) + 20 - len(got))
        assert got == held + b"\x81\x09an answer\x81\x07another"

    run(test)


@pytest.mark.parametrize("how", ["reset", "abort", "close"])
def test_nobody_gets_what_was_for_a_connection_that_has_gone(run: Callable[[Test], None], how: str) -> None:
    """Its descriptor is soon another's, who would take the frame for the answer to a request of its own."""

    async def test(net: Net) -> None:
        watchers = net.watchers
        await net.come(MANY)
        for number in range(MANY):
            watchers.hub.deliver(batch_of("t1", 2 * number + 1, 2 * number + 1))
            for box in watchers.boxes:
                box.send(b"an answer")
            if how == "reset":
                net.reset(number)
            else:
                getattr(watchers.transports[number], how)()
            await net.come(1)
            watchers.hub.deliver(batch_of("t1", 2 * number + 2, 2 * number + 2))
            for box in watchers.boxes:
                box.send(b"an answer")
            await turns()
        for late in range(MANY, 2 * MANY):
            watchers.transports[late].write(b"goodbye")
            assert await net.read(late, 12) == b"hellogoodbye"

    run(test)


def test_answers_of_one_turn_are_each_its_clients_in_order_and_whole(run: Callable[[Test], None]) -> None:
    """They are written together: whose socket takes a part of them, or who has much, gets the rest in its place."""

    async def test(net: Net) -> None:
        await net.come(MANY)
        boxes, transports = net.watchers.boxes, net.watchers.transports
        transports[0].get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        said = [b""] * MANY
        for size in (10, MAX_TOGETHER // 2 - 10, MAX_TOGETHER, 20):
            for number, box in enumerate(boxes):
                for answer in (bytes([number]) * size, bytes([255 - number]) * size):
                    box.send(answer)
                    said[number] += text_frame(answer)
            await turns()
        assert transports[0].get_write_buffer_size() > 0, "it took all at once, and nothing was tried"
        for number in range(MANY):
            assert await net.read(number, len(said[number])) == said[number]

    run(test)


class Ear:
    """A follower that keeps what it is offered."""

    task_id = "t1"
    minded = False

    def __init__(self) -> None:
        self.heard: list[TaskEvents] = []
        self.heads: list[int] = []

    def offer(self, batch: TaskEvents) -> None:
        """See `Follower.offer`."""
        self.heard.append(batch)

    def catch_up(self, head: int) -> None:
        """See `Follower.catch_up`."""
        self.heads.append(head)

    def close_soon(self) -> None:
        """See `Follower.close_soon`."""


def crowd(hub: Hub, count: int) -> list[Ear]:
    """So many who follow the task."""
    ears = [Ear() for _ in range(count)]
    for ear in ears:
        hub.add(ear)
    return ears


async def test_who_joins_while_a_batch_is_on_its_way_hears_of_it() -> None:
    """It may have read the log before the batch was in it."""
    hub = Hub()
    crowd(hub, SLICE + 1)
    batch = batch_of("t1", 1, 1)
    hub.deliver(batch)
    (late,) = crowd(hub, 1)
    await turns()
    assert late.heard == [batch]


async def test_what_is_committed_while_a_batch_is_on_its_way_goes_as_one() -> None:
    """Each hears all of it, in order and once, also what a bus said twice."""
    hub = Hub()
    ears = crowd(hub, SLICE + 1)
    for first in (1, 2, 3, 3, 4):
        hub.deliver(batch_of("t1", first, first))
    await turns()
    await turns()
    heard = [(batch.first_seq, batch.last_seq) for batch in ears[0].heard]
    assert heard == [(1, 1), (2, 3), (3, 4)]
    assert all(ear.heard == ears[0].heard for ear in ears)


async def test_what_waits_for_a_crowd_is_bounded() -> None:
    """A task that says more than goes out has its followers read it where it is."""
    hub = Hub()
    ears = crowd(hub, MANY)
    text = "x" * (MAX_BYTES // 4)
    for seq in range(1, 7):
        hub.deliver(batch_of("t1", seq, seq, text=text))
    await turns()
    assert [batch.last_seq for batch in ears[0].heard] == [1, 6]
    assert ears[0].heads == [5]


async def test_a_client_of_several_tasks_has_what_one_commit_says_together() -> None:
    """Written straight, each task would be a system call of its own for each of its clients."""
    with socket.socket() as plain:
        box = Outbox(ClientTransport(plain, best()), Outgoing())
        box.is_shared = True
        assert box.lend(10) == -1
