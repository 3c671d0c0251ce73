"""Tasks that are run elsewhere: whom a queue is told of, and how often."""

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Sequence

import pytest

from gateway.work.offers import FIRST_S, Offer, Offers
from tests.support.records import record
from tests.support.waiting import let_pass
from tests.support.work import LOG


class Queue:
    """Hears of tasks, unless it is broken."""

    def __init__(self) -> None:
        self.heard: list[Offer] = []
        self.is_broken = False
        self._lock = threading.Lock()

    def send(self, offers: Sequence[Offer]) -> None:
        """What an `Offers` calls."""
        if self.is_broken:
            raise ConnectionError("nobody is there")
        with self._lock:
            self.heard += offers


@pytest.fixture
def queue() -> Queue:
    """Nobody was told of anything."""
    return Queue()


@pytest.fixture
async def offers(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Offers]:
    """They run; what they send takes no time."""

    async def at_once(send: object, offers: object) -> None:
        send(offers)  # type: ignore[operator]

    monkeypatch.setattr(asyncio, "to_thread", at_once)
    made = Offers(queue.send, log=LOG)
    running = asyncio.ensure_future(made.run())
    yield made
    running.cancel()
    await asyncio.wait([running])


@pytest.mark.looptime
async def test_task_is_told_of_again_more_and_more_seldom(offers: Offers, queue: Queue) -> None:
    """However often it is offered."""
    task, times = record(), list[float]()
    loop = asyncio.get_running_loop()
    for _second in range(200):
        before = len(queue.heard)
        offers.offer_nowait(task)
        await let_pass(1)
        times += [loop.time()] * (len(queue.heard) - before)
    waits = [round(later - sooner) for sooner, later in itertools.pairwise(times)]
    assert waits == [FIRST_S, 2 * FIRST_S, 4 * FIRST_S]
    assert {*queue.heard} == {(task.task_id, task.epoch)}


@pytest.mark.looptime
async def test_another_epoch_is_told_of_at_once(offers: Offers, queue: Queue) -> None:
    """An attempt that was lost is no reason to wait; nor is one that waits no more and then waits again."""
    task_id = "t-1"
    for epoch in (0, 1):
        offers.offer_nowait(record(task_id=task_id, epoch=epoch))
        await let_pass(1)
    offers.keep_only(set())
    offers.offer_nowait(record(task_id=task_id, epoch=1))
    await let_pass(1)
    assert queue.heard == [(task_id, 0), (task_id, 1), (task_id, 1)]


@pytest.mark.looptime
async def test_what_could_not_be_told_is_told_at_the_next_look(offers: Offers, queue: Queue) -> None:
    """A broker that is away costs no more than the time that it is."""
    queue.is_broken = True
    offers.offer_nowait(record(task_id="t-1"))
    await let_pass(1)
    queue.is_broken = False
    offers.offer_nowait(record(task_id="t-1"))
    await let_pass(1)
    assert queue.heard == [("t-1", 0)]
