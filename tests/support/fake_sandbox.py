"""A small real sandbox service without a jail: it speaks the whole wire, and runs a scripted task language.

A verified fake: `tests/contracts/test_sandbox.py` holds it and the real service to the same rules. It stands
on asyncio's timers alone, so it runs under virtual time; `dial` meets it without any socket.

The language is that of `tests/support/task_script.py`.
"""

import asyncio
import base64
import http
import itertools
from typing import Any, Literal, Self

import orjson
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from sandbox_bridge.connection import FrameTransport
from sandbox_bridge.errors import TransportClosed
from sandbox_bridge.protocol import (
    MAX_CORE_FRAME_BYTES,
    PROTOCOL,
    RESUME_S,
    Base64File,
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
    parse_to_sandbox,
)
from tests.support.fake_session import FakeSession
from tests.support.memory_transport import MemoryTransport, memory_pair
from tests.support.task_script import elapse

CAPABILITIES = ("pause", "stdin", "tty", "limits", "collect", "backpressure", "stderr_split")
HelloManner = Literal["answer", "ignore", "refuse", "close"]
"""What it does when greeted: `ignore`, `refuse` (another frame in return) and `close` are core-only peers."""


class FakeSandbox:
    """A sandbox service at `url` while its context is open; `listen=False` leaves only `dial`.

    `received` is every frame that came, in order; `dials` counts connections, `taken_up` sessions that went on
    over another one. `hello_delay_s` is how long a greeting waits for its answer; with `mute` nothing is ever
    answered at all.
    """

    def __init__(
        self,
        *,
        hello: HelloManner = "answer",
        hello_delay_s: float = 0.0,
        mute: bool = False,
        max_sessions: int = 8,
        capabilities: tuple[str, ...] = CAPABILITIES,
        sandbox_id: str = "fake-1",
        boot_id: str = "boot-1",
        token: str | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        listen: bool = True,
        max_timeout_s: float | None = None,
    ) -> None:
        self.hello = hello
        self.hello_delay_s = hello_delay_s
        self.mute = mute
        self.max_timeout_s = max_timeout_s
        self.max_sessions = max_sessions
        self.capabilities = capabilities
        self.sandbox_id = sandbox_id
        self.boot_id = boot_id
        self.token = token
        self.received: list[dict[str, Any]] = []
        self.dials = 0
        self.taken_up = 0
        self.is_away = False
        """It can't be dialled."""
        self.sessions: dict[str, FakeSession] = {}
        """Those that run."""
        self.ended: dict[str, FakeSession] = {}
        self._tasks: dict[str, list[asyncio.Task[None]]] = {}
        self._host = host
        self._port = port
        self._listen = listen
        self._server: Server | None = None
        self._open: set[FrameTransport] = set()
        # Serve connections in memory; ended by `__aexit__`, which raises what they raised.
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"ws://{self._host}:{self._port}/ws"

    async def __aenter__(self) -> Self:
        if self._listen:
            self._server = await serve(
                self._serve_socket,
                self._host,
                self._port,
                process_request=self._check_request,
                compression=None,
                max_size=MAX_CORE_FRAME_BYTES,
                ping_interval=None,
                close_timeout=1,
            )
            for listener in self._server.sockets:
                self._port = listener.getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
        tasks = [*self._serving, *itertools.chain.from_iterable(self._tasks.values())]
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome

    async def dial(self) -> FrameTransport:
        """A connection in memory to it. Raises `TransportClosed` while it is away."""
        if self.is_away:
            raise TransportClosed("away")
        ours, theirs = memory_pair()
        self._serving.add(asyncio.create_task(self._serve(ours)))
        return theirs

    def drop(self) -> None:
        """Break every connection; what is on its way is lost."""
        for transport in self._open:
            match transport:
                case MemoryTransport():
                    transport.close_nowait(loses=True)
                case ServerSocket():
                    transport.connection.transport.abort()

    def restart(self, boot_id: str) -> None:
        """Be another process: nothing is left of what ran."""
        self.boot_id = boot_id
        for session_id in [*self.sessions, *self.ended]:
            self.forget(session_id)
        self.drop()

    def start(self, session: FakeSession) -> None:
        """Run `session`."""
        self.ended.pop(session.session_id, None)
        self.sessions[session.session_id] = session
        self._tasks.setdefault(session.session_id, []).extend(
            asyncio.create_task(part) for part in (session.run(), session.carry())
        )

    def end(self, session: FakeSession) -> None:
        """It has its end, which can be asked for again for a while."""
        self.ended[session.session_id] = self.sessions.pop(session.session_id)

    def forget(self, session_id: str) -> None:
        """End a session without a word."""
        self.sessions.pop(session_id, None)
        self.ended.pop(session_id, None)
        for task in self._tasks.get(session_id, ()):
            task.cancel()

    def leave(self, connection: "_Connection") -> None:
        """`connection` is gone; of what it had, what an extended peer may come back for is kept for a while."""
        loop = asyncio.get_running_loop()
        for session in [*self.sessions.values(), *self.ended.values()]:
            if session.connection is connection:
                session.detach()
                if connection.extended:
                    loop.call_later(RESUME_S, self._expire, session)
                else:
                    self.forget(session.session_id)

    def _expire(self, session: FakeSession) -> None:
        if session.connection is None and session in (*self.sessions.values(), *self.ended.values()):
            self.forget(session.session_id)

    def count(self, kind: str) -> int:
        """How many frames of the type `kind` came."""
        return sum(frame.get("type") == kind for frame in self.received)

    def _check_request(self, connection: ServerConnection, request: Request) -> Response | None:
        if request.path != "/ws":
            return connection.respond(http.HTTPStatus.NOT_FOUND, "not here\n")
        if self.token is not None and request.headers.get("Authorization") != f"Bearer {self.token}":
            return connection.respond(http.HTTPStatus.UNAUTHORIZED, "token needed\n")
        return None

    async def _serve_socket(self, connection: ServerConnection) -> None:
        await self._serve(ServerSocket(connection))

    async def _serve(self, transport: FrameTransport) -> None:
        self.dials += 1
        self._open.add(transport)
        try:
            await _Connection(self, transport).serve()
        finally:
            self._open.discard(transport)


