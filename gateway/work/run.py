"""One attempt of one task: from the claim to the event that ends it or gives it back."""

import asyncio
import dataclasses
import itertools
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from typing import Any, Final

import orjson
from structlog.typing import FilteringBoundLogger

from gateway import trace
from gateway.agents.runner import (
    Agent,
    AgentHandle,
    Memory,
    PlaceLostError,
    TaskCancelledError,
    TaskFailedError,
)
from gateway.clock import Clock
from gateway.errors import LeaseLostError
from gateway.events import Draft
from gateway.files import Batch, FileInfo, Stored
from gateway.state.base import StateStore
from gateway.state.retry import durably
from gateway.state.values import Decide
from gateway.task_changes import (
    Change,
    cancelled,
    completed,
    failed,
    lost,
)
from gateway.tasks import (
    Fence,
    TaskRecord,
    TaskStatus,
    Wished,
)
from gateway.work.journal import Journal
from gateway.work.run_memory import RunMemory
from gateway.work.run_metrics import RunMetrics
from gateway.work.steering import Steering
from sandbox_bridge.bridge import Bridge, BridgeSession

READ_BYTES: Final = 1 << 20
"""Of uploaded files in memory at once."""
MAX_BACK_OFF_MS: Final = 5000
"""Longest wait before a lost task's next attempt."""


