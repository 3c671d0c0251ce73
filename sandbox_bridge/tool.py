"""The guide's sandbox tool: run a task in the sandbox at a URL and have its result or its stream.

Usable alone, without a gateway. It keeps one connection, made at the first call and shared by all; make it
`async with AsyncWebContainerTool(…) as tool`, or call `aclose`, to end that sooner than the event loop does.
"""

import asyncio
import functools
import math
import random
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Final, Self

import structlog
from pydantic import BaseModel, ConfigDict, field_validator

from sandbox_bridge.bridge import Bridge, BridgeSession
from sandbox_bridge.connection import dial
from sandbox_bridge.errors import SandboxError, SandboxLost, TaskFailed
from sandbox_bridge.protocol import (
    HELLO_TIMEOUT_S,
    Command,
    FileContent,
    Limits,
    path_conflict,
    path_error,
)
from sandbox_bridge.spec import TaskSpec

HEALTH_S: Final = HELLO_TIMEOUT_S + 1.0
"""How long a health check waits for a connection: a core service leaves `hello` unanswered meanwhile."""
log = structlog.get_logger(__name__)


class WebContainerToolInput(BaseModel):
    """What to run: files by relative path, and commands, one after another, through a shell."""

    model_config = ConfigDict(extra="forbid")

    files: dict[str, FileContent] = {}
    commands: list[str | Command] = []

    @field_validator("files")
    @classmethod
    def _check_paths(cls, files: dict[str, FileContent]) -> dict[str, FileContent]:
        for path in files:
            problem = path_error(path)
            if problem is not None:
                raise ValueError(f"{path[:100]!r}: {problem}")
        clash = path_conflict(list(files))
        if clash is not None:
            raise ValueError(f"{clash[:100]!r} would have to be a file and a folder")
        return files


class Waiting:
    """A call that has no place on the connection yet."""

    cancelled = False