class ServerSocket:
    """A `FrameTransport` over the server's end of a WebSocket."""

    def __init__(self, connection: ServerConnection) -> None:
        self.connection = connection

    async def send(self, text: str) -> None:
        """See `FrameTransport.send`."""
        try:
            await self.connection.send(text)
        except ConnectionClosed as error:
            raise TransportClosed(str(error)) from error

    async def recv(self) -> str:
        """See `FrameTransport.recv`."""
        try:
            return str(await self.connection.recv(decode=True))
        except ConnectionClosed as error:
            raise TransportClosed(str(error)) from error

    async def aclose(self, code: int = 1000) -> None:
        """See `FrameTransport.aclose`."""
        await self.connection.close(code)


class _Connection:
    """What one peer sees of the sandbox."""

    def __init__(self, sandbox: FakeSandbox, transport: FrameTransport) -> None:
        self._sandbox = sandbox
        self._transport = transport
        self.extended = False
        self._files: dict[str, dict[str, bytearray]] = {}

    async def serve(self) -> None:
        """Answer frames until the connection is gone; its sessions go with it."""
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    await self._on_text(await self._transport.recv(), group)
        except* TransportClosed:
            pass
        finally:
            self._sandbox.leave(self)
            await self._transport.aclose()

    async def send(self, frame: dict[str, Any]) -> None:
        await self._transport.send(orjson.dumps(frame).decode())

    async def fail(self, session_id: str, code: str, text: str) -> None:
        await self.send(
            {
                "type": "task_error",
                "session_id": session_id,
                "error": text,
                "error_info": {"code": code, "exit_code": None, "reason": None},
            }
        )

    async def _on_text(self, text: str, group: asyncio.TaskGroup) -> None:
        try:
            frame = parse_to_sandbox(text)
        except ProtocolError as error:
            if not self._sandbox.mute:
                await self.fail("", "bad_input", str(error))
            return
        self._sandbox.received.append(orjson.loads(text))
        if not self._sandbox.mute:
            await self._on_frame(frame, group)

    async def _on_frame(self, frame: ToSandbox, group: asyncio.TaskGroup) -> None:
        match frame:
            case BridgeHello():
                await self._on_hello(frame, group)
            case HealthCheck():
                await self.send(
                    {
                        "type": "health",
                        "status": "healthy",
                        "active_sessions": len(self._sandbox.sessions),
                        "max_sessions": self._sandbox.max_sessions,
                    }
                )
            case ExecuteTask():
                await self._on_task(frame)
            case FileChunk():
                files = self._files.setdefault(frame.session_id, {})
                files.setdefault(frame.path, bytearray()).extend(base64.b64decode(frame.base64))
            case _:
                await self._on_session_frame(frame)

    async def _on_hello(self, hello: BridgeHello, group: asyncio.TaskGroup) -> None:
        match self._sandbox.hello:
            case "close":
                await self._transport.aclose()
            case "refuse":
                await self.send({"type": "error", "error": "unknown type: hello"})
            case "answer":
                group.create_task(self._answer_hello(hello))

    async def _answer_hello(self, hello: BridgeHello) -> None:
        await elapse(self._sandbox.hello_delay_s)
        self.extended = True
        await self.send(
            {
                "type": "hello",
                "protocol": PROTOCOL,
                "sandbox_id": self._sandbox.sandbox_id,
                "boot_id": self._sandbox.boot_id,
                "runtime": "local",
                "max_sessions": self._sandbox.max_sessions,
                "isolation": {"tier": "none", "network": False},
                "capabilities": list(self._sandbox.capabilities),
                "labels": {},
                "max_timeout_s": self._sandbox.max_timeout_s,
                "resume": [
                    {"session_id": name, "last_seq": session.last_seq, "input_seq": session.input_seq}
                    for name, session in self._kept().items()
                ],
            }
        )
        for order in hello.sessions:
            session = self._kept().get(order.session_id)
            if session is not None and order.action == "continue":
                session.attach(self, order.after_seq)
                self._sandbox.taken_up += 1
            elif order.session_id in self._sandbox.sessions:
                self._sandbox.sessions[order.session_id].cancel()

    def _kept(self) -> dict[str, FakeSession]:
        return {**self._sandbox.ended, **self._sandbox.sessions}

    async def _on_task(self, task: ExecuteTask) -> None:
        session_id = task.session_id
        if session_id in self._sandbox.sessions:
            await self.fail(session_id, "bad_input", "there is such a session already")
        elif len(self._sandbox.sessions) >= self._sandbox.max_sessions:
            await self.fail(session_id, "busy", "no room")
        else:
            files = {path: _bytes_of(content) for path, content in task.files.items()}
            files |= {path: bytes(data) for path, data in self._files.pop(session_id, {}).items()}
            self._sandbox.start(FakeSession(self, task, files, self._sandbox.end))

    async def _on_session_frame(
        self, frame: CancelTask | SessionSignal | Credit | TaskInput | Resize
    ) -> None:
        session = self._sandbox.sessions.get(frame.session_id)
        if session is None:
            if isinstance(frame, CancelTask) and frame.session_id not in self._sandbox.ended:
                await self.fail(frame.session_id, "unknown_session", "no such session")
            return
        match frame:
            case Credit():
                session.grant(frame.bytes)
            case TaskInput():
                session.feed(frame)
            case SessionSignal(type="pause_task" | "resume_task"):
                session.hold(still=frame.type == "pause_task")
                told = "task_paused" if session.is_still else "task_resumed"
                await self.send({"type": told, "session_id": frame.session_id})
            case CancelTask() | SessionSignal():
                session.cancel()


def _bytes_of(content: str | Base64File) -> bytes:
    return content.encode() if isinstance(content, str) else base64.b64decode(content.base64)
