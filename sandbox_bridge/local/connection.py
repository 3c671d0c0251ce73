"""One peer: its frames in, its sessions, their frames out."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterator
from itertools import chain, count
from typing import Any

import structlog
from pydantic_core import from_json
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from sandbox_bridge.local.credit import Allowance
from sandbox_bridge.local.limits import BadInputError
from sandbox_bridge.local.orders import check_order
from sandbox_bridge.local.session import Files, Place, Session
from sandbox_bridge.local.staging import Staging
from sandbox_bridge.protocol import (
    INITIAL_CREDIT_BYTES,
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
    SessionSignal,
    TaskInput,
    ToSandbox,
    encode,
    parse_to_sandbox,
)

MAX_REMEMBERED = 10_000
"""Ended sessions of a connection whose late cancels are ignored."""
MAX_BAD_FRAMES = 20
BAD_FRAMES_WINDOW_S = 60.0
"""A peer that sends so many broken frames within so long is hopeless."""
MAX_STAGINGS = 64
"""Sessions whose files were sent ahead, of one connection; a peer that exceeds it is hopeless, too."""
POLICY_VIOLATION = 1008

log = structlog.get_logger()


class Slots:
    """Room for sessions, over all connections."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.active = 0

    def take(self) -> bool:
        """One of them, if there is one."""
        if self.active >= self.total:
            return False
        self.active += 1
        return True

    def release(self) -> None:
        """Give it back."""
        self.active -= 1


