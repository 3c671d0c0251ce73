"""One session as the bridge keeps it.

A call has no connection. The bridge asks it for the next frame to send, hands it what was received, and
tells it when all is lost. It goes from waiting to started (its task's frame has been given out) to ended,
and it ends once: whatever comes later changes nothing.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sandbox_bridge.countdown import Countdown
from sandbox_bridge.errors import (
    SandboxBusy,
    SandboxError,
    SandboxLost,
    SandboxUnable,
    SessionDropped,
    TaskFailed,
)
from sandbox_bridge.handshake import SandboxInfo
from sandbox_bridge.inbox import Inbox
from sandbox_bridge.outgoing import CREDIT_BATCH_BYTES, Outgoing
from sandbox_bridge.protocol import ResumeOffer, TaskError
from sandbox_bridge.spec import FormerSession, TaskSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class CallTimes:
    """How long a call waits for its sandbox."""

    longest_task_s: float = 86_400.0
    """For a task that brings no `timeout_s` of its own."""
    timeout_grace_s: float = 10.0
    """How long a sandbox that keeps `timeout_s` itself may be late with it."""
    end_s: float = 2.5
    """From `cancel_task` to the end frame; killing what ran may take the sandbox a second. A wish has 3 s in all."""
    signal_s: float = 12.0
    """From `pause_task` or `resume_task` to its answer; a socket may drop and come back meanwhile."""


class Call:
    """A session's two directions and its one end.

    `on_work` is called when there is something to send; `info` tells who the sandbox is.
    """

    def __init__(
        self,
        session_id: str,
        spec: TaskSpec,
        *,
        stream: bool,
        times: CallTimes,
        info: Callable[[], SandboxInfo],
        on_work: Callable[["Call"], None],
        on_end: Callable[["Call"], None],
        former: FormerSession | None = None,
    ) -> None:
        self.session_id = session_id
        self.former = former
        """Where another has left it, until the sandbox goes on with it."""
        self.result: dict[str, Any] | None = None
        self.error: SandboxError | None = None
        self.ended = asyncio.Event()
        self.inbox = Inbox(after_seq=former.after_seq if former is not None else 0)
        self.is_paused = former is not None and former.is_paused
        """What the sandbox said last."""
        self.on_input_moved: Callable[[], None] = lambda: None
        """Called when input was taken, or is wanted again that was not, or was lost with a socket."""
        self.out = Outgoing(session_id, spec, stream=stream, former=former)
        """What it has to say. Whoever changes that calls `post`."""
        self.info = info
        self._times = times
        self._on_work = on_work
        self._on_end = on_end
        self._is_timed_out = False
        # Between two sockets; then, until the first frame over the new one has come.
        self._is_away = former is not None
        self._is_back = False
        # Until the task's time is over, which stands still with the task; then until the sandbox has ended it.
        self._countdown = Countdown()
        # Set at each frame that is sent, each signal that comes, and the end.
        self._changed = asyncio.Event()

    @property
    def is_started(self) -> bool:
        """Whether the sandbox may have heard of the task."""
        return self.out.is_started

    # --- to the sandbox ---

    def next_frame(self, *, extended: bool, now: float) -> str | None:
        """The next frame to send, or None; `now` is the wall clock's time that a task is stamped with."""
        if self.ended.is_set():
            return None
        was_started = self.out.is_started
        try:
            frame = self.out.next_frame(extended=extended, now=now)
        except TaskFailed as error:
            self.fail(error)
            return None
        if self.out.is_started and not was_started:
            self._count_down(self.out.spec.limits.timeout_s, extended=extended)
        self._changed.set()
        self._ask_for_input()
        return frame

    def post(self) -> None:
        """There may be something to send."""
        self._on_work(self)

    def grant(self, nbytes: int) -> None:
        """Count `nbytes` of output as taken; it becomes a `credit` frame once it is worth one."""
        self.inbox.grant(nbytes)
        self.out.credit_bytes += nbytes
        if self.out.credit_bytes >= CREDIT_BATCH_BYTES:
            self.post()

    def can(self, capability: str) -> bool:
        """Whether the sandbox offers `capability`."""
        return capability in self.info().capabilities

    async def set_paused(self, wanted: bool) -> None:  # noqa: FBT001 -- it is what is set
        """Have the task paused or resumed. Raises `SandboxError` if that does not come true."""
        if not self.can("pause"):
            raise SandboxUnable("the sandbox can't pause a task")
        self.out.is_pause_wanted = wanted
        self.post()
        try:
            async with asyncio.timeout(self._times.signal_s):
                while self.is_paused is not wanted and not self.ended.is_set():
                    await self.change()
        except TimeoutError:
            wish = "pause" if wanted else "resume"
            raise SandboxUnable(f"the sandbox did not {wish} within {self._times.signal_s:g} s") from None
        if self.ended.is_set():
            raise self.error or SandboxUnable("the task has ended")

    def add_input(self, data: str, *, eof: bool) -> None:
        """Have `data` written to the task's standard input."""
        if not self.can("stdin"):
            raise SandboxUnable("the sandbox gives its tasks no standard input")
        if not self.ended.is_set():
            self.out.add_input(data, eof=eof, is_told_of=self.info().tells_input_taken)
            self.post()

    def _ask_for_input(self) -> None:
        if self.out.takes_input_again():
            self.on_input_moved()

    def resize(self, cols: int, rows: int) -> None:
        """Have the terminal's size changed."""
        if not self.can("tty"):
            raise SandboxUnable("the sandbox has no terminals")
        if not self.ended.is_set():
            self.out.resize(cols, rows)
            self.post()

    def cancel(self) -> None:
        """Have the sandbox end the task; a task that it has not been told of ends here and now."""
        if self.out.is_cancel_wanted or self.ended.is_set():
            return
        self.out.is_cancel_wanted = True
        if self.out.is_started:
            self._await_end()
            self.post()
        else:
            self.fail(TaskFailed("cancelled", "cancelled before it was sent", reason="cancelled"))

    def leave(self) -> None:
        """Nobody reads any more: end the task, drop what it still says."""
        self.inbox.close()
        self.cancel()

    # --- from one socket to the next ---

    def suspend(self) -> None:
        """The socket is gone: what is wished for waits for the next one."""
        self._is_away = True
        if self._is_timed_out:
            self._countdown.stop()  # which a wish's does not: it has its 3 s with a socket or without

    def go_on(self, offer: ResumeOffer | None) -> None:
        """There is another socket; `offer` is what the sandbox has of the session, if it has it."""
        if offer is None:
            self.fail(SessionDropped("the sandbox has dropped the session with its socket"))
        elif offer.last_seq < self.inbox.received_seq:
            self.fail(SandboxLost("the sandbox has begun the session anew"))
        else:
            self._is_away, self._is_back = False, True
            former, self.former = self.former, None
            if former is not None:
                if not self.out.is_cancel_wanted:
                    self._count_down(former.timeout_s, extended=True)
                self.signalled(is_paused=former.is_paused)
            self.out.begin_anew(
                credit_bytes=self.inbox.over_bytes, input_seq=offer.input_seq, can_pause=self.can("pause")
            )
            if self._is_timed_out:
                self._await_end()
            self._changed.set()
            self._ask_for_input()

    async def wait_taken_up(self) -> None:
        """Wait until the sandbox goes on with what another has left. Raises what it has ended with instead."""
        # The table's timer bounds it.
        while self.former is not None and not self.ended.is_set():
            await self.change()
        if self.former is not None and self.error is not None:
            raise self.error

    # --- from the sandbox ---

    def receive(self, seq: int | None) -> bool:
        """Note the number of a frame that came; False for one that is not to be looked at."""
        if self._is_back and self.inbox.misses(seq):
            self.fail(SandboxLost("the sandbox has lost some of what it said while its socket was gone"))
            return False
        self._is_back = self._is_back and seq is None
        return self.inbox.receive(seq)

    def deliver(self, progress: dict[str, Any], nbytes: int) -> None:
        """Keep `progress`, which came in a frame of `nbytes`, until it is taken."""
        if not self.ended.is_set():
            self.inbox.put(progress, nbytes)

    def signalled(self, *, is_paused: bool) -> None:
        """The sandbox says that the task stands still, or runs again."""
        self.is_paused = is_paused
        if is_paused and not self.out.is_cancel_wanted:
            self._countdown.stand_still()
        else:
            self._countdown.go_on()
        self._changed.set()

    def complete(self, result: dict[str, Any]) -> None:
        """The good end."""
        if not self.ended.is_set():
            self.result = result
            self._end()

    def fail_by(self, frame: TaskError) -> None:
        """The bad end that the sandbox tells of."""
        self.fail(_error_of(frame, timed_out=self._is_timed_out))

    def fail(self, error: SandboxError) -> None:
        """A bad end."""
        if not self.ended.is_set():
            self.error = error
            self._end()

    def _end(self) -> None:
        self.ended.set()
        self._changed.set()
        self.inbox.arrived.set()
        self.inbox.has_room.set()
        self._countdown.stop()
        self._on_end(self)

    async def change(self) -> None:
        """Wait until something about it has changed."""
        self._changed.clear()
        await self._changed.wait()

    # --- time ---

    def _count_down(self, timeout_s: float | None, *, extended: bool) -> None:
        grace_s = self._times.timeout_grace_s if extended else 0.0
        self._countdown.start(
            self._times.longest_task_s if timeout_s is None else timeout_s + grace_s, self._time_out
        )

    def _await_end(self) -> None:
        if self._is_away and self._is_timed_out:
            self._countdown.stop()
        else:
            self._countdown.start(self._times.end_s, self._give_up)

    def _time_out(self) -> None:
        self._is_timed_out = True
        self.cancel()

    def _give_up(self) -> None:
        if not self._is_away and not self.inbox.has_room.is_set():
            # The end may be waiting, unread, behind progress that our own reader has not taken.
            self._countdown.start(self._times.end_s, self._give_up)
            return
        late = f"the sandbox did not end the task within {self._times.end_s:g} s"
        self.fail(_timeout() if self._is_timed_out else SandboxLost(late))


def _error_of(frame: TaskError, *, timed_out: bool) -> SandboxError:
    """What a `task_error` means; `timed_out` if it answers the cancel that we sent for a timeout."""
    info = frame.error_info
    if info.code == "busy":
        return SandboxBusy(frame.error)
    if info.code in {"unknown_session", "sandbox_lost"}:
        return SandboxLost(frame.error)
    if timed_out and info.code == "cancelled":
        return _timeout(info.result)
    return TaskFailed(
        info.code, frame.error, exit_code=info.exit_code, reason=info.reason, result=info.result
    )


def _timeout(result: dict[str, Any] | None = None) -> TaskFailed:
    return TaskFailed("timeout", "the task's time is over", reason="timeout", result=result)
