"""One connection's traffic: the reader hands what comes to the calls, the writer, the only one who sends,
takes from them in turn. A link is made when a sandbox has said who it is, and lost once."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable

import structlog

from sandbox_bridge.calls import Call, CallTimes
from sandbox_bridge.connection import FrameTransport
from sandbox_bridge.errors import SandboxBusy, SandboxLost, TransportClosed
from sandbox_bridge.handshake import SandboxInfo
from sandbox_bridge.protocol import (
    MAX_FRAME_BYTES,
    CancelTask,
    FileChunk,
    FromSandbox,
    Health,
    HealthCheck,
    ProtocolError,
    SandboxHello,
    SessionSignal,
    TaskCompleted,
    TaskError,
    TaskProgress,
    TaskSignal,
    encode,
    parse_from_sandbox,
)
from sandbox_bridge.salvage import session_of_broken_frame
from sandbox_bridge.spec import TaskSpec

MAX_BROKEN_FRAMES = 20
"""On one connection, before it is given up: who sends so many speaks something else."""

log = structlog.get_logger(__name__)


class Link:
    """The sessions on one connection. Knows its sandbox as `info`, which a late `hello` can better."""

    def __init__(
        self,
        transport: FrameTransport,
        info: SandboxInfo,
        *,
        info_of: Callable[[SandboxHello], SandboxInfo],
        on_change: Callable[[], None],
        wall_clock: Callable[[], float],
        send_s: float,
        answer_s: float,
        busy_s: float,
        call_times: CallTimes,
    ) -> None:
        self.info = info
        self.calls: dict[str, Call] = {}
        self._transport = transport
        self._info_of = info_of
        self._on_change = on_change
        self._wall_clock = wall_clock
        self._send_s = send_s
        self._answer_s = answer_s
        self._busy_s = busy_s
        self._call_times = call_times
        # Calls with something to send, each once, who waits longest first.
        self._due: deque[Call] = deque()
        self._work = asyncio.Event()
        # The end of a `busy` pause, while there is one.
        self._pause: asyncio.TimerHandle | None = None
        # A health check that awaits its answer; all who ask meanwhile share it. None means: connection lost.
        self._health: asyncio.Future[Health | None] | None = None
        self._health_due = False

    @property
    def free(self) -> int:
        """Sessions that there is room for now."""
        return 0 if self._pause is not None else max(0, self.info.max_sessions - len(self.calls))

    def open(self, session_id: str, spec: TaskSpec, *, stream: bool) -> Call:
        """A new call, that the writer starts when it comes to it."""
        call = Call(
            session_id,
            spec,
            stream=stream,
            times=self._call_times,
            info=lambda: self.info,
            on_work=self._post,
            on_end=self._ended,
        )
        self.calls[session_id] = call
        self._post(call)
        self._on_change()
        return call

    async def health(self) -> Health:
        """The answer to `health_check`. Raises `SandboxLost` if none comes."""
        if self._health is None:
            self._health = asyncio.get_running_loop().create_future()
            self._health_due = True
            self._work.set()
        asked = self._health
        health = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._answer_s):
                health = await asyncio.shield(asked)
        if health is None:
            self._health = None
            raise SandboxLost(f"{self.info.address} does not answer")
        return health

    # --- the connection ---

    async def serve(self) -> str:
        """Carry frames until the connection ends; returns why it did."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._write())
                await self._read()
        except* TransportClosed as errors:
            reason = str(errors.exceptions[0])
        return reason

    async def end_sessions(self, within_s: float) -> None:
        """The last words of a bridge that goes: whatever runs for it shall end."""
        with contextlib.suppress(TransportClosed, TimeoutError):
            async with asyncio.timeout(within_s):
                for session_id in self.calls:
                    await self._transport.send(encode(self._last_word(session_id)))

    def lose(self, problem: str) -> None:
        """The connection is gone, and every session with it."""
        for call in list(self.calls.values()):
            call.fail(SandboxLost(problem) if call.is_started else SandboxBusy(problem))
        if self._health is not None and not self._health.done():
            self._health.set_result(None)
        if self._pause is not None:
            self._pause.cancel()

    def _last_word(self, session_id: str) -> CancelTask | SessionSignal:
        if self.info.extended:
            return SessionSignal(type="close_session", session_id=session_id)
        return CancelTask(type="cancel_task", session_id=session_id)

    # --- from the sandbox ---

    async def _read(self) -> None:
        """Hand over what comes, until `TransportClosed`."""
        broken = 0
        while True:
            text = await self._transport.recv()
            if self.info.extended and len(text) > MAX_FRAME_BYTES:
                raise TransportClosed(f"the sandbox sent a frame of more than {MAX_FRAME_BYTES} bytes")
            try:
                frame = parse_from_sandbox(text)
            except ProtocolError as error:
                broken += 0 if self._blame_session(text, error) else 1
                if broken > MAX_BROKEN_FRAMES:
                    raise TransportClosed(f"the sandbox does not keep to the protocol: {error}") from error
            else:
                await self._hand_over(frame, len(text))

    async def _hand_over(self, frame: FromSandbox, nbytes: int) -> None:
        call = self._dispatch(frame, nbytes)
        if call is not None:
            # Back-pressure: the socket waits while this session's reader is behind.
            await call.inbox.has_room.wait()

    def _dispatch(self, frame: FromSandbox, nbytes: int) -> Call | None:
        """Hand `frame` to whom it concerns; the call it was for, if any."""
        match frame:
            case Health():
                self._on_health(frame)
                return None
            case SandboxHello():
                self._on_late_hello(frame)
                return None
        call = self.calls.get(frame.session_id)
        if call is None:
            return None
        match frame:
            case TaskProgress():
                call.deliver(frame.progress, nbytes)
            case FileChunk():
                chunk = frame.model_dump(exclude={"type", "session_id", "seq"})
                call.deliver({"kind": "file_chunk", **chunk}, nbytes)
            case TaskSignal():
                call.signalled(is_paused=frame.type == "task_paused")
            case TaskCompleted():
                call.complete(frame.result)
            case TaskError():
                call.fail_by(frame)
        return call

    def _blame_session(self, text: str, error: ProtocolError) -> bool:
        """Whether a frame that did not parse is one session's affair, which it then costs at most.

        An end that can't be read is an end all the same; nobody will say another.
        """
        session_id, is_end = session_of_broken_frame(text)
        log.warning("broken frame", address=self.info.address, session_id=session_id, error=str(error))
        call = self.calls.get(session_id) if session_id is not None else None
        if call is not None and is_end:
            call.fail(SandboxLost(f"the end of the session can't be read: {error}"))
        return call is not None

    def _on_health(self, health: Health) -> None:
        if self._health is not None and not self._health.done():
            self._health.set_result(health)
            self._health = None

    def _on_late_hello(self, hello: SandboxHello) -> None:
        """Both have said `hello` now, if one late: the sandbox counts credit from here on, and so must we."""
        if self.info.extended:
            return
        self.info = self._info_of(hello)
        for call in self.calls.values():
            self._post(call)
        self._on_change()

    # --- to the sandbox ---

    async def _write(self) -> None:
        """Send what is due, until `TransportClosed`."""
        while True:
            frame = self._next_frame()
            if frame is None:
                self._work.clear()
                await self._work.wait()
                continue
            try:
                async with asyncio.timeout(self._send_s):
                    await self._transport.send(frame)
            except TimeoutError:
                raise TransportClosed(f"the sandbox took nothing for {self._send_s:g} s") from None

    def _next_frame(self) -> str | None:
        """One frame of each call in turn, so that a large task delays nobody's cancel."""
        if self._health_due:
            self._health_due = False
            return encode(HealthCheck(type="health_check"))
        while self._due:
            call = self._due.popleft()
            frame = call.next_frame(extended=self.info.extended, now=self._wall_clock())
            if frame is not None:
                self._due.append(call)
                return frame
        return None

    def _post(self, call: Call) -> None:
        if call not in self._due:
            self._due.append(call)
        self._work.set()

    def _ended(self, call: Call) -> None:
        del self.calls[call.session_id]
        if isinstance(call.error, SandboxBusy) and self._pause is None:
            self._pause = asyncio.get_running_loop().call_later(self._busy_s, self._end_pause)
        self._on_change()

    def _end_pause(self) -> None:
        self._pause = None
        self._on_change()
