"""The sessions at one sandbox, and who of them has something to send. They outlive a connection.

When a connection goes, whatever the sandbox may be running is kept for `RESUME_S`. The next connection
begins with what we want gone on with (`orders`) and what the sandbox still has of it (`begin`).
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

from sandbox_bridge.call import Call, CallTimes
from sandbox_bridge.errors import SandboxBusy, SandboxLost
from sandbox_bridge.handshake import SandboxInfo
from sandbox_bridge.protocol import ResumeOffer, SessionOrder
from sandbox_bridge.spec import FormerSession, TaskSpec

MAX_STRAYS = 1000
"""Sessions to be killed by the next hello; more, and the oldest is left to its own end, 8 s later."""


class CallTable:
    """Calls by session id. `on_change` is told of each change of their number or of the room."""

    def __init__(self, *, on_change: Callable[[], None], busy_s: float, call_times: CallTimes) -> None:
        self.calls: dict[str, Call] = {}
        self.work = asyncio.Event()
        """Set when there may be something to send."""
        self.info: SandboxInfo | None = None
        """Who the sandbox is, or was last."""
        self.strays: deque[str] = deque(maxlen=MAX_STRAYS)
        """Sessions that nobody goes on with, to be killed by the next connection's hello."""
        self._on_change = on_change
        self._busy_s = busy_s
        self._call_times = call_times
        # Calls with something to send, each once, who waits longest first.
        self._due: deque[Call] = deque()
        # The end of a `busy` pause, while there is one.
        self._pause: asyncio.TimerHandle | None = None
        # The end of the wait for another connection, while there is one.
        self._waiting: asyncio.TimerHandle | None = None

    @property
    def free(self) -> int:
        """Sessions that there is room for, if there is a connection."""
        if self._pause is not None or self.info is None:
            return 0
        return max(0, self.info.max_sessions - len(self.calls))

    @property
    def is_waiting(self) -> bool:
        """Whether calls wait for another connection."""
        return self._waiting is not None and bool(self.calls)

    def open(self, session_id: str, spec: TaskSpec, *, stream: bool) -> Call:
        """A new call, that is started when its turn to send comes."""
        call = self._call(session_id, spec, stream=stream)
        self.post(call)
        return call

    def adopt(self, session_id: str, former: FormerSession, *, keep_s: float) -> Call:
        """The call that goes on with what another has left; for `keep_s` from now it waits for a connection."""
        call = self._call(session_id, TaskSpec(), stream=True, former=former)
        if self._waiting is None:
            self._wait(keep_s, "the sandbox can't be reached")
        return call

    def _call(
        self, session_id: str, spec: TaskSpec, *, stream: bool, former: FormerSession | None = None
    ) -> Call:
        call = self.calls[session_id] = Call(
            session_id,
            spec,
            stream=stream,
            times=self._call_times,
            info=self._who,
            on_work=self.post,
            on_end=self._ended,
            former=former,
        )
        self._on_change()
        return call

    def next_frame(self, *, extended: bool, now: float) -> str | None:
        """One frame of each call in turn, so that a large task delays nobody's cancel."""
        while self._due:
            call = self._due.popleft()
            frame = call.next_frame(extended=extended, now=now)
            if frame is not None:
                self._due.append(call)
                return frame
        return None

    def post(self, call: Call) -> None:
        """`call` may have something to send."""
        if call not in self._due:
            self._due.append(call)
        self.work.set()

    def post_all(self) -> None:
        """Any call may."""
        for call in self.calls.values():
            self.post(call)

    # --- from one connection to the next ---

    def suspend(self, problem: str, *, keep_s: float) -> None:
        """The connection is gone: keep for `keep_s` what runs over there. What was not sent has not run."""
        for call in list(self.calls.values()):
            if call.is_started:
                call.suspend()
            else:
                call.fail(SandboxBusy(problem))
        self._end_pause()
        self._wait(keep_s, problem)

    def _wait(self, keep_s: float, problem: str) -> None:
        self._waiting = asyncio.get_running_loop().call_later(max(0.0, keep_s), self.lose, problem)

    def orders(self, there: SandboxInfo | None) -> list[SessionOrder]:
        """The sessions that the sandbox is to go on with, each after the last of it that is granted.

        `there` is who that will be, where it is known already.
        """
        return [
            SessionOrder(session_id=call.session_id, action="continue", after_seq=call.inbox.settled_seq)
            for call in self.calls.values()
            if there is None or _is_same(call.former or self.info, there)
        ]

    def begin(self, info: SandboxInfo, offers: Iterable[ResumeOffer]) -> None:
        """There is a connection: go on with what the sandbox offers. What it does not is lost."""
        known, self.info = self.info, info
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
        offered = {offer.session_id: offer for offer in offers}
        for call in list(self.calls.values()):
            if _is_same(call.former or known, info):
                call.go_on(offered.get(call.session_id))
            else:
                call.fail(SandboxLost("the sandbox was started anew"))
        self.post_all()

    def lose(self, problem: str) -> None:
        """There is no sandbox to go on with: every session is lost."""
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
        for call in list(self.calls.values()):
            call.fail(SandboxLost(problem) if call.is_started else SandboxBusy(problem))
        self._end_pause()

    def _who(self) -> SandboxInfo:
        assert self.info is not None  # noqa: S101 -- calls are opened once the sandbox is known
        return self.info

    def _ended(self, call: Call) -> None:
        del self.calls[call.session_id]
        if self._waiting is not None and call.is_started:
            self.strays.append(call.session_id)
        if isinstance(call.error, SandboxBusy) and self._pause is None:
            self._pause = asyncio.get_running_loop().call_later(self._busy_s, self._end_pause)
        self._on_change()

    def _end_pause(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
            self._on_change()


def _is_same(one: FormerSession | SandboxInfo | None, other: SandboxInfo) -> bool:
    """Whether they are one start of one sandbox."""
    return one is not None and (one.sandbox_id, one.boot_id) == (other.sandbox_id, other.boot_id)
