"""Group commit: writes that arrive while one transaction is being synced share the next.

Theory. A transaction costs ten times what an event more in it does. So what may wait, which is what nobody waits for,
begins one when enough are in line to pay for it; not before a pause as long as the last one took, and after `MANY` the
whole of `REST_S`, so that where much is said the transactions are fewer and larger. Enough are `ENOUGH`, and one more
for each ms past the pause: the fewer are said in a second, the longer they wait for each other. At the end of `REST_S`
a `FEW` begin one: they gain little by waiting; at the end of twice that all do.
Whoever is in a hurry takes along what is in line, at once. Nothing waits when there is nothing to wait for: where the
last transaction is longer ago, the first write starts at once.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Generic, Protocol, TypeVar

from gateway.errors import StoreUnavailableError
from gateway.events import ENOUGH
from gateway.tasks import Commit

Write = TypeVar("Write")
Write_co = TypeVar("Write_co", covariant=True)

MAX_BATCH = 512
"""Writes in one transaction: more would make the first of them wait for the last."""

MANY: Final = 64
"""So many writes in one transaction are followed by the whole rest: more share the next. Those of 5,000 a second are
fewer in a rest: they are to be elsewhere within 3 ms, and one slow transaction would make all that follow rest."""

REST_S: Final = 10e-3
"""From the beginning of one transaction to that of the next, where all that is in this may wait and those are few; at
most twice that where they are not."""

_MORE_A_REST: Final = 10
"""So many more are enough where a rest is over than at its beginning."""

FEW: Final = 5
"""So many writes in line at the end of a rest are worth to wait for more."""


_TICK_S: Final = 0.5e-3
"""Times of uvloop are whole ms: what is nearer is due."""


class Asker(Protocol[Write_co]):
    """Whoever has something to write."""

    def take(self) -> Write_co | None:
        """It, now that its transaction begins; None where there is nothing any more. Must not raise."""

    def told(self, result: Any) -> None:
        """What came of it: its value, or the exception that undid it. Must not raise."""


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[Write]):
    """One who waits for its answer."""

    write: Write
    done: "asyncio.Future[Any]"

    def take(self) -> Write | None:
        return self.write

    def told(self, result: Any) -> None:
        settle(self.done, result)


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction came to: per write its value or the exception that undid it, and what to publish."""

    results: Sequence[Any]
    commit: Commit


Told = Callable[[Batch | BaseException], None]
Run = Callable[[Sequence[Write]], Awaitable[Batch]]
RunBatch = Callable[[Sequence[Write], Told], None]


def joined(commits: Sequence[Commit]) -> Commit:
    """What all of them have to tell, as one."""
    if len(commits) == 1:
        return commits[0]
    return Commit(
        tuple(batch for commit in commits for batch in commit.events),
        tuple(changed for commit in commits for changed in commit.changed),
    )


def in_task(run: Run[Write]) -> RunBatch[Write]:
    """A `RunBatch` of a coroutine function."""
    running = set[asyncio.Task[None]]()

    async def run_and_tell(writes: Sequence[Write], told: Told) -> None:
        try:
            done = await run(writes)
        except Exception as error:  # noqa: BLE001 - whatever it was, every asker of this batch must hear of it
            told(error)  # and no variable keeps it: it has this frame
        else:
            told(done)

    def run_batch(writes: Sequence[Write], told: Told) -> None:
        task = asyncio.get_running_loop().create_task(run_and_tell(writes, told), name="store writer")
        running.add(task)
        task.add_done_callback(running.discard)

    return run_batch


