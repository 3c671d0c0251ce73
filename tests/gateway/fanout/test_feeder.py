"""The feeder of a connection's subscriptions, with the subscriptions it feeds, over a log in memory."""

import asyncio
from typing import Any

import pytest

from gateway.errors import StoreUnavailableError
from gateway.fanout.replay import PAGE_BYTES, Feeder, LogTrimmedError, Subscription
from gateway.state.values import Page
from tests.support.records import output
from tests.support.sinks import Client, Log
from tests.support.waiting import let_pass

pytestmark = pytest.mark.looptime

AMPLE = 1 << 20


class Watched:
    """One subscription to a log, fed by a feeder of its own."""

    def __init__(self, log: Log, client: Client, after_seq: int = 0) -> None:
        self.failures: list[Exception] = []
        self.ends = 0
        self.feeder = Feeder(client, log.read, on_failure=self.failures.append)
        self.subscription = Subscription(
            log.task_id, after_seq, client, on_behind=self.feeder.add, on_end=self._ended
        )

    def _ended(self, _subscription: Subscription) -> None:
        self.ends += 1

    def begin(self) -> None:
        """The answer is on its way: feed."""
        self.feeder.add(self.subscription)


async def test_log_is_replayed_then_followed_live() -> None:
    """History comes from the log; what is committed after that comes without another read."""
    log, client = Log(), Client(AMPLE)
    log.add(*(output("x") for _ in range(5)))
    watched = Watched(log, client, after_seq=2)
    watched.begin()
    await let_pass(1)
    assert (client.got, watched.subscription.live, log.reads) == ([3, 4, 5], True, 1)
    watched.subscription.offer(log.add(output("y"), output("z")))
    watched.subscription.offer(log.finish())
    assert client.got == [3, 4, 5, 6, 7, 8]
    assert (watched.ends, log.reads) == (1, 1)


async def test_log_larger_than_the_client_is_fed_at_its_pace() -> None:
    """A client never holds more than its room, is skipped nothing, and costs nothing while it does not read."""
    log, client = Log(), Client(2000)
    for _ in range(100):
        log.add(output("x" * 50))
    log.finish()
    watched = Watched(log, client)
    watched.begin()
    for _ in range(100):
        await let_pass(1)
        assert client.room() >= -10 * client.batches
        client.read()
    assert client.got == list(range(1, 102))
    assert watched.ends == 1
    reads = log.reads
    await let_pass(60)
    assert log.reads == reads


async def test_reader_who_has_missed_nothing_costs_no_read() -> None:
    """Ten thousand who come back to where they were are live at once."""
    log, client = Log(), Client(AMPLE)
    log.add(output("x"), output("y"))
    watched = Watched(log, client, after_seq=2)
    watched.subscription.begin(2, complete=False, feed=watched.feeder.add)
    assert watched.subscription.live
    watched.subscription.offer(log.finish())
    assert (client.got, watched.ends, log.reads) == ([3], 1, 0)


async def test_reader_of_an_ended_log_is_told_at_once() -> None:
    """A subscription at the last event of an ended task ends without a read."""
    log, client = Log(), Client(AMPLE)
    log.finish()
    watched = Watched(log, client, after_seq=1)
    watched.subscription.begin(1, complete=True, feed=watched.feeder.add)
    assert (watched.ends, watched.subscription.closed, log.reads) == (1, True, 0)


async def test_reader_who_may_have_missed_something_is_fed() -> None:
    """What was committed after the row was read is missed by nobody."""
    log, client = Log(), Client(AMPLE)
    log.add(output("x"))
    watched = Watched(log, client, after_seq=1)
    watched.subscription.offer(log.add(output("y")))
    watched.subscription.begin(1, complete=False, feed=watched.feeder.add)
    assert not watched.subscription.live
    await let_pass(1)
    assert (client.got, watched.subscription.live, log.reads) == ([2], True, 1)


async def test_reader_of_much_room_is_fed_in_pages() -> None:
    """However much room there is, what one reader holds of the log is bounded: it may stop reading any moment."""
    log, client = Log(), Client(AMPLE)
    log.add(*(output("x" * 1000) for _ in range(100)))
    asked: list[int] = []

    async def read(task_id: str, after_seq: int, max_bytes: int) -> Page:
        asked.append(max_bytes)
        return await log.read(task_id, after_seq, max_bytes)

    feeder = Feeder(client, read, on_failure=lambda _: None)
    feeder.add(Subscription(log.task_id, 0, client, on_behind=feeder.add, on_end=lambda _: None))
    await let_pass(1)
    assert client.got == list(range(1, 101))
    assert max(asked) == PAGE_BYTES
    assert client.batches == len(asked) == 2


async def test_log_that_was_trimmed_under_its_reader_is_no_gap() -> None:
    """What can't be read any more is not skipped: the connection hears of it, and its client comes again."""
    log, client = Log(), Client(AMPLE)
    log.add(*(output("x") for _ in range(5)))
    del log.events[:3]
    watched = Watched(log, client, after_seq=1)
    watched.begin()
    await let_pass(1)
    assert client.got == []
    assert [type(failure) for failure in watched.failures] == [LogTrimmedError]


