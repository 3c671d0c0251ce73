"""Group commit by itself, over a store that is a list."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from gateway.errors import StoreUnavailableError
from gateway.events import ENOUGH
from gateway.state.group_commit import FEW, MANY, MAX_BATCH, Batch, GroupCommit, in_task
from gateway.tasks import Changed, Commit
from tests.support.inline import InlineExecutor
from tests.support.waiting import let_pass, turns

pytestmark = pytest.mark.looptime


class Log:
    """A store that keeps what is appended, batch by batch, and fails when told."""

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []
        self.published: list[list[str]] = []
        self.failure: Exception | None = None
        self.began_at: list[float] = []
        self.takes_s = 0.0

    async def run(self, writes: Sequence["Write"]) -> Batch:
        """One transaction."""
        if self.failure is not None:
            raise self.failure
        self.began_at.append(asyncio.get_running_loop().time())
        commit = asyncio.get_running_loop().run_in_executor(InlineExecutor(), self._all, writes)
        results = await commit
        if self.takes_s:
            await let_pass(self.takes_s)
        return Batch(results, Commit((), tuple(Changed(str(result), "alice") for result in results)))

    def _all(self, writes: Sequence["Write"]) -> list[Any]:
        self.batches.append([write(self) for write in writes])
        return self.batches[-1]

    def publish(self, commit: Commit) -> None:
        """Note what was published."""
        self.published.append([changed.task_id for changed in commit.changed])


Write = Callable[[Log], Any]


def gives(value: int) -> Write:
    """A write that comes to `value`."""
    return lambda _log: value


def group_over(log: Log) -> GroupCommit[Write]:
    """Group commit whose transactions take no time."""
    return GroupCommit(in_task(log.run), log.publish)


async def test_writes_that_come_together_share_a_transaction() -> None:
    """Many writes at once are few transactions, in the order of asking."""
    log = Log()
    group = group_over(log)
    values = await asyncio.gather(*(group.write(gives(n)) for n in range(50)))
    assert values == list(range(50))
    assert [value for batch in log.batches for value in batch] == values
    assert len(log.batches) <= 2


async def test_batch_is_bounded() -> None:
    """No transaction takes more than `MAX_BATCH` writes."""
    log = Log()
    group = group_over(log)
    await asyncio.gather(*(group.write(gives(n)) for n in range(3 * MAX_BATCH)))
    assert max(map(len, log.batches)) == MAX_BATCH


async def test_lone_write_waits_for_nothing(looptime: Any) -> None:
    """Where there is nothing to share with, a write starts at once."""
    group = group_over(Log())
    assert await group.write(lambda _log: 1) == 1
    assert looptime == 0


class Patient:
    """An asker that can wait; what it has is what `has` says when it is asked."""

    def __init__(self, has: int | None) -> None:
        self.has = has
        self.heard: list[Any] = []

    def take(self) -> Write | None:
        """See `Asker.take`."""
        return None if self.has is None else gives(self.has)

    def told(self, result: Any) -> None:
        """See `Asker.told`."""
        self.heard.append(result)


async def test_who_can_wait_is_asked_when_the_transaction_begins() -> None:
    """What it has by then is written, and nothing of who has nothing any more."""
    log = Log()
    group = group_over(log)
    later, gone = Patient(1), Patient(1)
    group.put(later)
    group.put(gone)
    later.has, gone.has = 2, None
    await group.drain()
    assert (log.batches, later.heard, gone.heard) == ([[2]], [2], [])


async def test_those_who_can_wait_gather_in_a_rest(looptime: Any) -> None:
    """The first goes at once; who comes within the rest after it shares the next transaction, at the rest's end."""
    log = Log()
    group = GroupCommit(in_task(log.run), log.publish, rest_s=1.0)
    group.put(Patient(1))
    await let_pass(0.1)
    for number in (2, 3):
        group.put(Patient(number))
        await let_pass(0.1)
    assert log.batches == [[1]]
    await let_pass(1)
    assert (log.batches, looptime < 2) == ([[1], [2, 3]], True)


@pytest.mark.parametrize(("count", "begins_at"), [(FEW - 1, 1.0), (FEW, 2.0)])
async def test_few_wait_for_a_rest_and_more_for_as_long_again(count: int, begins_at: float) -> None:
    """Where only a few have come by the end of the rest they go; more wait for more, twice the rest at most."""
    log = Log()
    group = GroupCommit(in_task(log.run), log.publish, rest_s=1.0)
    group.put(Patient(0))
    await let_pass(0.5)
    for value in range(count):
        group.put(Patient(value))
    await let_pass(2)
    assert log.began_at[1] == pytest.approx(begins_at)


@pytest.mark.parametrize(("every_s", "begins_at"), [(0.1, 2.0), (0.05, 1.2), (0.02, 0.3)])
async def test_the_slower_they_come_the_longer_they_wait(every_s: float, begins_at: float) -> None:
    """What is enough grows as the rest goes on: who come as slowly as it does have all the time there is."""
    log = Log()
    group = GroupCommit(in_task(log.run), log.publish, rest_s=1.0)
    group.put(Patient(0))
    for value in range(round(2 / every_s)):
        await let_pass(every_s)
        group.put(Patient(value))
    await let_pass(0.1)
    assert log.began_at[1] == pytest.approx(begins_at, abs=every_s / 2)


async def test_transaction_that_cannot_begin_is_told_of() -> None:
    """As one that fails later: its asker hears of it, and writing goes on."""
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)

    def closed(_writes: Sequence[Write], _told: Any) -> None:
        raise RuntimeError("closed")

    group = GroupCommit[Write](closed, lambda _commit: None)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="closed"):
            await group.write(gives(1))


