"""Group commit: writes that arrive while one transaction is being synced share the next.

Nothing waits when there is nothing to wait for: the first write starts at once, and under load the batch is
whatever gathered during the last sync. A transaction costs as much as some ten small writes, so after one of those who
can wait there may be a rest, in which more of them gather; whoever can't wait ends it, and takes them along.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from gateway.errors import StoreUnavailableError
from gateway.tasks import Commit

Write = TypeVar("Write")
Write_co = TypeVar("Write_co", covariant=True)

MAX_BATCH = 512
"""Writes in one transaction: more would make the first of them wait for the last."""

ENOUGH = 64
"""Writes in one transaction that are worth it: after so many there is no rest."""


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
    """Runs writes in order, many to a transaction, one transaction at a time, `rest_s` between them at most.

    `run_batch` raises `StoreUnavailableError` where the transaction as a whole failed.
    """

    def __init__(
        self,
        run_batch: Callable[[Sequence[Write]], Awaitable[Batch]],
        publish: Callable[[Commit], None],
        *,
        rest_s: float = 0.0,
    ) -> None:
        self._run_batch = run_batch
        self._publish = publish
        self._rest_s = rest_s
        self._queue: list[Asker[Write]] = []
        # Whether somebody in it can't wait; when the rest is over by the loop's clock, and what ends it then.
        self._is_urgent = False
        self._rested_at = 0.0
        self._rest: asyncio.TimerHandle | None = None
        # Lives while there is something to write; ends by itself.
        self._writing: asyncio.Task[None] | None = None

    async def write(self, write: Write) -> Any:
        """What comes of `write`, once it is on disk. Raises what undid it, or `StoreUnavailableError`."""
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(write, done))
        self._is_urgent = True
        self._begin()
        try:
            return await done
        finally:
            del done  # it has the error, which has this frame

    def put(self, asker: Asker[Write]) -> None:
        """Write what `asker`, who can wait, has when its turn comes, and tell it what came of that."""
        self._queue.append(asker)
        if self._writing is None and self._rest is None:
            self._begin_soon()

    async def drain(self) -> None:
        """Return when everything asked so far is settled."""
        while self._queue or self._writing is not None:
            self._is_urgent = True
            self._begin()
            if self._writing is not None:
                await self._writing

    def _begin_soon(self) -> None:
        if self._is_due():
            self._begin()
        else:
            self._rest = asyncio.get_running_loop().call_at(self._rested_at, self._begin)

    def _begin(self) -> None:
        self._rested_at = 0.0  # and not by what time it is: a timer may be early by a little
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write_all(), name="store writer")

    def _is_due(self) -> bool:
        rested = asyncio.get_running_loop().time() >= self._rested_at
        return bool(self._queue) and (self._is_urgent or rested)

    async def _write_all(self) -> None:
        try:
            while self._is_due():
                askers, self._queue = self._queue[:MAX_BATCH], self._queue[MAX_BATCH:]
                rest_s = 0.0 if self._is_urgent or len(askers) >= ENOUGH else self._rest_s
                self._is_urgent = self._is_urgent and bool(self._queue)
                await self._write_batch([(one, what) for one in askers if (what := one.take()) is not None])
                self._rested_at = asyncio.get_running_loop().time() + rest_s
        finally:
            self._writing = None
            if self._queue:
                self._begin_soon()

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
