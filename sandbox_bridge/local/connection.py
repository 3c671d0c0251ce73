"""One peer's socket: its frames in, ours out, and whether it lives."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable
from contextlib import suppress
from typing import Any, Protocol

import structlog
from pydantic_core import from_json
from websockets.exceptions import ConcurrencyError, ConnectionClosed

from sandbox_bridge.local.session.endings import error_frame
from sandbox_bridge.local.session.session import Session
from sandbox_bridge.local.session.sessions import RefusedError, Sessions
from sandbox_bridge.local.session.slots import Slots
from sandbox_bridge.local.session.staging import Stagings
from sandbox_bridge.protocol import (
    MAX_CORE_FRAME_BYTES,
    MAX_FRAME_BYTES,
    PROTOCOL,
    BridgeHello,
    CancelTask,
    Credit,
    ExecuteTask,
    FileChunk,
    HealthCheck,
    ProtocolError,
    Resize,
    SessionOrder,
    SessionSignal,
    TaskInput,
    ToSandbox,
    encode,
    parse_to_sandbox,
)
from sandbox_bridge.salvage import with_whole_characters
from sandbox_bridge.settings import SandboxSettings

MAX_BAD_FRAMES = 20
BAD_FRAMES_WINDOW_S = 60.0
"""A peer that sends so many broken frames within so long is hopeless."""
POLICY_VIOLATION = 1008
_PINGS = 4
"""So many pings go to a silent peer before it is given up."""

log = structlog.get_logger()


class Socket(Protocol):
    """What we need of a WebSocket."""

    heard_at: float
    """When a byte last came, in the loop's time."""

    @property
    def transport(self) -> asyncio.Transport:
        """What is below it."""

    async def send(self, message: str, /) -> None:
        """Send one text message."""

    async def ping(self, data: bytes, /) -> Awaitable[float]:
        """Send a ping."""

    async def close(self, code: int, reason: str, /) -> None:
        """Close it."""

    def __aiter__(self) -> AsyncIterator[str | bytes]:
        """The messages that come."""


