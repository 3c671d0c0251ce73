"""One session: `BridgeSession` as its user has it, over `Call` as the bridge keeps it.

A call has no connection. The bridge asks it for the next frame to send, hands it what was received, and
tells it when all is lost. It goes from waiting to started (its task's frame has been given out) to ended,
and it ends once: whatever comes later changes nothing.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from sandbox_bridge.errors import SandboxBusy, SandboxError, SandboxLost, TaskFailed
from sandbox_bridge.protocol import CancelTask, Credit, TaskError, encode
from sandbox_bridge.spec import TaskSpec, start_frames

CREDIT_BATCH_BYTES = 64 << 10
"""Credit is sent in portions: a quarter of what a session begins with, so the sandbox never runs dry."""
MAX_HELD_BYTES = 4 << 20
"""Progress that may wait for its reader before the socket is left unread. Well above what the credit of
an honest peer allows (256 KiB of text, up to six times that in JSON)."""
FRAME_OVERHEAD_BYTES = 1 << 10
"""What a frame costs in memory beside its text, so that many tiny ones are bounded too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallTimes:
    """How long a call waits for its sandbox."""

    longest_task_s: float = 86_400.0
    """For a task that brings no `timeout_s` of its own."""
    timeout_grace_s: float = 10.0
    """How long a sandbox that keeps `timeout_s` itself may be late with it."""
    end_s: float = 5.0
    """From `cancel_task` to the end frame; killing what ran may take the sandbox a second."""


class Call:
    """A session's two directions and its one end. `on_work` is called when there is something to send."""

    def __init__(
        self,
        session_id: str,
        spec: TaskSpec,
        *,
        stream: bool,
        times: CallTimes,
        on_work: Callable[["Call"], None],
        on_end: Callable[["Call"], None],
    ) -> None:
        self.session_id = session_id
        self.result: dict[str, Any] | None = None
        self.error: SandboxError | None = None
        self.ended = asyncio.Event()
        self.arrived = asyncio.Event()
        """Set when there may be something to `take`."""
        self.has_room = asyncio.Event()
        """Clear while so much waits to be taken that the socket is to be left unread."""
        self.has_room.set()
        self._spec = spec
        self._stream = stream
        self._times = times
        self._on_work = on_work
        self._on_end = on_end
        self._left = False
        self._progress: deque[tuple[dict[str, Any], int]] = deque()
        self._held_bytes = 0
        self._frames: Iterator[tuple[str, bool]] | None = None
        self._started = False
        self._cancel_wanted = False
        self._cancel_sent = False
        self._timed_out = False
        self._credit = 0
        # The one timer that runs: until the task's time is over, then until the sandbox has ended it.
        self._timer: asyncio.TimerHandle | None = None

    # --- to the sandbox ---

    def next_frame(self, *, extended: bool, now: float) -> str | None:
        """The next frame to send, or None; `now` is the wall clock's time that a task is stamped with."""
        if self.ended.is_set():
            return None
        if self._cancel_wanted:
            return self._cancel_frame()
        if not self._started:
            return self._start_frame(extended=extended, now=now)
        return self._credit_frame() if extended else None

    def _cancel_frame(self) -> str | None:
        if self._cancel_sent:
            return None
        self._cancel_sent = True
        return encode(CancelTask(type="cancel_task", session_id=self.session_id))

    def _start_frame(self, *, extended: bool, now: float) -> str | None:
        try:
            if self._frames is None:
                self._frames = start_frames(
                    self._spec, self.session_id, stream=self._stream, extended=extended, now=now
                )
            frame, self._started = next(self._frames)
        except TaskFailed as error:
            self.fail(error)
            return None
        if self._started:
            self._frames = None
            timeout_s = self._spec.limits.timeout_s
            grace_s = self._times.timeout_grace_s if extended else 0.0
            self._set_timer(
                self._times.longest_task_s if timeout_s is None else timeout_s + grace_s, self._time_out
            )
        return frame

    def _credit_frame(self) -> str | None:
        if self._credit < CREDIT_BATCH_BYTES:
            return None
        credit, self._credit = self._credit, 0
        return encode(Credit(type="credit", session_id=self.session_id, bytes=credit))

    def grant(self, nbytes: int) -> None:
        """Count `nbytes` of output as taken; it becomes a `credit` frame once it is worth one."""
        self._credit += nbytes
        if self._credit >= CREDIT_BATCH_BYTES:
            self._on_work(self)

    def cancel(self) -> None:
        """Have the sandbox end the task; a task that it has not been told of ends here and now."""
        if self._cancel_wanted or self.ended.is_set():
            return
        self._cancel_wanted = True
        if self._started:
            self._set_timer(self._times.end_s, self._give_up)
            self._on_work(self)
        else:
            self.fail(TaskFailed("cancelled", "cancelled before it was sent", reason="cancelled"))

    def leave(self) -> None:
        """Nobody reads any more: end the task, drop what it still says."""
        self._left = True
        self._drop_progress()
        self.cancel()

    # --- from the sandbox ---

    def deliver(self, progress: dict[str, Any], nbytes: int) -> None:
        """Keep `progress`, which came in a frame of `nbytes`, until it is taken."""
        if self.ended.is_set() or self._left:
            return
        cost = nbytes + FRAME_OVERHEAD_BYTES
        self._progress.append((progress, cost))
        self._held_bytes += cost
        if self._held_bytes > MAX_HELD_BYTES:
            self.has_room.clear()
        self.arrived.set()

    def take(self) -> dict[str, Any] | None:
        """The oldest progress not taken yet, or None."""
        if not self._progress:
            self.arrived.clear()
            return None
        progress, cost = self._progress.popleft()
        self._held_bytes -= cost
        if self._held_bytes <= MAX_HELD_BYTES // 2:
            self.has_room.set()
        return progress

    def complete(self, result: dict[str, Any]) -> None:
        """The good end."""
        if not self.ended.is_set():
            self.result = result
            self._end()

    def fail_by(self, frame: TaskError) -> None:
        """The bad end that the sandbox tells of."""
        self.fail(_error_of(frame, timed_out=self._timed_out))

    def fail(self, error: SandboxError) -> None:
        """A bad end."""
        if not self.ended.is_set():
            self.error = error
            self._end()

    def _end(self) -> None:
        self.ended.set()
        self.arrived.set()
        self.has_room.set()
        self._frames = None
        self._clear_timer()
        self._on_end(self)

    # --- timers ---

    def _time_out(self) -> None:
        self._timed_out = True
        self._timer = None
        self.cancel()

    def _give_up(self) -> None:
        if not self.has_room.is_set():
            # The end may be waiting, unread, behind progress that our own reader has not taken.
            self._set_timer(self._times.end_s, self._give_up)
            return
        self.fail(SandboxLost(f"the sandbox did not end the task within {self._times.end_s:g} s"))

    def _set_timer(self, delay_s: float, callback: Callable[[], None]) -> None:
        self._clear_timer()
        self._timer = asyncio.get_running_loop().call_later(delay_s, callback)

    def _clear_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _drop_progress(self) -> None:
        self._progress.clear()
        self._held_bytes = 0
        self.has_room.set()


