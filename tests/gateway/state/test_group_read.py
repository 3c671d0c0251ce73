"""Group read by itself: who shares a trip to a thread, and what becomes of each."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future

import pytest

from gateway.state.sqlite.group_read import MAX_BATCH, TRIPS, GroupRead
from tests.support.inline import GatedExecutor

pytestmark = pytest.mark.looptime


class Threads(GatedExecutor):
    """Counts the trips."""

    def __init__(self) -> None:
        super().__init__()
        self.trips = 0
        self.failure: Exception | None = None

    def submit(self, fn, /, *args, **kwargs):  # type: ignore[no-untyped-def]
        """See `Executor.submit`."""
        self.trips += 1
        if self.failure is not None:
            failed: Future[object] = Future()
            failed.set_exception(self.failure)
            return failed
        return super().submit(fn, *args, **kwargs)


def reads(group: GroupRead, calls: list[Callable[[], int]]) -> "list[asyncio.Task[int]]":
    """All asked at once, in order."""
    return [asyncio.ensure_future(group.read(call)) for call in calls]


async def let_start() -> None:
    """Let what was called soon be called."""
    for _ in range(3):
        ticked = asyncio.Event()
        asyncio.get_running_loop().call_soon(ticked.set)
        await ticked.wait()


async def test_read_alone_makes_its_trip_at_once() -> None:
    """Nothing waits where nothing is under way."""
    threads = Threads()
    group = GroupRead(threads)
    assert [await group.read(lambda: 1), await group.read(lambda: 2)] == [1, 2]
    assert threads.trips == 2


async def test_reads_that_gather_share_a_trip() -> None:
    """A crowd's reads take few trips, in the order of asking, and each gets its own answer."""
    threads = Threads()
    group = GroupRead(threads)
    threads.shut()
    order: list[int] = []

    def call(number: int) -> int:
        order.append(number)
        return number

    asked = reads(group, [lambda number=number: call(number) for number in range(100)])  # type: ignore[misc]
    await let_start()
    assert threads.trips == TRIPS
    threads.open()
    assert await asyncio.gather(*asked) == list(range(100))
    assert order == sorted(order)
    assert threads.trips == TRIPS + -(-(100 - TRIPS) // MAX_BATCH)


async def test_read_that_fails_fails_alone() -> None:
    """What one read raises is its asker's; the others of its trip hear nothing of it."""
    threads = Threads()
    group = GroupRead(threads)
    threads.shut()
    asked = reads(group, [lambda: 1, lambda: 2, lambda: 1 // 0, lambda: 3])
    await let_start()
    threads.open()
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert found[:2] + found[3:] == [1, 2, 3]
    assert isinstance(found[2], ZeroDivisionError)


async def test_trip_that_fails_fails_all_of_it_and_the_next_one_goes() -> None:
    """Nobody waits for ever for a thread that could not do it, nor are those behind forgotten."""
    threads = Threads()
    group = GroupRead(threads)
    threads.failure = RuntimeError("no thread")
    found = await asyncio.gather(*reads(group, [lambda: 1] * 100), return_exceptions=True)
    assert {str(error) for error in found} == {"no thread"}
    threads.failure = None
    assert await group.read(lambda: 1) == 1


async def test_asker_that_goes_takes_nobody_along() -> None:
    """Who no longer waits, before its trip or during it, leaves the others their answers."""
    threads = Threads()
    group = GroupRead(threads)
    threads.shut()
    asked = reads(group, [lambda number=number: number for number in range(6)])  # type: ignore[misc]
    await let_start()
    asked[0].cancel()
    asked[4].cancel()
    await let_start()
    threads.open()
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert [found[index] for index in (1, 2, 3, 5)] == [1, 2, 3, 5]
    assert isinstance(found[0], asyncio.CancelledError)
    assert isinstance(found[4], asyncio.CancelledError)


async def test_drain_waits_for_all_that_was_asked() -> None:
    """A store is closed when no thread reads it any more, also one whose asker has gone."""
    threads = Threads()
    group = GroupRead(threads)
    threads.shut()
    asked = reads(group, [lambda: 1, lambda: 2, lambda: 3])
    await let_start()
    asked[0].cancel()
    draining = asyncio.ensure_future(group.drain())
    await let_start()
    assert not draining.done()
    threads.open()
    await draining
    assert await asyncio.gather(*asked[1:]) == [2, 3]