class Connection:
    """Speaks the protocol with one peer. It is the `Line` of that peer's sessions, which may outlive it.

    Until the peer says hello its sessions are `own`; then they are those that all such peers share.
    """

    def __init__(
        self,
        socket: Socket,
        settings: SandboxSettings,
        slots: Slots,
        hello: dict[str, Any],
        *,
        own: Sessions,
        shared: Sessions,
    ) -> None:
        self._socket = socket
        self._settings = settings
        self._slots = slots
        self._hello = hello
        self._sessions = own
        self._shared = shared
        self.hears_input_taken = False
        """See `Line`."""
        self._bad_frames_at: deque[float] = deque(maxlen=MAX_BAD_FRAMES)
        self._stagings = Stagings(settings.max_disk_mb << 20, settings.staging_timeout_s)
        self._now = asyncio.get_running_loop().time
        # The ping of its life, and the sessions that catch up: both end with the socket, in `run`.
        self._group: asyncio.TaskGroup
        self._life: asyncio.Task[None] | None = None

    async def run(self, *, greets: bool = False) -> None:
        """Serve the peer until its socket goes; its sessions then wait for it to come back, if it can.

        With `greets` it is we who dialled, and who say hello first.
        """
        try:
            async with asyncio.TaskGroup() as self._group:
                if greets:
                    await self._greet(set())
                await self._receive()
                if self._life is not None:
                    self._life.cancel()
        finally:
            self._sessions.leave(self, self._socket.heard_at)
            self._stagings.close()

    async def _receive(self) -> None:
        with suppress(ConnectionClosed):
            async for message in self._socket:
                try:
                    await self._handle(self._parse(message))
                except ProtocolError as error:
                    await self._complain(message, str(error))

    def _parse(self, message: str | bytes) -> ToSandbox:
        is_extended = self._sessions.is_extended
        if isinstance(message, bytes):
            raise ProtocolError("a frame is text")
        most = MAX_FRAME_BYTES if is_extended else MAX_CORE_FRAME_BYTES
        if len(message) > most or len(message.encode()) > most:
            raise ProtocolError(f"a frame is at most {most} bytes")
        frame = parse_to_sandbox(message)
        if not is_extended and not isinstance(frame, ExecuteTask | CancelTask | HealthCheck | BridgeHello):
            raise ProtocolError(f"{frame.type} needs a hello first")
        return frame

    async def _watch_life(self) -> None:
        """Hang up on a peer that said hello and has been silent for as long as its sessions would wait."""
        patience_s = self._settings.resume_s
        if not patience_s:
            return
        while (left_s := self._socket.heard_at + patience_s - self._now()) > 0:
            await self._ping(within_s=min(left_s, patience_s / _PINGS))
            await asyncio.sleep(min(left_s, patience_s / _PINGS))
        log.warning("peer_is_silent", silent_s=patience_s)
        self.abort()

    async def _ping(self, within_s: float) -> None:
        # Not one more while one is unanswered: a slow peer's answers would pile up.
        with suppress(ConnectionClosed, ConcurrencyError, TimeoutError):
            async with asyncio.timeout(within_s):
                await self._socket.ping(b"life")

    # --- frames ---------------------------------------------------------------------------------------

    async def _handle(self, frame: ToSandbox) -> None:
        match frame:
            case ExecuteTask():
                await self._accept(frame)
            case BridgeHello():
                await self._say_hello(frame)
            case HealthCheck():
                await self._tell_health()
            case CancelTask():
                await self._cancel(frame.session_id)
            case FileChunk():
                await self._stage(frame)
            case SessionSignal(type="close_session"):
                self._sessions.close(frame.session_id)
                self._stagings.drop(frame.session_id)
            case SessionSignal() | TaskInput() | Resize() | Credit():
                # For a session that has just ended it comes late; an answer would look like another end.
                if (session := self._sessions.get(frame.session_id)) is not None:
                    steer(session, frame)

    async def _accept(self, task: ExecuteTask) -> None:
        session_id = task.session_id
        if self._sessions.get(session_id) is not None:
            await self._send_error(session_id, "this session is running already", "bad_input")
            return
        staging = self._stagings.take(session_id)
        try:
            self._sessions.accept(task, staging, self)
        except RefusedError as refusal:
            if staging is not None:
                staging.close()
            await self._end(session_id, str(refusal), refusal.code)

    async def _tell_health(self) -> None:
        taken, places = self._slots.taken, self._slots.places
        health = {"type": "health", "status": "healthy", "active_sessions": taken, "max_sessions": places}
        await self.send(encode(health))

    async def _stage(self, chunk: FileChunk) -> None:
        if self._sessions.get(chunk.session_id) is not None:
            log.warning("file_chunk_after_task", session_id=chunk.session_id)
        elif not self._stagings.add(chunk):
            await self._socket.close(POLICY_VIOLATION, "too many sessions sent ahead")

    async def _cancel(self, session_id: str) -> None:
        if self._sessions.cancel(session_id, self):
            return
        if session_id in self._stagings:
            self._stagings.drop(session_id)
            await self._end(session_id, "cancelled before it began", "cancelled", reason="cancelled")
        elif not self._sessions.had(session_id):
            await self._send_error(session_id, "no such session", "unknown_session")

    async def _complain(self, message: str | bytes, words: str) -> None:
        now = self._now()
        self._bad_frames_at.append(now)
        session_id = readable_session_id(message)
        if self._sessions.get(session_id) is not None:
            # A task_error would end a session that has done nothing wrong.
            session_id = ""
        await self._send_error(session_id, words, "bad_input")
        is_hopeless = len(self._bad_frames_at) == MAX_BAD_FRAMES
        if is_hopeless and now - self._bad_frames_at[0] < BAD_FRAMES_WINDOW_S:
            await self._socket.close(POLICY_VIOLATION, "too many broken frames")

    # --- hello ----------------------------------------------------------------------------------------

    async def _say_hello(self, frame: BridgeHello) -> None:
        """Answer the first one; one that comes later only says what to do with sessions we offered."""
        if frame.protocol != PROTOCOL:
            raise ProtocolError(f"protocol: this is {PROTOCOL}")
        if not self._sessions.is_extended:
            if not self._sessions.is_untouched:
                raise ProtocolError("a hello comes first")
            await self._greet({order.session_id for order in frame.sessions})
        self.hears_input_taken = frame.input_taken
        for order in frame.sessions:
            await self._follow(order)

    async def _greet(self, named: set[str]) -> None:
        """Say our hello: from here on the extensions are spoken."""
        self._sessions = self._shared
        self._life = self._group.create_task(self._watch_life())
        await self.send(encode(self._hello | {"resume": self._shared.offers(named)}))

    async def _follow(self, order: SessionOrder) -> None:
        if order.action == "kill":
            self._sessions.cancel(order.session_id, self, is_its_bridge=True)
            return
        channel = self._sessions.resume(order.session_id, self, order.after_seq)
        if channel is None:
            await self._send_error(order.session_id, "it can't go on", "unknown_session", reason="lost")
        else:
            self._group.create_task(channel.go_on())

    # --- out ------------------------------------------------------------------------------------------

    async def _end(self, session_id: str, words: str, code: str, reason: str | None = None) -> None:
        self._sessions.remember(session_id)
        await self._send_error(session_id, words, code, reason)

    async def _send_error(self, session_id: str, words: str, code: str, reason: str | None = None) -> None:
        await self.send(encode({"session_id": session_id} | error_frame(words, code, reason=reason)))

    async def send(self, text: str) -> None:
        """Send one frame, waiting while the peer is slow; to a peer that is gone nothing is sent."""
        try:
            # The frame is in the socket's buffer before this waits: cancelled, it is whole all the same.
            async with asyncio.timeout(self._settings.send_timeout_s):
                await self._socket.send(text)
        except ConnectionClosed:
            pass  # `_receive` learns it, too
        except TimeoutError:
            log.warning("peer_takes_nothing")
            self.abort()

    def abort(self) -> None:
        """Hang up without a word."""
        self._socket.transport.abort()


def steer(session: Session, frame: SessionSignal | TaskInput | Resize | Credit) -> None:
    """Have `session` do what `frame` asks."""
    match frame:
        case SessionSignal():
            session.wish_nowait(paused=frame.type == "pause_task")
        case TaskInput():
            session.put_input_nowait(frame.data, eof=frame.eof, seq=frame.seq)
        case Resize():
            session.resize_nowait(frame.cols, frame.rows)
        case Credit():
            session.grant_nowait(frame.bytes)


def readable_session_id(message: str | bytes) -> str:
    """The session that a broken frame is about, or "" where that can't be told."""
    try:
        # As lenient as the frame's own parser, which takes NaN for JSON; half a character leaves the rest whole.
        frame = from_json(with_whole_characters(message) if isinstance(message, str) else message)
    except ValueError:
        return ""
    session_id = frame.get("session_id") if isinstance(frame, dict) else None
    return session_id if isinstance(session_id, str) and len(session_id) <= 200 else ""
