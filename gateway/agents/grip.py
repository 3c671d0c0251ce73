"""How the agent `sandbox` is steered: by its session, and by what it still reads of it."""

import asyncio
from collections.abc import Awaitable
from typing import Any

from gateway.agents.runner import UnableError
from sandbox_bridge.bridge import BridgeSession
from sandbox_bridge.errors import SandboxError, SandboxUnable


class SandboxGrip:
    """The `Grip` on a session. `scope` bounds the running time: it stands still with the task."""

    def __init__(self, session: BridgeSession, scope: asyncio.Timeout, *, paused: bool = False) -> None:
        self._session = session
        self._scope = scope
        self._left_s: float | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        if paused:
            self._stop_clock()

    async def pause(self) -> bool:
        """See `Grip.pause`."""
        if not await self._told(self._session.pause()):
            return False
        self._stop_clock()
        while not (self._session.is_drained and self._idle.is_set()):
            self._idle.clear()
            await self._idle.wait()
        return True

    async def resume(self) -> None:
        """See `Grip.resume`."""
        if self._session.can("pause"):
            self._start_clock()
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
        """See `Grip.cancel`."""
        self._start_clock()
        await self._session.cancel()

    @property
    def input_seq(self) -> int:
        """See `Grip.input_seq`."""
        return self._session.input_seq

    @property
    def wants_input(self) -> bool:
        """See `Grip.wants_input`."""
        return self._session.wants_input

    def send_input(self, data: Any, *, eof: bool) -> None:
        """See `Grip.send_input`; a task is sent text only, by the contract."""
        try:
            self._session.send_input(str(data), eof=eof)
        except SandboxUnable as error:
            raise UnableError(str(error)) from error

    def resize(self, cols: int, rows: int) -> None:
        """See `Grip.resize`."""
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

    # --- time ---------------------------------------------------------------------------------------------

    def _stop_clock(self) -> None:
        due = self._scope.when()
        if due is not None and not self._scope.expired():
            self._left_s = due - asyncio.get_running_loop().time()
            self._scope.reschedule(None)

    def _start_clock(self) -> None:
        if self._left_s is not None:
            self._scope.reschedule(asyncio.get_running_loop().time() + self._left_s)
            self._left_s = None