class AsyncWebContainerTool:
    """Runs tasks in the sandbox service at `websocket_url`.

    A call waits at most `connect_timeout_s` for a connection and room on it; a task may run for `timeout_s`.
    `new_session_id` names the sessions that the caller doesn't. For use within one event loop at a time.
    """

    def __init__(
        self,
        websocket_url: str = "ws://localhost:8090/ws",
        *,
        token: str | None = None,
        timeout_s: float = 300.0,
        connect_timeout_s: float = 10.0,
        new_session_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        self.websocket_url = websocket_url
        self._token = token
        self._timeout_s = timeout_s
        self._traceparent: str | None = None
        self._connect_timeout_s = connect_timeout_s
        self._new_session_id = new_session_id
        # Ids in use.
        self._active_sessions: dict[str, BridgeSession | Waiting] = {}
        self._bridge: Bridge | None = None
        # Set at each change of the bridge, for those who wait for their place.
        self._changed = asyncio.Event()
        # Runs the bridge: from the first call until `aclose`, or until the event loop cancels what is left.
        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End all sessions and the connection. A later call connects anew."""
        running, self._running = self._running, None
        if running is not None:
            running.cancel()
            await asyncio.wait([running])
            if not running.cancelled():
                running.result()

    # --- the guide's methods ---

    async def run_async(
        self, inputs: WebContainerToolInput, *, session_id: str | None = None
    ) -> dict[str, Any]:
        """Run `inputs` and return the sandbox's result.

        Raises `TaskFailed` (with the code `timeout`, `cancelled`, …), `SandboxBusy` or `SandboxLost`. With a
        `session_id` of the caller's own it can be cancelled from elsewhere. Being cancelled cancels the task.
        """
        async with self._session(inputs, session_id, stream=False) as session:
            async for _ in session:
                """A core sandbox may send progress unasked."""
        assert session.result is not None  # noqa: S101 -- the iteration ends well only with a result
        return session.result

    async def stream_execution(
        self, inputs: WebContainerToolInput, *, session_id: str | None = None
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Run `inputs` and yield the sandbox's frames: each `task_progress`, then its one end.

        That is a `task_completed` or `task_error`. Raises `SandboxBusy` or `SandboxLost` where there is none.
        """
        async with self._session(inputs, session_id, stream=True) as session:
            head = {"session_id": session.session_id}
            last: dict[str, Any]
            try:
                async for progress in session:
                    yield {"type": "task_progress", **head, "progress": progress}
                    # The reader has come back for more, so it has taken this one.
                    session.grant_nowait(_output_bytes(progress))
            except TaskFailed as failure:
                last = {"type": "task_error", **head, "error": failure.message, "error_info": _info(failure)}
            else:
                last = {"type": "task_completed", **head, "result": session.result}
            yield last

    async def cancel_task(self, session_id: str) -> bool:
        """Cancel the task of `session_id`.

        True once it has ended for that; False if there is no such task, or it ended otherwise.
        """
        session = self._active_sessions.get(session_id)
        if session is None:
            return False
        if isinstance(session, Waiting):
            session.cancelled = True
            self._changed.set()
            return True
        await session.cancel()
        await session.wait_ended()
        return isinstance(session.error, TaskFailed) and session.error.code == "cancelled"

    async def health_check(self) -> bool:
        """Whether the service can be reached, answers in time, and says that it is healthy."""
        try:
            health = await (await self._connected()).health()
        except SandboxError as error:
            log.info("health check failed", url=self.websocket_url, error=str(error))
            return False
        return health.status == "healthy"

    # --- the connection, and places on it ---

    @asynccontextmanager
    async def _session(
        self, inputs: WebContainerToolInput, session_id: str | None, *, stream: bool
    ) -> AsyncIterator[BridgeSession]:
        session_id = session_id or self._new_session_id()
        if session_id in self._active_sessions:
            raise ValueError(f"session {session_id} is in use")
        spec = TaskSpec(
            files=inputs.files,
            commands=inputs.commands,
            limits=Limits(timeout_s=self._timeout_s),
            traceparent=self._traceparent,
        )
        waiting = self._active_sessions[session_id] = Waiting()
        try:
            bridge = await self._place(waiting)
            async with bridge.open(session_id, spec, stream=stream) as session:
                self._active_sessions[session_id] = session
                yield session
        finally:
            del self._active_sessions[session_id]
            self._changed.set()

    async def _place(self, waiting: "Waiting") -> Bridge:
        """The bridge, perhaps with room. Raises `TaskFailed` if the one who waits is cancelled."""
        bridge = await self._wait_until(lambda bridge: bridge.free > 0 or waiting.cancelled)
        if waiting.cancelled:
            raise TaskFailed("cancelled", "cancelled before it was sent", reason="cancelled")
        return bridge

    async def _connected(self) -> Bridge:
        return await self._wait_until(lambda bridge: bridge.info is not None, within_s=HEALTH_S)

    async def _wait_until(
        self, is_settled: Callable[[Bridge], bool], *, within_s: float = math.inf
    ) -> Bridge:
        """The bridge once it `is_settled`, or connected and the time is up. Raises `SandboxLost`."""
        bridge = self._ensure_running()
        try:
            async with asyncio.timeout(min(within_s, self._connect_timeout_s)):
                while not is_settled(bridge):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            if bridge.info is None:
                raise SandboxLost(f"{self.websocket_url}: {bridge.problem}") from None
        return bridge

    def _ensure_running(self) -> Bridge:
        if self._bridge is None or self._running is None or self._running.done():
            self._changed = asyncio.Event()
            self._bridge = Bridge(
                functools.partial(dial, self.websocket_url, token=self._token),
                address=self.websocket_url,
                random=random.Random(),  # noqa: S311 -- spreads reconnects
                on_change=self._changed.set,
            )
            self._running = asyncio.create_task(self._bridge.run(), name=f"bridge to {self.websocket_url}")
        return self._bridge


def _output_bytes(progress: dict[str, Any]) -> int:
    """What `progress` costs of the session's credit."""
    key = "text" if progress.get("kind") == "output" else "base64"
    text = progress.get(key)
    return len(text.encode()) if isinstance(text, str) else 0


def _info(failure: TaskFailed) -> dict[str, Any]:
    return {
        "code": failure.code,
        "exit_code": failure.exit_code,
        "reason": failure.reason,
        "result": failure.result,
    }
