"""A command that runs in a jail, from its start to its end, however that comes."""

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress

from sandbox_bridge.local.agent.frames import STDERR, STDOUT
from sandbox_bridge.local.errors import JailLostError
from sandbox_bridge.local.jail.jail import Jail
from sandbox_bridge.local.session.endings import Ending, command_ending
from sandbox_bridge.local.session.report import Report
from sandbox_bridge.protocol import Stream

_STREAM_OF: dict[bytes, Stream] = {STDOUT: "stdout", STDERR: "stderr"}
_KILL_TIMEOUT_S = 5.0


class Runner:
    """Carries output of the command that runs in `jail`, and stops it; `moved` is called for each piece."""

    def __init__(self, jail: Jail, report: Report, moved: Callable[[], None], *, grace_s: float) -> None:
        self._jail = jail
        self._report = report
        self._moved = moved
        self._grace_s = grace_s

    async def until_exit(self) -> Ending:
        """Carry output until the command's end; cancelled, it has lost nothing and can be called again."""
        while True:
            frame = self._jail.output.next_nowait()
            if frame is None:
                await self._report.deliver_or(self._jail.output.fill)
            elif frame[0] in _STREAM_OF:
                self._moved()
                await self._report.feed(_STREAM_OF[frame[0]], frame[1])
            else:
                return command_ending(*frame)

    async def catch_up(self) -> None:
        """Send what the command has printed by now, as far as there is credit; to be asked of a frozen jail."""
        await self._report.catch_up(self._next_output)

    def _next_output(self) -> tuple[Stream, bytes] | None:
        frame = self._jail.output.next_output_nowait()
        if frame is None:
            return None
        self._moved()
        return _STREAM_OF[frame[0]], frame[1]

    async def stop(self) -> Ending:
        """End a command that has taken too long; the jail stays. Raises `JailLostError`."""
        for number, patience_s in (
            (signal.SIGTERM, self._grace_s),
            (signal.SIGKILL, _KILL_TIMEOUT_S),
        ):
            self._jail.signal_nowait(number)
            with suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    ended = await self.until_exit()
                    return Ending("timeout", ended.exit_code, "timeout", "the command took too long")
        raise JailLostError("a command outlived its kill")

    async def terminate(self) -> int | None:
        """The exit code of a command that ends on our TERM. Raises `TimeoutError`, `JailLostError`."""
        self._jail.signal_nowait(signal.SIGTERM)
        async with asyncio.timeout(self._grace_s):
            ended = await self.until_exit()
        if ended.was_signalled:
            return ended.exit_code
        # It had ended by itself; what was stopped is only what would have come.
        self._report.keep_record(ended)
        return None
