"""One connection's traffic: the reader hands what comes to the calls, the writer, the only one who sends,
takes from them in turn. A link is made when a sandbox has said who it is, and ends once; the calls outlive it."""

import asyncio
import contextlib
import traceback
from collections import deque
from collections.abc import Callable

import structlog

from sandbox_bridge.call import Call
from sandbox_bridge.call_table import CallTable
from sandbox_bridge.connection import FrameTransport
from sandbox_bridge.errors import SandboxLost, TransportClosed
from sandbox_bridge.handshake import SandboxInfo
from sandbox_bridge.protocol import (
    MAX_FRAME_BYTES,
    CancelTask,
    FileChunk,
    FromSandbox,
    Health,
    HealthCheck,
    InputTaken,
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

MAX_BROKEN_FRAMES = 20
"""On one connection, before it is given up: who sends so many speaks something else."""
MAX_SAID = 500
"""Characters of a sandbox's own in a line of the log."""
MAX_CLOSING = 1000
"""Sessions to be closed that wait to be told of; more, and the oldest is left to its own end."""

log = structlog.get_logger(__name__)


class Link:
    """The sessions of `table` on one connection. Knows its sandbox as `info`, which a late `hello` can better."""

    def __init__(
        self,
        transport: FrameTransport,
        info: SandboxInfo,
        table: CallTable,
        *,
        info_of: Callable[[SandboxHello], SandboxInfo],
        on_change: Callable[[], None],
        wall_clock: Callable[[], float],
        send_s: float,
        answer_s: float,
    ) -> None:
        self.info = info
        self._transport = transport
        self._table = table
        self._info_of = info_of
        self._on_change = on_change
        self._wall_clock = wall_clock
        self._send_s = send_s
        self._answer_s = answer_s
        # A health check that awaits its answer; all who ask meanwhile share it. None means: connection lost.
        self._health: asyncio.Future[Health | None] | None = None
        self._health_due = False
        # Sessions to be closed that are not, or no more, of the table.
        self._closing: deque[str] = deque(maxlen=MAX_CLOSING)
        self._broken_frames = 0

    def close_session(self, session_id: str) -> None:
        """Have the sandbox end a session, whoever began it, and what it has left."""
        self._closing.append(session_id)
        self._table.work.set()

    async def health(self) -> Health:
        """The answer to `health_check`. Raises `SandboxLost` if none comes."""
        if self._health is None:
            self._health = asyncio.get_running_loop().create_future()
            self._health_due = True
            self._table.work.set()
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

    async def serve(self) -> TransportClosed:
        """Carry frames until the connection ends; returns how it did."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._write())
                await self._read()
        except* TransportClosed as errors:
            traceback.clear_frames(errors.__traceback__)  # they hold the error, which holds them
            ends = [end for end in errors.exceptions if isinstance(end, TransportClosed)]
        finally:
            if self._health is not None and not self._health.done():
                self._health.set_result(None)
            if self._broken_frames > 1:
                log.warning("broken frames", address=self.info.address, count=self._broken_frames)
        # A task group that is ending anyway swallows the cancel that comes just then (Python 3.11).
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError
        return ends[0].with_traceback(None)

    async def end_sessions(self, within_s: float) -> None:
        """The last words of a bridge that goes: whatever runs for it shall end."""
        with contextlib.suppress(TransportClosed, TimeoutError):
            async with asyncio.timeout(within_s):
                for session_id in self._table.calls:
                    await self._transport.send(self._last_word(session_id))

    def _last_word(self, session_id: str) -> str:
        if self.info.extended:
            return encode(SessionSignal(type="close_session", session_id=session_id))
        return encode(CancelTask(type="cancel_task", session_id=session_id))

    # --- from the sandbox ---

    async def _read(self) -> None:
        """Hand over what comes, until `TransportClosed`."""
        broken = 0
        while True:
            text = await self._transport.recv()
            if self.info.extended and len(text) > MAX_FRAME_BYTES:
                words = f"the sandbox sent a frame of more than {MAX_FRAME_BYTES} bytes"
                raise TransportClosed(words, is_final=True)
            try:
                frame = parse_from_sandbox(text)
            except ProtocolError as error:
                broken += 0 if self._blame_session(text, error) else 1
                if broken > MAX_BROKEN_FRAMES:
                    words = f"the sandbox does not keep to the protocol: {error}"
                    raise TransportClosed(words, is_final=True) from error
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
        call = self._table.calls.get(frame.session_id)
        if call is None or not (isinstance(frame, TaskSignal | InputTaken) or call.receive(frame.seq)):
            return None
        match frame:
            case TaskProgress():
                call.deliver(frame.progress, nbytes)
            case FileChunk():
                chunk = frame.model_dump(exclude={"type", "session_id", "seq"})
                call.deliver({"kind": "file_chunk", **chunk}, nbytes)
            case TaskSignal():
                call.signalled(is_paused=frame.type == "task_paused")
            case InputTaken():
                call.out.take_input(frame.input_seq)
                call.on_input_moved()
            case TaskCompleted():
                call.complete(frame.result or {})
            case TaskError():
                call.fail_by(frame)
        return call

    def _blame_session(self, text: str, error: ProtocolError) -> bool:
        """Whether a frame that did not parse is one session's affair, which it then costs at most.

        An end that can't be read is an end all the same; nobody will say another.
        """
        session_id, is_end = session_of_broken_frame(text)
        self._broken_frames += 1
        if self._broken_frames == 1:  # one line and a count: a hostile one sends them without end
            said = {"session_id": session_id and session_id[:MAX_SAID], "error": str(error)[:MAX_SAID]}
            log.warning("broken frame", address=self.info.address, **said)
        call = self._table.calls.get(session_id) if session_id is not None else None
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
        self.info = self._table.info = self._info_of(hello)
        self._table.post_all()
        self._on_change()

    # --- to the sandbox ---

    async def _write(self) -> None:
        """Send what is due, until `TransportClosed`."""
        while True:
            frame = self._next_frame()
            if frame is None:
                self._table.work.clear()
                await self._table.work.wait()
                continue
            try:
                async with asyncio.timeout(self._send_s):
                    await self._transport.send(frame)
            except TimeoutError:
                raise TransportClosed(f"the sandbox took nothing for {self._send_s:g} s") from None

    def _next_frame(self) -> str | None:
        if self._health_due:
            self._health_due = False
            return encode(HealthCheck(type="health_check"))
        if self._closing:
            return self._last_word(self._closing.popleft())
        return self._table.next_frame(extended=self.info.extended, now=self._wall_clock())
