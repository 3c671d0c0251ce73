"""What every bus must do; each is put in as one more parameter of `bus`."""

import pytest

from gateway.bus.base import CHANGES, QUEUE, Bus, Message, Ring, announce, instance_channel, task_channel
from gateway.bus.memory import MemoryBus
from gateway.tasks import Changed, Commit
from tests.support.records import batch_of


@pytest.fixture(params=["memory"])
def bus(request: pytest.FixtureRequest) -> Bus:
    """A bus that nobody uses yet."""
    return MemoryBus()


class Heard:
    """A handler that keeps what it is given."""

    def __init__(self, bus: Bus) -> None:
        self.messages: list[tuple[str, Message]] = []
        bus.on_message(lambda channel, message: self.messages.append((channel, message)))


async def test_message_reaches_every_handler_of_a_subscribed_channel(bus: Bus) -> None:
    """All handlers hear what comes on a channel that somebody here subscribed to, and nothing of others."""
    one, other = Heard(bus), Heard(bus)
    await bus.subscribe("a")
    bus.publish_nowait([("a", Ring("t")), ("b", Ring())])
    assert one.messages == other.messages == [("a", Ring("t"))]


async def test_messages_come_in_the_order_of_publishing(bus: Bus) -> None:
    """Within a publish and over several, on one channel and over several."""
    heard = Heard(bus)
    await bus.subscribe("a")
    await bus.subscribe("b")
    sent: list[tuple[str, Message]] = [("ab"[number % 2], Ring(str(number))) for number in range(9)]
    bus.publish_nowait(sent[:4])
    bus.publish_nowait(sent[4:])
    assert heard.messages == sent


async def test_subscriptions_are_counted(bus: Bus) -> None:
    """A channel is heard until it was left as often as it was joined."""
    heard = Heard(bus)
    await bus.subscribe("a")
    await bus.subscribe("a")
    bus.unsubscribe_nowait("a")
    bus.publish_nowait([("a", Ring("1"))])
    bus.unsubscribe_nowait("a")
    bus.publish_nowait([("a", Ring("2"))])
    assert heard.messages == [("a", Ring("1"))]


async def test_leaving_a_channel_that_was_not_joined_does_no_harm(bus: Bus) -> None:
    """It is not a debt that swallows the next subscription."""
    heard = Heard(bus)
    bus.unsubscribe_nowait("a")
    await bus.subscribe("a")
    bus.publish_nowait([("a", Ring())])
    assert heard.messages == [("a", Ring())]


async def test_announce_tells_all_that_a_commit_concerns(bus: Bus) -> None:
    """Events go to their task's channel, changes to the lists, rings to the owner, and one to the queue."""
    heard = Heard(bus)
    batches = [batch_of("t1", 1, 2), batch_of("t2", 5, 5)]
    changed = [
        Changed("t1", "alice", queued=True),
        Changed("t2", "bob", ring="i1"),
        Changed("t3", "bob", queued=True),
    ]
    for channel in (task_channel("t1"), task_channel("t2"), CHANGES, QUEUE, instance_channel("i1")):
        await bus.subscribe(channel)
    announce(bus, Commit(batches, changed))
    by_channel: dict[str, list[Message]] = {}
    for channel, message in heard.messages:
        by_channel.setdefault(channel, []).append(message)
    assert by_channel == {
        task_channel("t1"): [batches[0]],
        task_channel("t2"): [batches[1]],
        CHANGES: changed,
        instance_channel("i1"): [Ring("t2")],
        QUEUE: [Ring()],
    }


async def test_announce_of_a_commit_that_queues_nothing_rings_no_queue(bus: Bus) -> None:
    """Whoever looks for work is not woken for nothing."""
    heard = Heard(bus)
    await bus.subscribe(QUEUE)
    announce(bus, Commit([batch_of("t1", 1, 1)], [Changed("t1", "alice")]))
    assert heard.messages == []
