"""What every bus must do; each is put in as one more parameter of `buses`."""

import secrets
from collections.abc import AsyncIterator, Iterator

import pytest

from gateway.bus.base import (
    CHANGES,
    QUEUE,
    Bus,
    Message,
    Missed,
    Ring,
    announce,
    instance_channel,
    task_channel,
)
from gateway.bus.memory import MemoryBus
from gateway.tasks import Changed, Commit
from tests.support.processes import until
from tests.support.records import batch_of
from tests.support.redis_server import RedisServer, redis_server, running_bus

DEADLINE_S = 30.0


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    """A server for all buses of the suite."""
    with redis_server() as server:
        yield server


@pytest.fixture(params=["memory", "redis"])
async def buses(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Bus, Bus]]:
    """Where messages are published, and where they are to be heard: two instances, or one and the same."""
    if request.param == "memory":
        bus = MemoryBus()
        yield bus, bus
        return
    server: RedisServer = request.getfixturevalue("redis")
    prefix = f"test-{secrets.token_hex(8)}"
    async with (
        running_bus(server.url, instance="here", prefix=prefix) as here,
        running_bus(server.url, instance="there", prefix=prefix) as there,
    ):
        yield here, there


@pytest.fixture
def bus(buses: tuple[Bus, Bus]) -> Bus:
    """A bus that nobody uses yet."""
    return buses[0]


class Heard:
    """A handler that keeps what it is given, but that something may have been missed."""

    def __init__(self, bus: Bus) -> None:
        self.messages: list[tuple[str, Message]] = []
        bus.on_message(self._keep)

    def _keep(self, channel: str, message: Message) -> None:
        if not isinstance(message, Missed):
            self.messages.append((channel, message))

    async def until(self, count: int) -> list[tuple[str, Message]]:
        """All messages, once there are so many."""
        await until(
            lambda: len(self.messages) >= count, within_s=DEADLINE_S, what=f"{count} of {self.messages}"
        )
        return self.messages


async def test_message_reaches_another_instance(buses: tuple[Bus, Bus]) -> None:
    """Whatever it is, whole and once; in the order of publishing."""
    here, there = buses
    heard = Heard(there)
    sent: list[tuple[str, Message]] = [
        (task_channel("t"), batch_of("t", 1, 3)),
        (CHANGES, Changed("t", "älice", queued=True)),
        (CHANGES, Changed("u", "bob", ring="i", removed=True)),
        (QUEUE, Ring()),
        (QUEUE, Ring("t")),
        (task_channel("t"), batch_of("t", 4, 4)),
    ]
    for channel in (task_channel("t"), CHANGES, QUEUE):
        await there.subscribe(channel)
    here.publish_nowait(sent[:4])
    here.publish_nowait(sent[4:])
    assert await heard.until(len(sent)) == sent


async def test_what_is_published_here_is_heard_here_at_once_and_once(buses: tuple[Bus, Bus]) -> None:
    """It does not come back a second time by the way of the others."""
    here, there = buses
    heard = Heard(here)
    await here.subscribe("a")
    here.publish_nowait([("a", Ring("1"))])
    assert heard.messages == [("a", Ring("1"))]
    echo = Heard(there)
    await there.subscribe("a")
    here.publish_nowait([("a", Ring("2"))])
    await echo.until(1)
    there.publish_nowait([("a", Ring("3"))])
    assert await heard.until(3) == [("a", Ring(which)) for which in "123"]


async def test_subscription_holds_when_it_returns(buses: tuple[Bus, Bus]) -> None:
    """What is published from then on, wherever, arrives."""
    here, there = buses
    heard = Heard(there)
    sent: list[tuple[str, Message]] = [(f"channel:{number}", Ring()) for number in range(50)]
    for channel, message in sent:
        await there.subscribe(channel)
        here.publish_nowait([(channel, message)])
    assert await heard.until(len(sent)) == sent


async def test_what_nobody_subscribed_to_is_not_heard_elsewhere(buses: tuple[Bus, Bus]) -> None:
    """Nor what was left again, as often as it was joined."""
    here, there = buses
    heard = Heard(there)
    for channel in ("a", "b", "b"):
        await there.subscribe(channel)
    there.unsubscribe_nowait("a")
    there.unsubscribe_nowait("b")
    here.publish_nowait([("a", Ring("1")), ("c", Ring("2")), ("b", Ring("3"))])
    assert await heard.until(1) == [("b", Ring("3"))]


async def test_channel_can_be_joined_again(buses: tuple[Bus, Bus]) -> None:
    """However quickly it was left before."""
    here, there = buses
    heard = Heard(there)
    for _ in range(3):
        await there.subscribe("a")
        there.unsubscribe_nowait("a")
    await there.subscribe("a")
    here.publish_nowait([("a", Ring("1"))])
    assert await heard.until(1) == [("a", Ring("1"))]


async def test_bus_that_works_has_no_problem(bus: Bus) -> None:
    """And nobody is told that something is wrong."""
    assert bus.problem is None


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