class Connection:
    """Speaks the protocol with one peer, who has no word in any other's sessions."""

    def __init__(self, socket: ServerConnection, place: Place, slots: Slots, hello: dict[str, Any]) -> None:
        self._socket = socket
        self._place = place
        self._slots = slots
        self._hello = hello
        self._is_extended = False
        self._bad_frames_at: deque[float] = deque(maxlen=MAX_BAD_FRAMES)
        self._sessions: dict[str, Session] = {}
        self._stagings: dict[str, Staging] = {}
        # One per staging: drops it when its task does not come.
        self._expiries: dict[str, asyncio.TimerHandle] = {}
        self._ended: OrderedDict[str, None] = OrderedDict()
        # One per session, owned by the task group that lives as long as `run`.
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Serve the peer until its socket goes; its sessions go with it."""
        try:
            async with asyncio.TaskGroup() as group:
                try:
                    await self._receive(group)
                finally:
                    self.drop_nowait()
        finally:
            for session_id in list(self._stagings):
                self._unstage(session_id)

    def drop_nowait(self) -> None:
        """Kill all sessions of this connection, without a last word."""
        for task in self._tasks:
            # Once: a second cancel would interrupt the wait for the jail's end.
            if not task.cancelling():
                task.cancel()

    async def _receive(self, group: asyncio.TaskGroup) -> None:
        async for message in self._socket:
            try:
                frame = self._parse(message)
                if isinstance(frame, ExecuteTask):
                    await self._accept(frame, group)
                else:
                    await self._handle(frame)
            except ProtocolError as error:
                await self._complain(message, str(error))

    def _parse(self, message: str | bytes) -> ToSandbox:
        if isinstance(message, bytes):
            raise ProtocolError("a frame is text")
        if self._is_extended and len(message.encode()) > MAX_FRAME_BYTES:
            raise ProtocolError(f"a frame is at most {MAX_FRAME_BYTES} bytes")
        frame = parse_to_sandbox(message)
        if not self._is_extended and not isinstance(
            frame, ExecuteTask | CancelTask | HealthCheck | BridgeHello
        ):
            raise ProtocolError(f"{frame.type} needs a hello first")
        return frame

    # --- frames ---------------------------------------------------------------------------------------

    async def _handle(self, frame: ToSandbox) -> None:
        match frame:
            case BridgeHello():
                await self._say_hello(frame)
            case HealthCheck():
                await self._send(
                    {
                        "type": "health",
                        "status": "healthy",
                        "active_sessions": self._slots.active,
                        "max_sessions": self._slots.total,
                    }
                )
            case CancelTask():
                await self._cancel(frame.session_id)
            case FileChunk():
                await self._stage(frame)
            case SessionSignal(type="close_session"):
                self._close_session(frame.session_id)
            case SessionSignal() | TaskInput() | Resize():
                # We do not name them in our hello; an error here would look like the session's end.
                log.warning("frame_without_capability", frame=frame.type)
            case Credit():
                session = self._sessions.get(frame.session_id)
                if session is not None:
                    session.grant_nowait(frame.bytes)

    async def _say_hello(self, frame: BridgeHello) -> None:
        if frame.protocol != PROTOCOL:
            raise ProtocolError(f"protocol: this is {PROTOCOL}")
        if self._is_extended or self._sessions or self._ended:
            raise ProtocolError("a hello comes first")
        self._is_extended = True
        await self._send(self._hello)

    async def _cancel(self, session_id: str) -> None:
        session = self._sessions.get(session_id)
        if session is not None:
            session.stop_nowait()
        elif session_id in self._stagings:
            self._unstage(session_id)
            await self._end(session_id, "cancelled before it began", "cancelled", reason="cancelled")
        elif session_id not in self._ended:
            await self._send_error(session_id, "no such session", "unknown_session")

    def _close_session(self, session_id: str) -> None:
        session = self._sessions.get(session_id)
        if session is not None:
            session.stop_nowait()
        self._unstage(session_id)

    async def _complain(self, message: str | bytes, words: str) -> None:
        now = asyncio.get_running_loop().time()
        self._bad_frames_at.append(now)
        session_id = readable_session_id(message)
        if session_id in self._sessions:
            # A task_error would end a session that has done nothing wrong.
            session_id = ""
        await self._send_error(session_id, words, "bad_input")
        is_hopeless = len(self._bad_frames_at) == MAX_BAD_FRAMES
        if is_hopeless and now - self._bad_frames_at[0] < BAD_FRAMES_WINDOW_S:
            await self._socket.close(POLICY_VIOLATION, "too many broken frames")

    # --- files sent ahead -----------------------------------------------------------------------------

    async def _stage(self, chunk: FileChunk) -> None:
        if chunk.session_id in self._sessions:
            log.warning("file_chunk_after_task", session_id=chunk.session_id)
            return
        staging = self._stagings.get(chunk.session_id)
        if staging is None:
            if len(self._stagings) >= MAX_STAGINGS:
                await self._socket.close(POLICY_VIOLATION, "too many sessions sent ahead")
                return
            staging = self._stagings[chunk.session_id] = Staging(self._place.settings.max_disk_mb << 20)
        staging.add(chunk)
        self._expire_later(chunk.session_id)

    def _expire_later(self, session_id: str) -> None:
        if (former := self._expiries.pop(session_id, None)) is not None:
            former.cancel()
        self._expiries[session_id] = asyncio.get_running_loop().call_later(
            self._place.settings.staging_timeout_s, self._unstage, session_id
        )

    def _unstage(self, session_id: str) -> None:
        staging = self._take_staging(session_id)
        if staging is not None:
            staging.close()

    def _take_staging(self, session_id: str) -> Staging | None:
        if (expiry := self._expiries.pop(session_id, None)) is not None:
            expiry.cancel()
        return self._stagings.pop(session_id, None)

    # --- sessions -------------------------------------------------------------------------------------

    async def _accept(self, task: ExecuteTask, group: asyncio.TaskGroup) -> None:
        session_id = task.session_id
        if session_id in self._sessions:
            await self._send_error(session_id, "this session is running already", "bad_input")
            return
        staging = self._take_staging(session_id)
        try:
            order = check_order(task, self._place.settings, staging.paths() if staging else [])
        except BadInputError as error:
            await self._refuse(session_id, str(error), "bad_input", staging)
            return
        if not self._slots.take():
            await self._refuse(session_id, "all sessions are taken", "busy", staging)
            return
        credit = Allowance(INITIAL_CREDIT_BYTES if self._is_extended else None)
        session = Session(order, self._place, credit, self._progress_sender(session_id))
        self._sessions[session_id] = session
        files = ((path, pieces_of(data)) for path, data in order.files)
        ahead = staging.files() if staging else ()
        runner = group.create_task(self._run_session(session_id, session, chain(files, ahead), staging))
        self._tasks.add(runner)
        runner.add_done_callback(self._tasks.discard)

    async def _refuse(self, session_id: str, words: str, code: str, staging: Staging | None) -> None:
        if staging is not None:
            staging.close()
        await self._end(session_id, words, code)

    async def _run_session(
        self, session_id: str, session: Session, files: Files, staging: Staging | None
    ) -> None:
        try:
            frame = await self._outcome(session, files)
            del self._sessions[session_id]
            self._remember(session_id)
            # The place is free only when the last frame is out: a peer that takes none can't have more.
            await self._send({"session_id": session_id} | frame)
        finally:
            self._sessions.pop(session_id, None)
            self._slots.release()
            if staging is not None:
                staging.close()

    async def _outcome(self, session: Session, files: Files) -> dict[str, Any]:
        try:
            return await session.run(files)
        except Exception:  # the border: one session's bug is not the others' end
            log.exception("session_failed")
            return error_frame("the sandbox failed", "sandbox_lost", reason="lost")

    def _progress_sender(self, session_id: str) -> Callable[[dict[str, Any]], Awaitable[None]]:
        numbers = count(1)

        async def send(progress: dict[str, Any]) -> None:
            frame = {"type": "task_progress", "session_id": session_id, "progress": progress}
            await self._send(frame | {"seq": next(numbers)} if self._is_extended else frame)

        return send

    # --- out ------------------------------------------------------------------------------------------

    async def _end(self, session_id: str, words: str, code: str, reason: str | None = None) -> None:
        self._remember(session_id)
        await self._send_error(session_id, words, code, reason)

    def _remember(self, session_id: str) -> None:
        self._ended[session_id] = None
        if len(self._ended) > MAX_REMEMBERED:
            self._ended.popitem(last=False)

    async def _send_error(self, session_id: str, words: str, code: str, reason: str | None = None) -> None:
        await self._send({"session_id": session_id} | error_frame(words, code, reason=reason))

    async def _send(self, frame: dict[str, Any]) -> None:
        try:
            # The frame is in the socket's buffer before this waits: cancelled, it is whole all the same.
            async with asyncio.timeout(self._place.settings.send_timeout_s):
                await self._socket.send(encode(frame))
        except ConnectionClosed:
            pass  # `_receive` learns it, too, and ends the sessions
        except TimeoutError:
            log.warning("peer_takes_nothing")
            self._socket.transport.abort()


def error_frame(words: str, code: str, *, reason: str | None = None) -> dict[str, Any]:
    """A `task_error` of a task that has not run, without its id."""
    info = {"code": code, "exit_code": None, "reason": reason, "result": None}
    return {"type": "task_error", "error": words, "error_info": info}


def readable_session_id(message: str | bytes) -> str:
    """The session that a broken frame is about, or "" where that can't be told."""
    try:
        frame = from_json(message)  # as lenient as the frame's own parser, which takes NaN for JSON
    except ValueError:
        return ""
    session_id = frame.get("session_id") if isinstance(frame, dict) else None
    return session_id if isinstance(session_id, str) and len(session_id) <= 200 else ""


def pieces_of(data: bytes) -> Iterator[bytes]:
    """`data` in pieces that fit into the jail's socket."""
    for start in range(0, len(data), 64 << 10):
        yield data[start : start + (64 << 10)]