async def test_enough_ends_a_rest(looptime: Any) -> None:
    """As many as pay for a transaction begin one at once; one fewer do not."""
    log = Log()
    group = group_over(log)
    for count in (1, ENOUGH - 1):
        for value in range(count):
            group.put(Patient(value))
        await turns(9)
    assert list(map(len, log.batches)) == [1]
    group.put(Patient(0))
    await turns(9)
    assert (list(map(len, log.batches)), looptime) == ([1, ENOUGH], 0)


@pytest.mark.parametrize(("takes_s", "begins_at"), [(1.0, 2.0), (7.0, 10.0), (20.0, 20.0)])
async def test_enough_waits_for_a_pause_as_long_as_the_last_transaction_took(
    takes_s: float, begins_at: float
) -> None:
    """They begin the next one behind that, and at the end of the rest at the latest, which a slow store is past."""
    log = Log()
    log.takes_s = takes_s
    group = GroupCommit(in_task(log.run), log.publish, rest_s=10.0)
    group.put(Patient(0))
    for _ in range(2):
        await let_pass(takes_s - 0.1)
        for value in range(ENOUGH):
            group.put(Patient(value))
    await let_pass(takes_s + 10)
    assert log.began_at[1] == pytest.approx(begins_at)


@pytest.mark.parametrize(("count", "begins_at"), [(MANY - 1, 2.0), (MANY, 10.0)])
async def test_many_are_followed_by_the_whole_rest(count: int, begins_at: float) -> None:
    """Where a transaction had many the next one waits for as many, at most until the rest has ended."""
    log = Log()
    log.takes_s = 1.0
    group = GroupCommit(in_task(log.run), log.publish, rest_s=10.0)
    for value in range(count):
        group.put(Patient(value))
    await let_pass(0.1)
    for value in range(ENOUGH):
        group.put(Patient(value))
    await let_pass(11)
    assert log.began_at[1] == pytest.approx(begins_at)


async def test_who_cannot_wait_ends_the_rest(looptime: Any) -> None:
    """It goes at once and takes along who waits; what has to be drained does so, too."""
    log = Log()
    group = GroupCommit(in_task(log.run), log.publish, rest_s=1.0)
    group.put(Patient(1))
    await let_pass(0.1)
    group.put(Patient(2))
    assert await group.write(gives(3)) == 3
    group.put(Patient(4))
    await let_pass(0.1)
    group.put(Patient(5))
    await group.drain()
    assert (log.batches, looptime < 0.5) == ([[1], [2, 3], [4], [5]], True)


async def test_full_batch_waits_for_nothing(looptime: Any) -> None:
    """Where a transaction is full it waits for no more, and who is in a hurry behind it goes with the next."""
    log = Log()
    group = group_over(log)
    group.put(Patient(0))
    await turns(9)
    for value in range(MAX_BATCH):
        group.put(Patient(value))
    await turns(9)
    assert [len(batch) for batch in log.batches] == [1, MAX_BATCH]
    group.put(Patient(0))
    await turns(9)
    for value in range(MAX_BATCH + 5):
        group.put(Patient(value))
    assert await group.write(gives(-2)) == -2
    assert [len(batch) for batch in log.batches] == [1, MAX_BATCH, 1, MAX_BATCH, 6]
    assert looptime == 0


async def test_batch_is_published_before_any_of_its_askers_is_answered() -> None:
    """Publishing comes first, and once for a batch."""
    log = Log()
    group = group_over(log)

    async def ask(number: int) -> int:
        value = await group.write(lambda _log: number)
        return sum(str(value) in batch for batch in log.published)

    assert await asyncio.gather(*map(ask, range(10))) == [1] * 10


async def test_failed_transaction_is_told_to_all_its_askers() -> None:
    """Each write of it raises; nothing is published; the next transaction is tried afresh."""
    log = Log()
    group = group_over(log)
    log.failure = StoreUnavailableError("full")
    asked = [group.write(lambda _log: 1) for _ in range(3)]
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(result) for result in results] == [StoreUnavailableError] * 3
    assert log.published == []
    log.failure = None
    assert await group.write(lambda _log: 2) == 2


async def test_bug_in_a_transaction_is_reported_and_told() -> None:
    """An exception that nobody expected reaches the loop's handler and every asker; writing goes on."""
    log = Log()
    group = group_over(log)
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: reported.append(context))
    log.failure = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        await group.write(lambda _log: 1)
    assert [context["exception"] for context in reported] == [log.failure]
    log.failure = None
    assert await group.write(lambda _log: 2) == 2


async def test_bug_in_publishing_leaves_nobody_waiting() -> None:
    """What is committed is answered, also where publishing it fails; the failure is reported."""
    log = Log()
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: reported.append(context))

    def broken(_commit: Commit) -> None:
        raise ZeroDivisionError

    group = GroupCommit(in_task(log.run), broken)
    async with asyncio.timeout(10):
        assert await group.write(lambda _log: 1) == 1
        assert await group.write(lambda _log: 2) == 2
    assert len(reported) == 2


async def test_drain_returns_when_all_is_settled() -> None:
    """Whatever was asked before has its answer."""
    log = Log()
    group = group_over(log)
    asked = [asyncio.ensure_future(group.write(gives(n))) for n in range(20)]
    await asyncio.wait([asked[0]], timeout=0)
    await group.drain()
    assert sum(map(len, log.batches)) == 20
    assert await asyncio.gather(*asked) == list(range(20))
