"""The flight recorder: notes are taken without waiting, kept in the store soon, and found at any instance.

What a crash can take is what was noted in the last moment before it. While the store is away notes are held here, as
many as `MAX_HELD`; what does not find room is counted. Whoever could make notes without end (a client that comes and
goes, or resumes again and again) meets the bound of each connection's, then this one, then the store's own.
"""

import asyncio
import contextlib
from collections import deque
from itertools import islice
from typing import Any, Final

from gateway.clock import Clock
from gateway.errors import StoreUnavailableError
from gateway.metrics import Metrics
from gateway.notes import OF_INSTANCES, Note
from gateway.state.notes import Notes

GATHER_S: Final = 0.1
"""How long a note waits for others: one write for all who come or go at once."""
MAX_GATHER_S: Final = 1.0
SHARE: Final = 10
"""So many times as long as the last write took they wait, at most `MAX_GATHER_S`: a crowd's notes are a small part of
what the store does, and the more of them one write has, the fewer pages it touches twice."""
TRY_AGAIN_S: Final = 1.0
MAX_HELD: Final = 10_000
"""Notes that wait for the store: some 5 MiB."""
ENOUGH: Final = 2_500
"""So many wait no longer: a crowd's are to find room."""
A_WRITE: Final = 500
MAX_FOUND: Final = 500
"""Notes of one answer, the newest."""


class Recorder:
    """The flight recorder of one instance."""

    def __init__(self, notes: Notes, clock: Clock, metrics: Metrics, *, instance: str) -> None:
        self._notes = notes
        self._clock = clock
        self._metrics = metrics
        self._instance = instance
        self._held: deque[Note] = deque()
        self._made = 0
        self._rung = asyncio.Event()
        self._enough = asyncio.Event()
        self._writing = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<Recorder {len(self._held)} notes held>"

    def note(self, what: str, *, about: str = OF_INSTANCES, subject: str = "", **data: Any) -> None:
        """Note that it befell `about`, a session or a task. Never waits, and never raises."""
        if len(self._held) >= MAX_HELD:
            self._metrics.notes.labels("dropped").inc()
            return
        at = self._clock.now_ms()
        self._made += 1
        # Ordered by time, and by nothing random: the same history makes the same notes.
        note_id = f"{at:014d}-{self._instance}-{self._made:08d}"
        said = {name: value for name, value in data.items() if value is not None}
        self._held.append(Note(note_id, at, self._instance, about, subject, what, said))
        self._rung.set()
        if len(self._held) >= ENOUGH:
            self._enough.set()

    async def run(self) -> None:
        """Keep what is noted, until cancelled."""
        loop, took_s = asyncio.get_running_loop(), 0.0
        while True:
            await self._rung.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(max(GATHER_S, SHARE * took_s), MAX_GATHER_S)):
                    await self._enough.wait()
            began = loop.time()
            try:
                await self.keep()
                took_s = loop.time() - began
            except StoreUnavailableError:
                await asyncio.sleep(TRY_AGAIN_S)

    async def keep(self) -> None:
        """Have all that was noted so far in the store. Raises `StoreUnavailableError`."""
        async with self._writing:
            left = len(
                self._held
            )  # a crowd's next ones wait for each other again, or each write would have but a few
            while left > 0:
                left -= await self._keep_some()
            self._enough.clear()
            if not self._held:
                self._rung.clear()

    async def _keep_some(self) -> int:
        some = list(islice(self._held, A_WRITE))
        await self._notes.add(some)
        for _ in some:
            self._held.popleft()
        self._metrics.notes.labels("kept").inc(len(some))
        return len(some)

    async def settle(self) -> None:
        """As `keep`, for a process that ends: what a store that is away does not take is lost."""
        with contextlib.suppress(StoreUnavailableError):
            await self.keep()

    async def about(self, about: str) -> list[Note]:
        """What is known of a session or a task, oldest first; without the store what this instance still holds.

        What is told is kept first: a crash does not take it back.
        """
        with contextlib.suppress(StoreUnavailableError):
            await self.keep()
            return await self._notes.about(about, limit=MAX_FOUND)
        return [note for note in self._held if note.about == about]

    async def of_instances(self, since_ms: int, until_ms: int) -> list[Note]:
        """What befell the instances from then to then, as `about`."""
        with contextlib.suppress(StoreUnavailableError):
            await self.keep()
            return await self._notes.of_instances(since_ms, until_ms, limit=MAX_FOUND)
        return [note for note in self._held if note.about == OF_INSTANCES and since_ms <= note.at <= until_ms]
