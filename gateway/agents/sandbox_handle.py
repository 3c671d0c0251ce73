"""Steers the agent `sandbox`: through its session, and by when all that was read of that has been emitted."""

import asyncio
from collections.abc import Awaitable

from gateway.agents.runner import Sent, UnableError
from gateway.agents.running_time import RunningTime
from sandbox_bridge.bridge import BridgeSession
from sandbox_bridge.errors import SandboxError, SandboxUnable


class SandboxHandle:
    """The `AgentHandle` on a session. `scope` bounds the running time: it stands still with the task."""

    def __init__(self, session: BridgeSession, scope: asyncio.Timeout, *, paused: bool = False) -> None:
        self._session = session
        self._time = RunningTime(scope)
        self._idle = asyncio.Event()
        self._idle.set()
        if paused:
            self._time.stop()

    async def pause(self) -> bool:
        """See `AgentHandle.pause`."""
        if not await self._told(self._session.pause()):
            return False
        self._time.stop()
        while not (self._session.is_drained and self._idle.is_set()):
            self._idle.clear()
            await self._idle.wait()
        return True

    async def resume(self) -> None:
        """See `AgentHandle.resume`."""
        if self._session.can("pause"):
            self._time.start()
            await self._told(self._session.resume())

    async def _told(self, signal: Awaitable[None]) -> bool:
        """Whether the session has obeyed; False where it has ended. Raises `UnableError`."""
        try:
            await signal
        except SandboxError as error:
            if self._session.result is None and self._session.error is None:
                raise UnableError(str(error)) from error
            return False
        return True

    async def cancel(self) -> None:
        """See `AgentHandle.cancel`."""
        self._time.start()
        await self._session.cancel()

    @property
    def input_seq(self) -> int:
        """See `AgentHandle.input_seq`."""
        return self._session.input_seq

    @property
    def input_taken(self) -> int:
        """See `AgentHandle.input_taken`."""
        return self._session.input_taken

    @property
    def wants_input(self) -> bool:
        """See `AgentHandle.wants_input`."""
        return self._session.wants_input

    def send_input(self, sent: Sent) -> None:
        """See `AgentHandle.send_input`; a task is sent text only, by the contract."""
        try:
            self._session.send_input(str(sent.data), eof=sent.eof)
        except SandboxUnable as error:
            raise UnableError(str(error)) from error

    def resize(self, cols: int, rows: int) -> None:
        """See `AgentHandle.resize`."""
        try:
            self._session.resize_nowait(cols, rows)
        except SandboxUnable as error:
            raise UnableError(str(error)) from error

    # --- what the agent says of itself --------------------------------------------------------------------

    def idle(self) -> None:
        """All that was read of the session so far has been emitted."""
        self._idle.set()

    def busy(self) -> None:
        """Something was read that has not been emitted yet."""
        self._idle.clear()
