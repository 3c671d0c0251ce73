"""Group commit: writes that arrive while one transaction is being synced share the next.

Theory. A transaction costs ten times what an event more in it does. So what may wait, which is what nobody waits for,
begins one when `ENOUGH` are in line to pay for it, and `REST_S` after the last such one began at the latest; not before
a pause as long as that one took, and after `MANY` the whole of that time, so that where much is said the transactions
are fewer and larger.
Whoever is in a hurry takes along what is in line, at once. Nothing waits when there is nothing to wait for: where the
last transaction is longer ago, the first write starts at once.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
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
"""From the beginning of one transaction to that of the next, at most, where all that is in this may wait."""


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


def joined(commits: Sequence[Commit]) -> Commit:
    """What all of them have to tell, as one."""
    return Commit(
        tuple(batch for commit in commits for batch in commit.events),
        tuple(changed for commit in commits for changed in commit.changed),
    )


class GroupCommit(Generic[Write]):
    """Runs writes in order, many to a transaction, one transaction at a time.

    `run_batch` raises `StoreUnavailableError` where the transaction as a whole failed.
    """

    def __init__(
        self,
        run_batch: Callable[[Sequence[Write]], Awaitable[Batch]],
        publish: Callable[[Commit], None],
        *,
        rest_s: float = REST_S,
    ) -> None:
        self._run_batch = run_batch
        self._publish = publish
        self._rest_s = rest_s
        self._queue: list[Asker[Write]] = []
        # By the loop's clock, the pause within the rest; whether somebody in the queue waits, or who comes next; what
        # ends a rest, or a pause, before its time.
        self._rest_ends = self._pause_ends = -math.inf
        self._is_hurried = False
        self._woken = asyncio.Event()
        # Lives while there is something to write; ends by itself.
        self._writing: asyncio.Task[None] | None = None

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
        elif len(self._queue) == ENOUGH:
            self._woken.set()
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write_all(), name="store writer")

    def hurry(self) -> None:
        """Somebody waits for what is in the queue, or comes next."""
        self._is_hurried = True
        self._woken.set()

    async def drain(self) -> None:
        """Return when everything asked so far is settled."""
        if self._writing is not None:
            self.hurry()
            await self._writing

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    async def _write_all(self) -> None:
        try:
            while self._queue:
                await self._rest()
                askers, self._queue = self._queue[:MAX_BATCH], self._queue[MAX_BATCH:]
                taken = [(asker, write) for asker in askers if (write := asker.take()) is not None]
                began = self._now()
                await self._write_batch(taken)
                pause_ends = math.inf if len(taken) >= MANY else 2 * self._now() - began
                self._pause_ends = min(pause_ends, self._rest_ends)
        finally:
            self._writing = None

    async def _rest(self) -> None:
        if len(self._queue) < ENOUGH:
            await self._wait_until(self._rest_ends)
        # Here either `ENOUGH` are in line already, or the rest is over, and the pause within it with it.
        await self._wait_until(self._pause_ends)
        # After a hurried one there is no rest: who is left behind is in a hurry, too, and what comes of it is news.
        self._rest_ends = self._now() + (0 if self._is_hurried else self._rest_s)
        self._is_hurried = False

    async def _wait_until(self, end: float) -> None:
        """Return then, or as soon as somebody is in a hurry, or just `ENOUGH` are in line."""
        if self._is_hurried or self._now() >= end:
            return
        self._woken.clear()
        alarm = asyncio.get_running_loop().call_at(end, self._woken.set)
        await self._woken.wait()
        alarm.cancel()

    async def _write_batch(self, batch: Sequence[tuple[Asker[Write], Write]]) -> None:
        if not batch:
            return
        try:
            done = await self._run_batch([write for _, write in batch])
        except Exception as error:  # noqa: BLE001 - whatever it was, every asker of this batch must hear of it
            results: Sequence[Any] = [error] * len(batch)
            if not isinstance(error, StoreUnavailableError):
                context = {"message": "the store's writer failed", "exception": error}
                asyncio.get_running_loop().call_exception_handler(context)
        else:
            tell(self._publish, done.commit)
            results = done.results
        for (asker, _), result in zip(batch, results, strict=True):
            asker.told(result)


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
