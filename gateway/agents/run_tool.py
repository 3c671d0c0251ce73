"""The sandbox tool of a run: the guide's methods, in the sandbox that was chosen for it."""

from collections.abc import AsyncGenerator
from typing import Any, Protocol

from sandbox_bridge.bridge import Bridge, BridgeSession
from sandbox_bridge.errors import SandboxLost
from sandbox_bridge.tool import AsyncWebContainerTool, Waiting, WebContainerToolInput


class Shown(Protocol):
    """Decides what of a sandbox's messages about its sites is shown to watchers."""

    async def in_progress(self, said: dict[str, Any]) -> dict[str, Any]:
        """What it said, with the address that may be shown."""

    async def in_result(self, result: dict[str, Any] | None) -> dict[str, Any] | None:
        """A result, in the same way."""


class RunTool(AsyncWebContainerTool):
    """As `AsyncWebContainerTool`, over the gateway's own connection. The first session is named by the run."""

    def __init__(
        self,
        bridge: Bridge,
        shown: Shown,
        *,
        session_id: str,
        timeout_s: float,
        traceparent: str | None = None,
    ) -> None:
        super().__init__(bridge.address, timeout_s=timeout_s)
        self._traceparent = traceparent
        self._chosen = bridge
        self._shown = shown
        self._first: str | None = session_id
        self._is_over = False

    def end(self) -> None:
        """For a run that does not end itself: have the sandbox end what it began there, and begin no more."""
        self._is_over = True
        for session_id in self._active_sessions:
            self._chosen.close_session(session_id)

    async def run_async(
        self, inputs: WebContainerToolInput, *, session_id: str | None = None
    ) -> dict[str, Any]:
        """See `AsyncWebContainerTool.run_async`."""
        result = await super().run_async(inputs, session_id=self._named(session_id))
        return await self._shown.in_result(result) or {}

    async def stream_execution(
        self, inputs: WebContainerToolInput, *, session_id: str | None = None
    ) -> AsyncGenerator[dict[str, Any], None]:
        """See `AsyncWebContainerTool.stream_execution`."""
        async for frame in super().stream_execution(inputs, session_id=self._named(session_id)):
            if frame["type"] == "task_progress":
                yield frame | {"progress": await self._shown.in_progress(frame["progress"])}
            elif frame["type"] == "task_completed":
                yield frame | {"result": await self._shown.in_result(frame["result"])}
            else:
                yield frame

    async def _place(self, waiting: Waiting) -> Bridge:
        # For its own sessions it is worth waiting, however long they take; nobody says when others' end.
        while self._chosen.free == 0 and not waiting.cancelled and self._is_at_work:
            self._changed.clear()
            await self._changed.wait()
        return await super()._place(waiting)

    @property
    def _is_at_work(self) -> bool:
        return any(isinstance(one, BridgeSession) for one in self._active_sessions.values())

    def _named(self, session_id: str | None) -> str | None:
        # What a run puts up is found by the run's own session.
        first, self._first = self._first, None
        return session_id or first

    def _ensure_running(self) -> Bridge:
        if self._is_over:
            raise SandboxLost("this run has ended")
        return self._chosen
