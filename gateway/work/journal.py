"""From a run to its task's log: gathers what the run says, and makes it durable in order, one write at a time.

Decisions about the row wait in the same line, so that a status comes after what was said before it.

Nothing waits when nothing is on its way: the first event starts a write, and what comes while that is being
synced is the next write's. Output that gathers so is joined before it gets a number.
"""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from structlog.typing import FilteringBoundLogger

from gateway.errors import GatewayError
from gateway.events import MAX_DATA_BYTES, Draft, data_bytes, gather, output_bytes
from gateway.state.base import Append, Decide, StateStore
from gateway.state.retry import durably
from gateway.tasks import Fence, TaskRecord
from gateway.work.run_watch import RunWatch

MAX_PENDING_BYTES: Final = 1 << 20
"""What may be on its way to disk before whoever speaks has to wait."""


@dataclass(slots=True)
class _Said:
    """Events that go into one write, and the column values that go with them."""

    drafts: Sequence[Draft]
    fields: Mapping[str, Any]


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
    """The one writer of a task's log while `fence` holds."""

    def __init__(self, store: StateStore, fence: Fence, *, log: FilteringBoundLogger) -> None:
        self.fence = fence
        self.on_output_durable: Callable[[int], None] = lambda _bytes: None
        self.watch: RunWatch | None = None
        # When the first of what is pending was said.
        self._said_at = 0.0
        self._store = store
        self._log = log
        self._pending: list[_Said | _Step | _Decision] = []
        self._noted: dict[str, Any] = {}
        self._pending_bytes = 0
        self._moved = asyncio.Event()  # set for a moment after each write
        self._failure: Exception | None = None
        self._failed = asyncio.Event()
        # Lives while something is pending; ended by `aclose`.
        self._writing: asyncio.Task[None] | None = None

    async def emit(self, *drafts: Draft, **fields: Any) -> None:
        """Take `drafts` and the column values that are true with them: all of it becomes durable at once.

        Waits while too much is pending. Raises `LeaseLostError`, and ValueError for an event that is too large.
        """
        self._say(drafts, fields)
        await self._wait(lambda: self._pending_bytes <= MAX_PENDING_BYTES)

    def emit_nowait(self, draft: Draft) -> bool:
        """As `emit`, without waiting: where too much is pending it is not taken, and False."""
        if self._pending_bytes > MAX_PENDING_BYTES:
            return False
        self._say([draft], {})
        return True

    def _say(self, drafts: Sequence[Draft], fields: Mapping[str, Any]) -> None:
        sizes = [data_bytes(draft) for draft in drafts]
        if sizes and (size := max(sizes)) > MAX_DATA_BYTES:
            raise ValueError(f"an event of {size} bytes; at most {MAX_DATA_BYTES} are taken")
        if self.watch is not None:
            self.watch.said(drafts)
        if not self._pending:
            self._said_at = asyncio.get_running_loop().time()
        self._pending_bytes += sum(sizes)
        self._put(_Said(drafts, fields))

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
        await self._wait(lambda: self._writing is None)

    async def wait_failed(self) -> None:
        """Return once nothing more can be written; `flush` raises why. Who speaks next learns it, if anybody does."""
        await self._failed.wait()

    async def aclose(self) -> None:
        """Write nothing more."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.wait([self._writing])

    def _put(self, item: _Said | _Step | _Decision) -> None:
        self._pending.append(item)
        self._start()

    def _start(self) -> None:
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write_all(), name="journal")

    async def _wait(self, reached: Callable[[], bool]) -> None:
        while self._failure is None and not reached():
            await self._moved.wait()
        if self._failure is not None:
            raise self._failure

    def _wake(self) -> None:
        self._moved.set()
        self._moved.clear()

    async def _write_all(self) -> None:
        try:
            while self._pending or self._noted:
                items, self._pending, self._pending_bytes = self._pending, [], 0
                said_at = self._said_at
                for part in _parts(items):
                    await self._write(part)
                if self.watch is not None and any(isinstance(item, _Said) for item in items):
                    self.watch.durable(asyncio.get_running_loop().time() - said_at)
        except Exception as error:  # noqa: BLE001 - `emit` and `flush` raise it where the run can act on it
            self._failure = error
            self._failed.set()
        finally:
            self._writing = None
            self._wake()

    async def _write(self, part: _Said | _Step | _Decision) -> None:
        match part:
            case _Decision():
                await self._settle(part)
            case _Step():
                moved: Fence | None = await durably(lambda: part.write(self.fence), log=self._log)
                self.fence = moved or self.fence
                part.is_done = True
            case _Said():
                await self._append(gather(part.drafts), part.fields)
        self._wake()

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

    async def _append(self, drafts: list[Draft], fields: Mapping[str, Any]) -> None:
        noted, self._noted = self._noted, {}
        what = Append(drafts, {**_progress_of(drafts), **fields, **noted})
        self.fence = await durably(lambda: self._store.append(self.fence, what), log=self._log)
        self.on_output_durable(sum(map(output_bytes, drafts)))


def _parts(items: Sequence[_Said | _Step | _Decision]) -> Iterator[_Said | _Step | _Decision]:
    """What goes into one write each: all that is said up to the next write of another kind, and that."""
    drafts: list[Draft] = []
    fields: dict[str, Any] = {}
    for item in items:
        if isinstance(item, _Said):
            drafts += item.drafts
            fields |= item.fields
            continue
        if drafts:
            yield _Said(drafts, fields)
            drafts, fields = [], {}
        yield item
    if drafts or not items:
        yield _Said(drafts, fields)


def _progress_of(drafts: list[Draft]) -> dict[str, Any]:
    newest = next((draft.data for draft in reversed(drafts) if draft.kind == "progress"), None)
    return {} if newest is None else {"progress": newest}
