"""Steering a run: reconciles its agent with its task's row (`desire`, input, terminal), and writes the result.

A listener reads the row whenever the run is woken, and passes a wish to cancel on at once, whatever else is under
way. All other wishes are carried out one after another, always the newest: a wish that was taken back in the meantime
is never carried out.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import orjson
from structlog.typing import FilteringBoundLogger

from gateway.agents.runner import AgentHandle, NotYetError, Sent, UnableError
from gateway.clock import Clock
from gateway.events import Draft
from gateway.frames import input_bytes
from gateway.state.base import StateStore
from gateway.state.retry import durably
from gateway.task_changes import (
    Change,
    given_up,
    paused,
    resumed,
)
from gateway.tasks import (
    Desire,
    TaskRecord,
    TaskStatus,
    Wished,
)
from gateway.work.journal import Journal

TRY_AGAIN_S: Final = 5.0
"""When a pause that did not come true is tried again, as long as it is wanted."""
READ_BYTES: Final = 256 << 10
"""Input that is read at once."""
NOTE_BYTES: Final = 64 << 10
"""Input that is taken before the row says so: below that a row would be written for every key that is pressed."""


class Steering:
    """Steers one run. `on_change` is called when its task was paused or goes on."""

    def __init__(
        self,
        task: TaskRecord,
        journal: Journal,
        *,
        store: StateStore,
        clock: Clock,
        hold_s: float,
        on_change: Callable[[], None],
        log: FilteringBoundLogger,
    ) -> None:
        self.cancel_wanted = asyncio.Event()
        self.paused = task.status is TaskStatus.PAUSED
        """Whether the log says so."""
        self._row = task
        self._journal = journal
        self._store = store
        self._clock = clock
        self._hold_s = hold_s
        self._on_change = on_change
        self._log = log
        self._handle: AgentHandle | None = None
        self._wished_at: float | None = None
        self._rung = asyncio.Event()
        self._rung.set()
        self._news = asyncio.Event()
        # When to look again although there are no news: the end of the hold, or the next try.
        self._due: float | None = None
        self._still = self.paused
        self._told: set[str] = set()
        # Numbers and sizes of the inputs that were given and not taken; how many were given, how much was taken.
        self._untaken: deque[tuple[int, int]] = deque()
        self._given = 0
        self._taken_bytes = 0
        self._noted_bytes = task.input_given_bytes
        self._size: dict[str, Any] | None = None

    def ring(self) -> None:
        """Somebody changed what is wanted of the task: look at its row."""
        self._rung.set()

    def see(self, wished: Wished) -> None:
        """See `Run.see`."""
        if wished != _wanted(self._row):
            self.ring()

    def steered_by(self, handle: AgentHandle) -> None:
        """See `RunContext.steered_by`."""
        self._handle = handle
        self._rung.set()

    def obeyed(self, wish: str) -> None:
        """What was wished last is true, durably."""
        if self._wished_at is not None and self._journal.watch is not None:
            self._journal.watch.obeyed(wish, asyncio.get_running_loop().time() - self._wished_at)
        self._wished_at = None

    async def run(self) -> None:
        """Steer, until the place of a task that was paused for too long is given up. Raises `LeaseLostError`."""
        if self.paused:
            self._due = asyncio.get_running_loop().time() + self._hold_s
        listening = asyncio.get_running_loop().create_task(self._listen(), name="wishes")
        try:
            while not await self._hold_over():
                await self._obey()
                await self._next()
        finally:
            listening.cancel()

    async def _listen(self) -> None:
        while True:
            await self._rung.wait()
            self._rung.clear()
            row = await durably(lambda: self._store.get_task(self._row.task_id), log=self._log)
            if row is None:
                continue
            if row.desire is not self._row.desire:
                self._wished_at = asyncio.get_running_loop().time()
            self._row = row
            self._news.set()
            if row.desire is Desire.CANCEL:
                self.cancel_wanted.set()
                if self._handle is not None:
                    await self._handle.cancel()

    async def _next(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._due):
                await self._news.wait()
        self._news.clear()

    async def _obey(self) -> None:
        handle, row = self._handle, self._row
        if handle is None or row.desire is Desire.CANCEL:
            return
        try:
            if row.desire is Desire.PAUSE:
                await self._pause(handle)
            else:
                await self._resume(handle)
        except NotYetError:
            pass
        except UnableError as error:
            self._due = asyncio.get_running_loop().time() + TRY_AGAIN_S
            await self._tell_once(f"{error}; the task stays {self._row.status} for now")
        await self._give_what_was_sent(handle)

    # --- pause and resume -------------------------------------------------------------------------------

    async def _pause(self, handle: AgentHandle) -> None:
        if self.paused:
            return
        self._still = True
        began = asyncio.get_running_loop().time()
        if await handle.pause():
            if self._journal.watch is not None:
                self._journal.watch.stood_still(asyncio.get_running_loop().time() - began)
            await self._write(Desire.PAUSE, TaskStatus.RUNNING, paused)
            self._due = asyncio.get_running_loop().time() + self._hold_s

    async def _resume(self, handle: AgentHandle) -> None:
        self._due = None
        if self._still:
            self._told.clear()
        if self.paused:
            await self._write(Desire.RUN, TaskStatus.PAUSED, resumed)
        if self._still and not self.paused:
            await handle.resume()
            self._still = False

    async def _hold_over(self) -> bool:
        """Give the place up where it was kept for long enough; whether it is."""
        if not self.paused or self._due is None or asyncio.get_running_loop().time() < self._due:
            return False
        note = (
            f"Paused for {self._hold_s:.0f} s: its sandbox is given up; when it goes on, it is a new attempt."
        )

        def decide(row: TaskRecord) -> Change:
            if row.desire is not Desire.PAUSE:
                return Change()
            return given_up(row, note, now_ms=self._clock.now_ms())

        self._due = None
        self._row = await self._journal.decide(decide)
        self._rung.set()
        return self._row.owner is None

    async def _write(self, desire: Desire, before: TaskStatus, move: Callable[..., Change]) -> None:
        """Write what is true now, unless it is not wanted any more."""

        def decide(row: TaskRecord) -> Change:
            wanted = (row.desire, row.status) == (desire, before)
            return move(row, now_ms=self._clock.now_ms()) if wanted else Change()

        self._row = await self._journal.decide(decide)
        self.paused = self._row.status is TaskStatus.PAUSED
        self.obeyed("pause" if self.paused else "resume")
        # Its newest row may have been read before this one was given back.
        self._rung.set()
        self._on_change()

    # --- what it is sent --------------------------------------------------------------------------------

    async def _give_what_was_sent(self, handle: AgentHandle) -> None:
        try:
            await self._give_input(handle)
            self._note_taken(handle)
            if self._row.tty != self._size and self._row.tty is not None:
                self._size = self._row.tty
                handle.resize(**self._row.tty)
        except UnableError as error:
            await self._tell_once(str(error))

    async def _give_input(self, handle: AgentHandle) -> None:
        while handle.wants_input and handle.input_seq < self._row.inputs:
            after = handle.input_seq
            found = await durably(
                lambda: self._store.read_input(self._row.task_id, after, max_bytes=READ_BYTES),  # noqa: B023
                log=self._log,
            )
            for item in found:
                # While it was read, a socket may have lost what came before it.
                if item.n != handle.input_seq + 1 or not handle.wants_input:
                    break
                sent = Sent(orjson.loads(item.data), item.eof, item.key)
                handle.send_input(sent)
                if item.n > self._given:
                    self._given = item.n
                    self._untaken.append((item.n, input_bytes(sent.data)))
            if handle.input_seq == after:
                return  # it is over, or lacks earlier ones again, and will say so

    def _note_taken(self, handle: AgentHandle) -> None:
        taken = handle.input_taken
        while self._untaken and self._untaken[0][0] <= taken:
            self._taken_bytes += self._untaken.popleft()[1]
        if taken == self._row.inputs:
            # Whatever an owner that died had given of it.
            self._taken_bytes = self._row.input_bytes
        if self._taken_bytes - self._noted_bytes >= NOTE_BYTES:
            self._noted_bytes = self._taken_bytes
            self._journal.note(input_given_bytes=self._taken_bytes)

    async def _tell_once(self, message: str) -> None:
        if message not in self._told:
            self._told.add(message)
            await self._journal.emit(Draft("log", {"level": "warning", "message": message}))


def _wanted(row: TaskRecord) -> Wished:
    return row.desire, row.inputs, row.tty