async def test_task_that_is_gone_before_its_reader_has_its_end_is_told() -> None:
    """Who has not been sent the last event is not left to wait for it: the client comes again, and finds no task."""
    log, client = Log(), Client(AMPLE)
    log.add(output("x"))
    watched = Watched(log, client, after_seq=1)
    log.gone = True
    watched.begin()
    await let_pass(1)
    assert watched.ends == 0
    assert [type(failure) for failure in watched.failures] == [LogTrimmedError]


async def test_idle_subscription_costs_nothing() -> None:
    """Once live there is no task and no read for it, however long nothing happens."""
    log, client = Log(), Client(AMPLE)
    log.add(output("x"))
    watched = Watched(log, client)
    watched.begin()
    await let_pass(3600)
    assert log.reads == 1
    assert watched.feeder._feeding is None


async def test_batch_that_does_not_fit_is_read_from_the_log_later() -> None:
    """A slow client loses its queue and not its place."""
    log, client = Log(), Client(2000)
    watched = Watched(log, client)
    watched.begin()
    await let_pass(1)
    for _ in range(40):
        watched.subscription.offer(log.add(output("x" * 100)))
    assert 0 < len(client.got) < 20
    for _ in range(20):
        client.read()
        await let_pass(1)
    assert client.got == list(range(1, 41))
    assert watched.subscription.live


async def test_event_larger_than_the_room_passes_alone() -> None:
    """One frame may be larger than the bound, or nobody would ever see it."""
    log, client = Log(), Client(1000)
    log.add(output("x" * 5000))
    log.add(output("y" * 5000))
    watched = Watched(log, client)
    watched.begin()
    await let_pass(1)
    assert client.got == [1]
    client.read()
    await let_pass(1)
    assert client.got == [1, 2]


async def test_event_committed_while_a_page_was_on_its_way_is_not_missed() -> None:
    """An offer that comes before the (then empty) page of an earlier moment is remembered: the last one, too."""
    log, client = Log(), Client(AMPLE)
    watched = Watched(log, client)

    async def meanwhile() -> None:
        log.after_read = None
        watched.subscription.offer(log.finish())

    log.after_read = meanwhile
    watched.begin()
    await let_pass(1)
    assert client.got == [1]
    assert watched.ends == 1


async def test_ended_log_is_replayed_and_ended() -> None:
    """From anywhere in it, also from its end."""
    log = Log()
    log.add(*(output("x") for _ in range(3)))
    log.finish()
    for after_seq in range(5):
        client = Client(AMPLE)
        watched = Watched(log, client, after_seq)
        watched.begin()
        await let_pass(1)
        assert client.got == list(range(after_seq + 1, 5))
        assert watched.ends == 1
        assert watched.subscription.closed


async def test_closed_subscription_gets_nothing_more() -> None:
    """Nothing is handed on after `close`, whether it was live, behind or being read for."""
    log, client = Log(), Client(AMPLE)
    log.add(output("x"))
    watched = Watched(log, client)

    async def meanwhile() -> None:
        watched.subscription.close()

    log.after_read = meanwhile
    watched.begin()
    await let_pass(1)
    watched.subscription.offer(log.add(output("y")))
    await let_pass(1)
    assert client.got == []
    assert watched.ends == 0


async def test_subscriptions_of_a_connection_are_fed_in_turn() -> None:
    """A long log does not keep a short one from its reader."""
    logs = [Log("t1"), Log("t2")]
    for _ in range(200):
        logs[0].add(output("x" * 100))
    logs[1].add(output("x"))
    client, order, failures = Client(3000), list[str](), list[Exception]()

    async def read(task_id: str, after_seq: int, max_bytes: int) -> Any:
        order.append(task_id)
        return await next(log for log in logs if log.task_id == task_id).read(task_id, after_seq, max_bytes)

    feeder = Feeder(client, read, on_failure=failures.append)
    subscriptions = [
        Subscription(log.task_id, 0, client, on_behind=feeder.add, on_end=lambda _ended: None) for log in logs
    ]
    for subscription in subscriptions:
        feeder.add(subscription)
    for _ in range(40):
        await let_pass(1)
        client.read()
    assert order[:2] == ["t1", "t2"]
    assert [subscription.cursor for subscription in subscriptions] == [200, 1]
    assert failures == []


async def test_store_that_can_not_be_read_is_told() -> None:
    """A connection must not live on unfed: its owner hears of it, once."""
    log, client = Log(), Client(AMPLE)
    log.failure = StoreUnavailableError("gone")
    watched = Watched(log, client)
    watched.begin()
    await let_pass(1)
    assert watched.failures == [log.failure]
    assert client.got == []


async def test_aclose_ends_the_feeding() -> None:
    """Also of a client that never reads again."""
    log, client = Log(), Client(1000)
    log.add(*(output("x" * 600) for _ in range(10)))
    watched = Watched(log, client)
    watched.begin()
    await let_pass(1)
    async with asyncio.timeout(5):
        await watched.feeder.aclose()
        await watched.feeder.aclose()
    got = list(client.got)
    client.read()
    await let_pass(1)
    assert client.got == got
    assert watched.failures == []