class BridgeSession:
    """One task on a sandbox: iterate over its progress, then look at `result`.

    Progress comes in order, as the sandbox said it and so as untrusted as the sandbox. The iteration ends
    after `task_completed`, or raises `TaskFailed`, `SandboxBusy` or `SandboxLost`. Leaving the context before
    the end has the sandbox cancel the task, and does not wait for it; the bridge counts the session until
    the sandbox has ended it, or had its time to. For one reader.
    """

    def __init__(self, call: Call) -> None:
        self._call = call

    @property
    def session_id(self) -> str:
        """The caller's id of the session."""
        return self._call.session_id

    @property
    def result(self) -> dict[str, Any] | None:
        """The sandbox's result, once it has completed the task."""
        return self._call.result

    @property
    def error(self) -> SandboxError | None:
        """What the iteration raises at its end, once that is known and not good."""
        return self._call.error

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call.leave()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> dict[str, Any]:
        while (progress := self._call.take()) is None:
            if self._call.error is not None:
                raise self._call.error
            if self._call.ended.is_set():
                raise StopAsyncIteration
            # No deadline of its own: the call's timer and the connection's life bound its end.
            await self._call.arrived.wait()
        return progress

    def grant_nowait(self, nbytes: int) -> None:
        """Give back credit for `nbytes` of output (UTF-8 bytes of `text`), persisted or dropped for good."""
        self._call.grant(nbytes)

    async def cancel(self) -> None:
        """Have the task ended; how it ended then comes through the iteration. Again is nothing more."""
        self._call.cancel()

    async def wait_ended(self) -> None:
        """Wait until the session has its end, which `result` and `error` then show."""
        await self._call.ended.wait()


def _error_of(frame: TaskError, *, timed_out: bool) -> SandboxError:
    """What a `task_error` means; `timed_out` if it answers the cancel that we sent for a timeout."""
    info = frame.error_info
    if info.code == "busy":
        return SandboxBusy(frame.error)
    if info.code in {"unknown_session", "sandbox_lost"}:
        return SandboxLost(frame.error)
    if timed_out and info.code == "cancelled":
        return TaskFailed("timeout", "the task's time is over", reason="timeout", result=info.result)
    return TaskFailed(
        info.code, frame.error, exit_code=info.exit_code, reason=info.reason, result=info.result
    )
