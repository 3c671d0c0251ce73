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
from sandbox_bridge.local.sites import KeptSite
from sandbox_bridge.local.staging import Staging, Stagings
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
        self._stagings = Stagings(place.settings.max_disk_mb << 20, place.settings.staging_timeout_s)
        self._ended: OrderedDict[str, None] = OrderedDict()
        # What tasks that have ended have left, by their sessions.
        self._sites: dict[str, KeptSite] = {}
        # One per session, owned by the task group that lives as long as `run`; of them, those that only
        # keep a site, which a lost socket leaves alone.
        self._tasks: set[asyncio.Task[None]] = set()
        self._keeping: set[asyncio.Task[None]] = set()
        self.is_gone = False
        """Whether the peer is; its sites may be there still."""

    async def run(self) -> None:
        """Serve the peer until its socket goes; its sessions go with it, and its sites when they are idle."""
        async with asyncio.TaskGroup() as group:
            try:
                await self._receive(group)
            finally:
                self.is_gone = True
                self._drop(self._tasks - self._keeping)
                self._stagings.close()

    def drop_nowait(self) -> None:
        """Kill all sessions and sites of this connection, without a last word."""
        self._drop(self._tasks)

    def _drop(self, tasks: set[asyncio.Task[None]]) -> None:
        for task in tasks:
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
                if frame.session_id in self._sessions:
                    log.warning("file_chunk_after_task", session_id=frame.session_id)
                elif not self._stagings.add(frame):
                    await self._socket.close(POLICY_VIOLATION, "too many sessions sent ahead")
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
            self._stagings.drop(session_id)
            await self._end(session_id, "cancelled before it began", "cancelled", reason="cancelled")
        elif session_id not in self._ended:
            await self._send_error(session_id, "no such session", "unknown_session")

    def _close_session(self, session_id: str) -> None:
        for closed in (self._sessions.get(session_id), self._sites.get(session_id)):
            if closed is not None:
                closed.stop_nowait()
        self._stagings.drop(session_id)

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

    # --- sessions -------------------------------------------------------------------------------------

    async def _accept(self, task: ExecuteTask, group: asyncio.TaskGroup) -> None:
        session_id = task.session_id
        if session_id in self._sessions:
            await self._send_error(session_id, "this session is running already", "bad_input")
            return
        staging = self._stagings.take(session_id)
        try:
            order = check_order(task, self._place.settings, staging.paths() if staging else [])
        except BadInputError as error:
            await self._refuse(session_id, str(error), "bad_input", staging)
            return
        if not self._slots.take():
            await self._refuse(session_id, "all sessions are taken", "busy", staging)
            return
        if (former := self._sites.get(session_id)) is not None:
            former.stop_nowait()
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
            await self._finish(session_id, session, files, staging)
            if session.site is not None and not self.is_gone:
                await self._keep(session.site)
        finally:
            if session.site is not None:
                if self._sites.get(session_id) is session.site:
                    del self._sites[session_id]
                await session.site.aclose()

    async def _finish(self, session_id: str, session: Session, files: Files, staging: Staging | None) -> None:
        try:
            frame = await self._outcome(session, files)
            del self._sessions[session_id]
            if session.site is not None:
                self._sites[session_id] = session.site
            self._remember(session_id)
            # The place is free only when the last frame is out: a peer that takes none can't have more.
            await self._send({"session_id": session_id} | frame)
        finally:
            if self._sessions.get(session_id) is session:
                del self._sessions[session_id]
            self._slots.release()
            if staging is not None:
                staging.close()

    async def _keep(self, site: KeptSite) -> None:
        task = asyncio.current_task()
        self._keeping.update({task} if task is not None else ())
        try:
            with self._place.keeper.keep(site):
                await site.wait(self._place.settings.site_idle_s)
        finally:
            self._keeping -= {task}

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
