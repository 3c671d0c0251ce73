"""Group read: reads that are asked for while the threads are busy share the next trip to one.

The trip costs more than most reads do: with ten thousand clients that come back at once, and ask for a row each,
those asked last would wait for ten thousand of them. Nothing waits when there is nothing to wait for.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any, Final, TypeVar

Value = TypeVar("Value")
Read = Callable[[], Any]
Asked = tuple[Read, "asyncio.Future[Any]"]

TRIPS: Final = 2
"""Trips under way at once: SQLite's reads go beside each other, as far as the interpreter lets them."""
MAX_BATCH: Final = 32
"""Reads of one trip: more would make the first of them wait for the last."""


class GroupRead:
    """Runs reads on an executor's threads, in the order of asking, many to a trip."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._queue: deque[Asked] = deque()
        self._trips: set[asyncio.Future[Sequence[Any]]] = set()

    async def read(self, read: Callable[[], Value]) -> Value:
        """What `read` gives; raises what it raises."""
        found: asyncio.Future[Value] = asyncio.get_running_loop().create_future()
        self._queue.append((read, found))
        if len(self._trips) < TRIPS:
            self._depart()
        return await found

    async def drain(self) -> None:
        """Return when everything asked so far is settled, and no thread reads any more."""
        while self._trips:
            await asyncio.wait(self._trips)

    def _depart(self) -> None:
        batch = [self._queue.popleft() for _ in range(min(MAX_BATCH, len(self._queue)))]
        reads = [read for read, found in batch if not found.done()]
        askers = [found for _, found in batch if not found.done()]
        trip = asyncio.get_running_loop().run_in_executor(self._executor, _read_all, reads)
        self._trips.add(trip)
        trip.add_done_callback(lambda trip: self._back(trip, askers))

    def _back(self, trip: "asyncio.Future[Sequence[Any]]", askers: "Sequence[asyncio.Future[Any]]") -> None:
        self._trips.discard(trip)
        error = trip.exception()
        results = trip.result() if error is None else [_Failure(error)] * len(askers)
        for found, result in zip(askers, results, strict=True):
            _settle(found, result)
        if self._queue:
            self._depart()


def _settle(found: "asyncio.Future[Any]", result: Any) -> None:
    if found.done():
        return  # its asker has gone
    if isinstance(result, _Failure):
        found.set_exception(result.error)
    else:
        found.set_result(result)


class _Failure:
    """What a read raised, or the trip as a whole, on its way back."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


def _read_all(reads: Sequence[Read]) -> Sequence[Any]:
    return [_result(read) for read in reads]


def _result(read: Read) -> Any:
    try:
        return read()
    except Exception as error:  # noqa: BLE001 - it is its asker's, whatever it is
        return _Failure(error)