class GroupCommit(Generic[Write]):
    """Runs writes in order, many to a transaction, one transaction at a time. No task waits for any of it.

    `run_batch` tells, in a later turn of the loop, what the transaction came to, or why it failed as a whole:
    `StoreUnavailableError`, where it is no bug.
    """

    def __init__(
        self,
        run_batch: RunBatch[Write],
        publish: Callable[[Commit], None],
        *,
        rest_s: float = REST_S,
    ) -> None:
        self._run_batch = run_batch
        self._publish = publish
        self._rest_s = rest_s
        self._queue: list[Asker[Write]] = []
        # By the loop's clock: when the last transaction began, if there is a rest after it, and the end of its pause.
        self._began = self._pause_ends = -math.inf
        # Whether somebody in the queue waits, or who comes next; whether a transaction is about to begin, or under way.
        self._is_hurried = self._is_busy = False
        # With fewer in line none begins before the alarm rings.
        self._enough: float = ENOUGH
        # Looks again when the next transaction may be due.
        self._alarm: asyncio.TimerHandle | None = None
        self._rings_at = -math.inf
        self._settled = asyncio.Event()

    async def write(self, write: Write, *, may_wait: bool = False) -> Any:
        """What comes of `write`, once it is on disk. Raises what undid it, or `StoreUnavailableError`."""
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.put(_Waiting(write, done))
        if not may_wait:
            self.hurry()
        try:
            return await done
        finally:
            del done  # it has the error, which has this frame

    def put(self, asker: Asker[Write]) -> None:
        """Write what `asker` has when its turn comes, and tell it what came of that; it may wait for others."""
        self._queue.append(asker)
        if len(self._queue) >= MAX_BATCH:
            self.hurry()
        elif self._alarm is None or len(self._queue) >= self._enough:
            self._look()

    def hurry(self) -> None:
        """Somebody waits for what is in the queue, or comes next."""
        self._is_hurried = True
        self._look()

    async def drain(self) -> None:
        """Return when everything asked so far is settled."""
        while self._queue or self._is_busy:
            self.hurry()
            self._settled.clear()
            await self._settled.wait()

    def _look(self) -> None:
        """Begin a transaction if it is due, or look again when it may be."""
        if self._is_busy or not self._queue:
            return
        loop = asyncio.get_running_loop()
        now = loop.time()
        due = self._due(now)
        if due <= now + _TICK_S:
            self._is_busy = True
            self._wake_at(None)
            loop.call_soon(self._begin)  # what this turn says is in it
        elif self._alarm is None or due < self._rings_at:
            self._wake_at(due)

    def _due(self, now: float) -> float:
        """When the next transaction is to begin, by what is in line."""
        if self._is_hurried:
            return -math.inf
        waited = max(now - self._pause_ends, 0.0)
        self._enough = ENOUGH + waited * _MORE_A_REST / self._rest_s
        if len(self._queue) >= self._enough:
            return self._pause_ends
        return self._began + self._rest_s * (2 if len(self._queue) >= FEW else 1)

    def _ring(self) -> None:
        self._alarm = None
        self._look()

    def _wake_at(self, at: float | None) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = None
        if at is not None:
            self._rings_at, self._alarm = at, asyncio.get_running_loop().call_at(at, self._ring)

    def _begin(self) -> None:
        # After a hurried one there is no rest: who is left behind is in a hurry, too, and what comes of it is news.
        now = asyncio.get_running_loop().time()
        self._began, self._is_hurried = -math.inf if self._is_hurried else now, False
        self._enough = ENOUGH
        askers, self._queue = self._queue[:MAX_BATCH], self._queue[MAX_BATCH:]
        taken = [(asker, write) for asker in askers if (write := asker.take()) is not None]
        if not taken:
            self._go_on()
            return
        told = partial(self._done, [asker for asker, _ in taken], now)
        try:
            self._run_batch([write for _, write in taken], told)
        except Exception as error:  # noqa: BLE001 - as where it fails later
            told(error)

    def _done(self, askers: Sequence[Asker[Write]], began: float, batch: Batch | BaseException) -> None:
        if isinstance(batch, Batch):
            tell(self._publish, batch.commit)
            results = batch.results
        else:
            results = [batch] * len(askers)
            if not isinstance(batch, StoreUnavailableError):
                context = {"message": "the store's writer failed", "exception": batch}
                asyncio.get_running_loop().call_exception_handler(context)
        for asker, result in zip(askers, results, strict=True):
            asker.told(result)
        pause_ends = math.inf if len(askers) >= MANY else 2 * asyncio.get_running_loop().time() - began
        self._pause_ends = min(pause_ends, self._began + self._rest_s)
        self._go_on()

    def _go_on(self) -> None:
        self._is_busy = False
        self._settled.set()
        self._look()


def tell(publish: Callable[[Commit], None], commit: Commit) -> None:
    """Publish what is on disk; its askers hear of that all the same where that fails."""
    try:
        publish(commit)
    except Exception as error:  # noqa: BLE001 - a bug of whoever hears of it is not theirs who asked
        context = {"message": "publishing a commit failed", "exception": error}
        asyncio.get_running_loop().call_exception_handler(context)


def settle(done: "asyncio.Future[Any]", result: Any) -> None:
    """Answer who waits; who has gone away has taken its future with it, and undoes nothing."""
    if done.cancelled():
        return
    if isinstance(result, BaseException):
        done.set_exception(result)
        done.exception()  # an asker that went away is no reason to warn of an unread exception
    else:
        done.set_result(result)
