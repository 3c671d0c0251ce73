"""One session at a sandbox, as its user sees it; the bridge keeps it as a `Call`."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from sandbox_bridge.ahead import send_ahead
from sandbox_bridge.call import Call
from sandbox_bridge.errors import SandboxError


class BridgeSession:
    """One task on a sandbox: iterate over its progress, then look at `result`.

    Progress comes in order, as the sandbox said it and so as untrusted as the sandbox. The iteration ends
    after `task_completed`, or raises `TaskFailed`, `SandboxBusy` or `SandboxLost`. Leaving the context before
    the end has the sandbox cancel the task, and does not wait for it; the bridge counts the session until
    the sandbox has ended it, or had its time to. For one reader.
    """

    def __init__(self, call: Call) -> None:
        self._call = call
        # One wish at a time: each is answered before the next is told.
        self._signalling = asyncio.Lock()

    @property
    def session_id(self) -> str:
        """The caller's id of the session."""
        return self._call.session_id

    @property
    def result(self) -> dict[str, Any] | None:
        """The sandbox's result, once it has completed the task."""
        return self._call.result

    @property
    def error(self) -> SandboxError | None:
        """What the iteration raises at its end, once that is known and not good."""
        return self._call.error

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call.leave()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> dict[str, Any]:
        await send_ahead(self._call)
        while (progress := self._call.inbox.take()) is None:
            if self._call.error is not None:
                raise self._call.error
            if self._call.ended.is_set():
                raise StopAsyncIteration
            # No deadline of its own: the call's timer and the connection's life bound its end.
            await self._call.inbox.arrived.wait()
        return progress

    async def wait_taken_up(self) -> None:
        """Wait until the sandbox goes on with a session that was adopted; any other needs no wait.

        Raises what it has ended with instead: `SessionDropped` or `SandboxLost`.
        """
        await self._call.wait_taken_up()

    @property
    def taken_seq(self) -> int:
        """The number of the frame that the iteration gave last; 0 where the sandbox numbers none."""
        return self._call.inbox.taken_seq

    @property
    def is_drained(self) -> bool:
        """Whether all progress that has come was taken; a paused task's reader knows then that there is no more."""
        return self._call.inbox.is_empty

    def can(self, capability: str) -> bool:
        """Whether the sandbox offers `capability`: `pause`, `stdin`, `tty`, `collect`, …"""
        return self._call.can(capability)

    async def pause(self) -> None:
        """Have the task stand still; returns once the sandbox says that it does.

        Raises `SandboxUnable` where it can't or does not answer, or what the session has ended with. Paused,
        it keeps its place and its time does not run.
        """
        async with self._signalling:
            await self._call.set_paused(True)

    async def resume(self) -> None:
        """Let a paused task go on; returns once the sandbox says that it does. Raises as `pause`."""
        async with self._signalling:
            await self._call.set_paused(False)

    @property
    def input_seq(self) -> int:
        """How many inputs the sandbox has, or has on their way. Less than before where a socket lost some."""
        return self._call.out.input_seq

    @property
    def wants_input(self) -> bool:
        """Whether there is room for more input; where there is none, `on_input_moved` tells when there is."""
        return self._call.out.wants_input

    @property
    def input_taken(self) -> int:
        """How many inputs are with the task's commands, or on their way where the sandbox does not tell."""
        out = self._call.out
        return out.taken_seq if self._call.info().tells_input_taken else out.input_seq

    def on_input_moved(self, call: Callable[[], None]) -> None:
        """Have `call` called when some was taken, there is room again, or some is to be given again.

        It must not wait.
        """
        self._call.on_input_moved = call

    def send_input(self, data: str, *, eof: bool = False) -> None:
        """Queue `data` for the task's standard input, and with `eof` its end, as input number `input_seq + 1`.

        Kept until it is sent: whoever calls this asks `wants_input` first, and has what was lost with a socket.
        After the session's end it is dropped. Raises `SandboxUnable`.
        """
        self._call.add_input(data, eof=eof)

    def resize_nowait(self, cols: int, rows: int) -> None:
        """Have the running command's terminal resized, in characters. Raises `SandboxUnable`."""
        self._call.resize(cols, rows)

    def grant_nowait(self, nbytes: int) -> None:
        """Give back credit for `nbytes` of output, persisted or dropped for good.

        Output costs the UTF-8 bytes of its `text`, a piece of a file the bytes of its `base64`.
        """
        self._call.grant(nbytes)

    async def cancel(self) -> None:
        """Have the task ended; how it ended then comes through the iteration. Again is nothing more."""
        self._call.cancel()

    async def wait_ended(self) -> None:
        """Wait until the session has its end, which `result` and `error` then show."""
        await self._call.ended.wait()
