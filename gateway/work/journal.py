"""From a run to its task's log: buffers the run's events and makes them durable in order, one write at a time.

Decisions about the row wait in the same line, so that a status comes after what was said before it.

Nothing waits when nothing is on its way. What is said until the store's next transaction begins is taken along by it,
and what comes while that is being synced is the next one's. Output that gathers so is joined before it gets a number.
An event costs no asyncio task and no future: the store asks for it, and tells what came of it.
"""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from structlog.typing import FilteringBoundLogger

from gateway.errors import GatewayError, StoreUnavailableError
from gateway.events import (
    ENOUGH,
    JOINED_BYTES,
    MAX_DATA_BYTES,
    PATIENT,
    Draft,
    gather,
    output_bytes,
)
from gateway.state.base import StateStore
from gateway.state.retry import durably, pause_s
from gateway.state.values import Append, Decide
from gateway.tasks import Fence, TaskRecord
from gateway.work.run_metrics import RunMetrics

MAX_PENDING_BYTES: Final = 1 << 20
"""What may be on its way to disk before whoever speaks has to wait."""


@dataclass(slots=True, eq=False)
class _Said:
    """Events that go into one write, the column values that go with them, and when the first was said.

    Of their size, in bytes, so much is output.
    """

    at: float
    drafts: list[Draft] = dataclasses.field(default_factory=list)
    fields: dict[str, Any] = dataclasses.field(default_factory=dict)
    size: int = 0
    output: int = 0


@dataclass(slots=True, eq=False)
class _Step:
    """Another write that waits for its turn."""

    write: Callable[[Fence], Awaitable[Fence | None]]
    is_done: bool = False


@dataclass(slots=True, eq=False)
class _Decision:
    """One that waits for its turn, then what came of it: the row after it, or why it was refused."""

    decide: Decide
    outcome: TaskRecord | GatewayError | None = None


