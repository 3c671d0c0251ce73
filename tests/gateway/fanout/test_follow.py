"""Following a log from a coroutine, at the coroutine's own pace."""

import asyncio

import pytest

from gateway.bus.base import task_channel
from gateway.bus.memory import MemoryBus
from gateway.events import TaskEvents
from gateway.fanout.follow import ended, follow
from gateway.fanout.hub import Hub
from gateway.fanout.relay import Relay
from gateway.tasks import TaskStatus
from tests.support.records import output, record
from tests.support.sinks import Log
from tests.support.waiting import let_pass

pytestmark = pytest.mark.looptime


class Place:
    """A log, and a relay that rings for it."""

    def __init__(self) -> None:
        self.log = Log()
        self.bus = MemoryBus()
        self.relay = Relay(self.bus, Hub())

    def publish(self, batch: TaskEvents) -> None:
        """Tell of what was committed."""
        self.bus.publish_nowait([(task_channel(batch.task_id), batch)])


async def test_follow_gives_history_then_what_comes_to_the_end() -> None:
    """Every event after `after_seq`, in order, once; the iteration ends with the log."""
    place = Place()
    place.log.add(*(output("x") for _ in range(4)))
    got: list[int] = []

    async def reader() -> None:
        async for batch in follow(place.relay, place.log.read, record(task_id="t1"), 2):
            got.extend(event.seq for event in batch.events)

    reading = asyncio.ensure_future(reader())
    await let_pass(1)
    assert got == [3, 4]
    place.publish(place.log.add(output("y")))
    await let_pass(1)
    assert got == [3, 4, 5]
    place.publish(place.log.finish())
    await reading
    assert got == [3, 4, 5, 6]
    assert repr(place.bus) == "<MemoryBus 0 channels>"


async def test_follow_misses_nothing_that_comes_while_it_reads() -> None:
    """A bell that rings during a read is not forgotten with it."""
    place = Place()

    async def meanwhile() -> None:
        place.log.after_read = None
        place.publish(place.log.finish())

    place.log.after_read = meanwhile
    async with asyncio.timeout(5):
        batches = [batch async for batch in follow(place.relay, place.log.read, record(task_id="t1"), 0)]
    assert [event.seq for batch in batches for event in batch.events] == [1]


async def test_follow_of_an_ended_log_ends_at_once() -> None:
    """Also from its very end, and without a bell."""
    place = Place()
    place.log.add(output("x"))
    place.log.finish()
    for after_seq, expected in ((0, [1, 2]), (1, [2]), (2, [])):
        batches = [
            batch async for batch in follow(place.relay, place.log.read, record(task_id="t1"), after_seq)
        ]
        assert [event.seq for batch in batches for event in batch.events] == expected


async def test_follow_that_is_cancelled_leaves() -> None:
    """A reader that goes is not rung for any more."""
    place = Place()
    waiting = asyncio.ensure_future(ended(place.relay, place.log.read, record(task_id="t1")))
    await let_pass(1)
    assert repr(place.bus) == "<MemoryBus 1 channels>"
    waiting.cancel()
    await asyncio.wait([waiting])
    assert repr(place.bus) == "<MemoryBus 0 channels>"


async def test_ended_waits_for_the_last_event() -> None:
    """Not for any other."""
    place = Place()
    waiting = asyncio.ensure_future(ended(place.relay, place.log.read, record(task_id="t1")))
    place.publish(place.log.add(output("x")))
    await let_pass(60)
    assert not waiting.done()
    place.publish(place.log.finish())
    assert await waiting is True


async def test_ended_knows_a_task_that_has_ended() -> None:
    """Of a task that is known to have ended the log is not read again."""
    place = Place()
    assert await ended(place.relay, place.log.read, record(task_id="t1", status=TaskStatus.COMPLETED)) is True


async def test_nobody_waits_for_an_instance_that_ends() -> None:
    """Whoever follows when the instance is about to end gives up, and who begins then does not begin to wait."""
    place = Place()
    place.publish(place.log.add(output("x")))
    waiting = asyncio.ensure_future(ended(place.relay, place.log.read, record(task_id="t1")))
    await let_pass(1)
    place.relay.close_soon()
    async with asyncio.timeout(5):
        assert await waiting is False
        batches = [batch async for batch in follow(place.relay, place.log.read, record(task_id="t1"), 0)]
    assert [event.seq for batch in batches for event in batch.events] == [1]
