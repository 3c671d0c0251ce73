"""Those who are told as one, and how they part: over real sockets, by real transports."""

import asyncio
from collections.abc import Callable

from gateway.fanout.hub import MANY
from gateway.sessions.outbox import MAX_EVENT_BYTES, Outbox
from tests.support.records import batch_of
from tests.support.watchers import Net, Test, turns


def test_all_are_ready_when_each_is(run: Callable[[Test], None]) -> None:
    """They are asked together, since they stood together; each answers what it would alone, as it is now."""

    async def test(net: Net) -> None:
        await net.come(7)
        transports, boxes = net.watchers.transports, net.watchers.boxes
        all_of_them = Outbox.line_up(boxes)
        pairs = [Outbox.line_up([boxes[0], box]) for box in boxes]
        assert list(all_of_them.fds) == [
            transport.get_extra_info("socket").fileno() for transport in transports
        ]
        assert all_of_them.are_ready(1)
        assert not all_of_them.are_ready(MAX_EVENT_BYTES + 1)
        boxes[1].is_shared = True
        boxes[2].send(b"an answer")
        transports[3].write(bytes(8 << 20))
        transports[4].close()
        boxes[5].close()
        assert [pair.are_ready(1) for pair in pairs] == [True, False, False, False, False, False, True]
        assert [box.ready(1) >= 0 for box in boxes] == [True, False, False, False, False, False, True]
        assert not all_of_them.are_ready(1)

    run(test)


def test_who_steps_out_of_a_rank_goes_on_where_it_is(run: Callable[[Test], None]) -> None:
    """Whether he is offered more alone, or told that the log goes further; who comes back, and who stays, has all."""

    async def test(net: Net) -> None:
        watchers = net.watchers
        await net.come(MANY)
        batches = [batch_of("t1", seq, seq) for seq in (1, 2, 3, 4, 5)]
        for batch in batches[:2]:
            watchers.hub.deliver(batch)
            await turns()
        offered, told, deaf, *_ = watchers.following
        assert all(one.cohort is not None and one.cohort.cursor == 2 for one in watchers.following)
        offered.offer(batches[2])
        told.catch_up(3)
        deaf.catch_up(2)
        for batch in batches[2:]:
            watchers.hub.deliver(batch)
            await turns()
        said = [batch.wire for batch in batches]
        assert [net.drained(number) for number in range(MANY)] == [
            b"".join(said[:2] if number == 1 else said) for number in range(MANY)
        ]
        assert watchers.fell_behind == [told]
        assert (told.cursor, told.head) == (2, 5)

    run(test)


def test_what_clients_were_sent_together_each_has_taken(run: Callable[[Test], None]) -> None:
    """Whoever takes it is not held to be gone: it counts as if it had been sent to him alone."""

    async def test(net: Net) -> None:
        watchers, now = net.watchers, asyncio.get_running_loop().time
        await net.come(MANY)
        took: list[float] = []
        for seq in (1, 2, 3):
            watchers.hub.deliver(batch_of("t1", seq, seq))
            sent = now()
            await turns()
            while now() == sent:
                await turns()
            took.append(watchers.boxes[0].took_at(now()))
        assert took[0] < took[1] < took[2]

    run(test)


def test_who_is_removed_hears_nothing_more_though_he_is_not_closed(run: Callable[[Test], None]) -> None:
    """The others, with whom he was told, hear what follows."""

    async def test(net: Net) -> None:
        watchers = net.watchers
        await net.come(MANY + 1)
        watchers.follow(watchers.transports[MANY])
        batches = [batch_of("t1", seq, seq) for seq in (1, 2, 3)]
        for batch in batches:
            watchers.hub.deliver(batch)
            await turns()
            if batch is batches[1]:
                watchers.hub.remove(watchers.following[0])
        said = b"".join(batch.wire for batch in batches)
        assert await net.read(1, len(said)) == said
        assert net.drained(0) == b"".join(batch.wire for batch in batches[:2])

    run(test)
