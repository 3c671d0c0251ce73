"""Who follows which task, and how the bus reaches them."""

from gateway.bus.base import task_channel
from gateway.bus.memory import MemoryBus
from gateway.events import TaskEvents
from gateway.fanout.hub import Hub
from gateway.fanout.relay import Relay
from tests.support.records import batch_of


class Ear:
    """A follower that keeps what it is offered, and may leave while it is offered it."""

    def __init__(self, task_id: str, hub: Hub | None = None) -> None:
        self.task_id = task_id
        self.minded = True
        self.hub = hub
        self.heard: list[TaskEvents] = []
        self.heads: list[int] = []
        self.told = False

    def catch_up(self, head: int) -> None:
        """See `Follower.catch_up`."""
        self.heads.append(head)

    def offer(self, batch: TaskEvents) -> None:
        """See `Follower.offer`."""
        self.heard.append(batch)
        if self.hub is not None:
            self.hub.remove(self)

    def close_soon(self) -> None:
        """See `Follower.close_soon`."""
        self.told = True


async def test_hub_delivers_to_all_who_follow_the_task() -> None:
    """The very same batch goes to each of them, and to nobody else."""
    hub, ears = Hub(), [Ear("t1"), Ear("t1"), Ear("t2")]
    for ear in ears:
        hub.add(ear)
    batch = batch_of("t1", 1, 2)
    hub.deliver(batch)
    assert [ear.heard for ear in ears] == [[batch], [batch], []]
    assert ears[0].heard[0] is batch


async def test_hub_forgets_who_left() -> None:
    """Who left hears nothing more; leaving twice, or without having come, does nothing."""
    hub, stays, goes = Hub(), Ear("t1"), Ear("t1")
    hub.add(stays)
    hub.add(goes)
    hub.remove(goes)
    hub.remove(goes)
    hub.remove(Ear("t9"))
    hub.deliver(batch_of("t1", 1, 1))
    assert (len(stays.heard), len(goes.heard)) == (1, 0)
    hub.remove(stays)
    assert repr(hub) == "<Hub 0 tasks, 0 followers>"


def test_hub_tells_of_the_first_and_the_last_of_tasks_that_mind() -> None:
    """Who follows a task without a detach policy is nobody's business."""
    hub, told = Hub(), list[str]()
    hub.on_first = lambda task_id: told.append(f"{task_id} first")
    hub.on_last = lambda task_id: told.append(f"{task_id} last")
    ears = [Ear("t1"), Ear("t1"), Ear("t2")]
    ears[2].minded = False
    for ear in ears:
        hub.add(ear)
    for ear in [*ears, *ears]:
        hub.remove(ear)
    assert told == ["t1 first", "t1 last"]


def test_hub_counts_only_followers_that_are_minded() -> None:
    """Who listens for a moment, before a task's row is known, hides neither the first watcher nor the last."""
    hub, told = Hub(), list[str]()
    hub.on_first = lambda task_id: told.append(f"{task_id} first")
    hub.on_last = lambda task_id: told.append(f"{task_id} last")
    watcher, passer_by = Ear("t1"), Ear("t1")
    passer_by.minded = False
    hub.add(passer_by)
    assert told == []
    hub.add(watcher)
    hub.remove(watcher)
    assert told == ["t1 first", "t1 last"]
    hub.remove(passer_by)
    assert told == ["t1 first", "t1 last"]


async def test_hub_lets_followers_leave_while_it_delivers() -> None:
    """A follower that ends with a batch does not keep others from it."""
    hub = Hub()
    ears = [Ear("t1", hub), Ear("t1", hub), Ear("t1")]
    for ear in ears:
        hub.add(ear)
    hub.deliver(batch_of("t1", 1, 1))
    hub.deliver(batch_of("t1", 2, 2))
    assert [len(ear.heard) for ear in ears] == [1, 1, 2]


async def test_relay_hears_only_of_tasks_that_are_followed() -> None:
    """A channel is subscribed for its first follower and left with its last."""
    bus, hub = MemoryBus(), Hub()
    relay, one, two = Relay(bus, hub), Ear("t1"), Ear("t1")
    await relay.join(one)
    await relay.join(two)
    relay.leave(one)
    bus.publish_nowait([(task_channel("t1"), batch_of("t1", 1, 1))])
    assert (len(one.heard), len(two.heard)) == (0, 1)
    relay.leave(two)
    assert repr(bus) == "<MemoryBus 0 channels>"


async def test_relay_joins_for_a_block() -> None:
    """However the block ends, the follower has left after it."""
    bus, ear = MemoryBus(), Ear("t1")
    relay = Relay(bus, Hub())
    async with relay.joined(ear):
        bus.publish_nowait([(task_channel("t1"), batch_of("t1", 1, 1))])
    bus.publish_nowait([(task_channel("t1"), batch_of("t1", 2, 2))])
    assert len(ear.heard) == 1
    assert repr(bus) == "<MemoryBus 0 channels>"


def test_close_soon_reaches_every_follower() -> None:
    """Each follower of each task is told that the instance is about to end."""
    hub = Hub()
    ears = [Ear("t1"), Ear("t1"), Ear("t2")]
    for ear in ears:
        hub.add(ear)
    hub.close_soon()
    assert [ear.told for ear in ears] == [True] * 3