class Run:
    """Carries one attempt; it is the `RunContext` its agent sees. Nothing it does is raised to its owner."""

    def __init__(
        self,
        task: TaskRecord,
        agent: Agent,
        *,
        bridge: Bridge | None,
        store: StateStore,
        clock: Clock,
        hold_s: float,
        on_change: Callable[[], None],
        log: FilteringBoundLogger,
        session: BridgeSession | None = None,
    ) -> None:
        self.task = task
        self.input: dict[str, Any] = {}
        self.input_files: Callable[[], AsyncIterator[Stored]] | None = None
        self.bridge = bridge
        self.session = session
        self.sandbox_session = task.place["session_id"] if task.place is not None else clock.new_id()
        self.time_left_s = task.time_left_s(clock.now_ms())
        self._agent = agent
        self._store = store
        self._clock = clock
        trace_id = trace.trace_id(task.task_id, task.traceparent)
        self._log = log.bind(task_id=task.task_id, attempt=task.attempt, trace_id=trace_id)
        owner = task.owner or ""
        fence = Fence(task.task_id, task.subject, owner, task.epoch, task.last_seq)
        self._journal = Journal(store, fence, log=self._log)
        self.emit_nowait = self._journal.emit_nowait
        """See `RunContext.emit_nowait`."""
        self._steering = Steering(
            task,
            self._journal,
            store=store,
            clock=clock,
            hold_s=hold_s,
            on_change=on_change,
            log=self._log,
        )
        self.cancel_wanted = self._steering.cancel_wanted
        self.memory: Memory = RunMemory(task, self._journal, store, clock, log=log)
        self._giving_back = False
        # The agent at work; lives inside `execute`.
        self._working: asyncio.Task[Decide] | None = None

    def __repr__(self) -> str:
        return f"<Run {self.task.task_id} attempt {self.task.attempt}>"

    # --- what the agent sees ----------------------------------------------------------------------------

    @property
    def on_output_durable(self) -> Callable[[int], None]:
        """See `RunContext.on_output_durable`."""
        return self._journal.on_output_durable

    @on_output_durable.setter
    def on_output_durable(self, call: Callable[[int], None]) -> None:
        self._journal.on_output_durable = call

    def steered_by(self, handle: AgentHandle) -> None:
        """See `RunContext.steered_by`."""
        self._steering.steered_by(handle)

    def emit(self, *drafts: Draft, place_seq: int = 0) -> Coroutine[Any, Any, None]:
        """See `RunContext.emit`."""
        if self.task.place is None:
            return self._journal.emit(*drafts)
        return self._journal.emit(*drafts, place_seq=place_seq)

    async def keep_files(self, batch: Batch, *, place_seq: int = 0, place_file: str | None = None) -> None:
        """See `RunContext.keep_files`."""
        if self.task.place is not None:
            fields = {"place_seq": place_seq, "place_file": place_file}
            batch = dataclasses.replace(batch, fields=fields)
        await self._journal.write(
            lambda fence: self._store.add_files(self.sandbox_session, batch, fence=fence)
        )

    async def kept_files(self) -> list[FileInfo]:
        """See `RunContext.kept_files`."""
        found: list[FileInfo] = await durably(
            lambda: self._store.list_files(self.sandbox_session), log=self._log
        )
        return found

    async def kept_pieces(self, number: int) -> AsyncIterator[bytes]:
        """See `RunContext.kept_pieces`."""
        for part in itertools.count():
            piece = await durably(
                partial(self._store.read_piece, self.sandbox_session, number, part), log=self._log
            )
            if piece is None:
                return
            yield piece

    def watched_by(self, watch: RunMetrics) -> None:
        """Have `watch` measure it."""
        self._journal.watch = watch

    # --- what the dispatcher does -----------------------------------------------------------------------

    def ring(self) -> None:
        """Somebody changed what is wanted of the task: look at its row."""
        self._steering.ring()

    def see(self, wished: Wished) -> None:
        """What the task's row wants, as somebody has read it: where this run has not heard of that, look at it."""
        self._steering.see(wished)

    @property
    def paused(self) -> bool:
        """Whether it stands still."""
        return self._steering.paused

    def give_back(self) -> None:
        """Stop the agent and let the task wait for its next attempt, uncounted."""
        if self._giving_back:
            return
        self._giving_back = True
        if self._working is not None:
            self._working.cancel()

    async def execute(self) -> TaskStatus | None:
        """Run the attempt to its end, and write how it ended; the task's status then.

        None where the task has another owner now, `paused` where nobody has it any more. Cancelled itself, it
        writes nothing: like a crash.
        """
        loop = asyncio.get_running_loop()
        steering = loop.create_task(self._steering.run(), name="steering")
        failing = loop.create_task(self._journal.wait_failed(), name="journal's end")
        self._working = loop.create_task(self._outcome(), name="agent")
        if self._giving_back:
            self._working.cancel()
        try:
            await asyncio.wait([self._working, steering, failing], return_when=asyncio.FIRST_COMPLETED)
            if failing.done():
                await self._journal.flush()
            if not self._working.done():
                steering.result()
                self._log.info("paused for too long; its place is given up")
                return TaskStatus.PAUSED
            return await self._settle(self._stopped if self._working.cancelled() else self._working.result())
        except LeaseLostError:
            self._log.warning("the task has another owner; this run stops")
            return None
        finally:
            for beside in (steering, failing, self._working):
                beside.cancel()
            await self._journal.aclose()

    async def _outcome(self) -> Decide:
        """Run the agent, and say what is to be written of how it ended."""
        now = self._clock.now_ms
        try:
            self.input = orjson.loads(
                await durably(lambda: self._store.get_input(self.task.task_id), log=self._log)
            )
            await self._find_input_files()
            result = await self._agent.run(self)
        except TaskFailedError as error:
            return _failure(error.code, error.message, error.details, now)
        except TaskCancelledError:
            return lambda task: cancelled(task, now_ms=now())
        except PlaceLostError as error:
            return self._place_lost(error)
        except LeaseLostError:
            raise
        except Exception as error:  # noqa: BLE001 - an agent may raise anything; its task fails, the gateway does not
            self._log.exception("the agent failed")
            return _failure("agent_error", f"{type(error).__name__} in agent {self._agent.name}", {}, now)
        return lambda task: completed(task, result, now_ms=now())

    async def _find_input_files(self) -> None:
        if not self._agent.takes_files:
            return
        set_id = await durably(lambda: self._store.find_files(self.task.task_id), log=self._log)
        if set_id is not None:
            self.input_files = partial(self._stored, set_id)

    async def _stored(self, set_id: str) -> AsyncIterator[Stored]:
        after = (-1, 0)
        while pieces := await self._read_files(set_id, after):
            for piece in pieces:
                yield piece
            after = pieces[-1].at

    async def _read_files(self, set_id: str, after: tuple[int, int]) -> list[Stored]:
        def read() -> Any:
            return self._store.read_files(set_id, after=after, max_bytes=READ_BYTES)

        pieces: list[Stored] = await durably(read, log=self._log)
        return pieces

    def _place_lost(self, error: PlaceLostError) -> Decide:
        self._log.warning("place lost", reason=error.reason, error=str(error))
        limit = min(MAX_BACK_OFF_MS, 250 * 2 ** min(self.task.attempt, 10))
        back_off_ms = int(self._clock.rng.uniform(0.2, 1.0) * limit)
        counts = error.reason != "busy"
        return lambda task: lost(
            task, error.reason, now_ms=self._clock.now_ms(), back_off_ms=back_off_ms, counts=counts
        )

    def _stopped(self, task: TaskRecord) -> Change:
        now_ms = self._clock.now_ms()
        if self._giving_back:
            return lost(task, "drain", now_ms=now_ms, counts=False)
        message = f"CancelledError in agent {self._agent.name}"
        return failed(task, "agent_error", message, now_ms=now_ms, details={})

    async def _settle(self, decide: Decide) -> TaskStatus:
        after = await self._journal.decide(decide)
        if after.status is TaskStatus.CANCELLED:
            self._steering.obeyed("cancel")
        self._log.info("run ended", status=str(after.status))
        return after.status


def _failure(code: str, message: str, details: dict[str, Any], now: Callable[[], int]) -> Decide:
    def decide(task: TaskRecord) -> Change:
        return failed(task, code, message, now_ms=now(), details=details)

    return decide