class Journal:
    """The one writer of a task's log while `fence` holds; the store's `Appender`."""

    def __init__(self, store: StateStore, fence: Fence, *, log: FilteringBoundLogger) -> None:
        self.fence = fence
        self.on_output_durable: Callable[[int], None] = lambda _bytes: None
        self.watch: RunMetrics | None = None
        self._store = store
        self._log = log
        self._now = asyncio.get_running_loop().time
        self._pending: list[_Said | _Step | _Decision] = []
        self._noted: dict[str, Any] = {}
        self._pending_bytes = 0
        # Whether something is in line or being written; of what was said that is `_taken`, since `_said_at`, and has so
        # many bytes of output.
        self._is_busy = False
        self._taken: Append | None = None
        self._said_at = 0.0
        self._output = 0
        self._tries = 0
        self._again: asyncio.TimerHandle | None = None
        self._moved = asyncio.Event()  # set for a moment after each write, for so many who wait for it
        self._waits = 0
        self._failure: Exception | None = None
        self._failed = asyncio.Event()
        # Lives while a write of another kind is under way; ended by `aclose`.
        self._writing: asyncio.Task[None] | None = None
        self._is_closed = False

    async def emit(self, *drafts: Draft, **fields: Any) -> None:
        """Take `drafts` and the column values that are true with them: all of it becomes durable at once.

        Waits while too much is pending. Raises `LeaseLostError`, and ValueError for an event that is too large.
        """
        self._say(drafts, fields)
        if self._pending_bytes > MAX_PENDING_BYTES or self._failure is not None:
            await self._wait(lambda: self._pending_bytes <= MAX_PENDING_BYTES)

    def emit_nowait(self, draft: Draft) -> bool:
        """As `emit`, without waiting: where that would wait, or raise, it is not taken, and False."""
        if self._pending_bytes > MAX_PENDING_BYTES or self._failure is not None:
            return False
        self._say((draft,), {})
        return True

    def _say(self, drafts: Sequence[Draft], fields: Mapping[str, Any]) -> None:
        size, output, is_hurried = 0, 0, False
        for draft in drafts:
            if draft.kind == "output":
                output += (one := output_bytes(draft))
            else:
                one = len(draft.json)
                is_hurried |= draft.kind not in PATIENT
            if one > MAX_DATA_BYTES:
                raise ValueError(f"an event of {one} bytes; at most {MAX_DATA_BYTES} are taken")
            size += one
        if self.watch is not None and (is_hurried or self.watch.is_starting):
            self.watch.said(drafts)
        said = self._pending[-1] if self._pending else None
        if not isinstance(said, _Said):
            said = _Said(self._now())
            self._pending.append(said)
        said.drafts += drafts
        said.fields |= fields
        said.size += size
        said.output += output
        self._pending_bytes += size
        if not self._is_busy and self._failure is None:  # nothing is before it: `_start`, without two calls
            self._is_busy = True
            self._store.append_soon(self)
        if is_hurried or len(said.drafts) >= ENOUGH or self._pending_bytes > JOINED_BYTES:
            self._store.hurry()

    async def write(self, write: Callable[[Fence], Awaitable[Fence | None]]) -> None:
        """Have `write` done behind all that was taken before, tried until the store takes it.

        It gives the fence for the next one where that is another.

        Raises `LeaseLostError`, and what else it raises, which is the journal's end.
        """
        step = _Step(write)
        self._put(step)
        await self._wait(lambda: step.is_done)

    async def decide(self, decide: Decide) -> TaskRecord:
        """Apply what `decide` says of the row, behind all that was taken before; the row after it.

        Raises `LeaseLostError`, and what `decide` raises of `GatewayError`.
        """
        decision = _Decision(decide)
        self._put(decision)
        await self._wait(lambda: decision.outcome is not None)
        if not isinstance(decision.outcome, TaskRecord):
            raise decision.outcome or RuntimeError("nothing came of a decision")
        return decision.outcome

    def note(self, **fields: Any) -> None:
        """Have these columns of the row say so, soon."""
        self._noted |= fields
        self._start()

    async def flush(self) -> None:
        """Return when all that was taken is durable. Raises `LeaseLostError`."""
        self._store.hurry()
        await self._wait(lambda: not self._is_busy)

    async def wait_failed(self) -> None:
        """Return once nothing more can be written; `flush` raises why. Who speaks next learns it, if anybody does."""
        await self._failed.wait()

    async def aclose(self) -> None:
        """Write nothing more."""
        self._is_closed = True
        if self._again is not None:
            self._again.cancel()
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.wait([self._writing])

    # --- what is said -----------------------------------------------------------------------------------

    def take(self) -> tuple[Fence, Append] | None:
        """See `Appender.take`; what could not be written is given again."""
        if self._is_closed:
            return None
        if self._taken is None:
            self._taken = self._gathered()
        return self.fence, self._taken

    def _gathered(self) -> Append:
        said = self._pending[0] if self._pending else None
        if isinstance(said, _Said):
            del self._pending[0]
        else:
            said = _Said(self._now())  # there are notes alone
        self._said_at, self._output = said.at, said.output
        self._pending_bytes -= said.size
        drafts = gather(said.drafts)
        fields = {**_progress_of(drafts), **said.fields, **self._noted}
        self._noted.clear()
        return Append(drafts, fields)

    def told(self, result: Fence | Exception) -> None:
        """See `Appender.told`."""
        if self._is_closed:
            return
        if isinstance(result, Fence):
            self._appended(result)
        elif isinstance(result, StoreUnavailableError):
            self._log.warning("store unavailable, trying again", error=str(result), tries=self._tries)
            again = asyncio.get_running_loop().call_later
            self._again = again(pause_s(self._tries), self._store.append_soon, self)
            self._tries += 1
        else:
            self._fail(result)

    def _appended(self, fence: Fence) -> None:
        self.fence, self._taken, self._tries = fence, None, 0
        if self.watch is not None:
            self.watch.durable(self._said_at, self._now())
        try:
            if self._output:
                self.on_output_durable(self._output)
        except Exception as error:  # noqa: BLE001 - as of any write: the run learns it
            self._fail(error)
        else:
            self._go_on()

    # --- one write at a time ----------------------------------------------------------------------------

    def _put(self, item: _Step | _Decision) -> None:
        self._pending.append(item)
        self._start()
        self._store.hurry()  # what was said before goes before it

    def _start(self) -> None:
        if not self._is_busy and self._failure is None:
            self._is_busy = True
            self._next()

    def _go_on(self) -> None:
        """Begin with the next, now that nothing is being written, and tell who waits for that."""
        self._is_busy = bool(self._pending or self._noted)
        if self._is_busy:
            self._next()
        if self._waits:
            self._wake()

    def _next(self) -> None:
        first = self._pending[0] if self._pending else None
        if isinstance(first, _Said) or first is None:
            self._store.append_soon(self)
        else:
            del self._pending[0]
            self._writing = asyncio.get_running_loop().create_task(self._write(first), name="journal")

    def _fail(self, error: Exception) -> None:
        """Nothing more is written: `emit` and `flush` raise `error` where the run can act on it."""
        self._failure = error
        self._is_busy = False
        self._failed.set()
        self._wake()

    async def _wait(self, reached: Callable[[], bool]) -> None:
        while self._failure is None and not reached():
            self._waits += 1
            try:
                await self._moved.wait()
            finally:
                self._waits -= 1
        if self._failure is not None:
            raise self._failure

    def _wake(self) -> None:
        self._moved.set()
        self._moved.clear()

    async def _write(self, part: _Step | _Decision) -> None:
        try:
            if isinstance(part, _Decision):
                await self._settle(part)
            else:
                moved: Fence | None = await durably(lambda: part.write(self.fence), log=self._log)
                self.fence = moved or self.fence
                part.is_done = True
        except Exception as error:  # noqa: BLE001 - the run learns it
            self._fail(error)
        else:
            self._writing = None
            self._go_on()

    async def _settle(self, decision: _Decision) -> None:
        fence = self.fence
        try:
            row: TaskRecord = await durably(
                lambda: self._store.change_task(fence.task_id, decision.decide, fence=fence), log=self._log
            )
        except GatewayError as refusal:
            decision.outcome = refusal
        else:
            self.fence = dataclasses.replace(fence, last_seq=row.last_seq)
            decision.outcome = row


def _progress_of(drafts: list[Draft]) -> dict[str, Any]:
    for draft in reversed(drafts):
        if draft.kind == "progress":
            return {"progress": draft.json}
    return {}
