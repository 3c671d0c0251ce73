"""The local sandbox that comes with the gateway: a service of its own, started and watched as a child.

It dies with its gateway, however that ends: it watches its standard input, which the kernel closes.
(The kernel's parent-death signal would fire at the end of the parent *thread*.)
"""

import asyncio
import contextlib
import json
import logging
import os
import secrets
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from pydantic import ValidationError
from structlog.typing import FilteringBoundLogger

from sandbox_bridge.connection import FrameTransport, dial
from sandbox_bridge.errors import TransportClosed
from sandbox_bridge.settings import SandboxSettings

EMBEDDED: Final = "embedded"
"""The address of the sandbox that comes with the gateway."""
READY: Final = b"sandbox ready on "
START_S: Final = (30.0, 60.0, 120.0)
"""How long the child may take to probe its jail and listen: longer each time, for a busy machine."""
STOP_TIMEOUT_S: Final = 5.0
"""How long it may take to end its jails."""
_LEVELS: Final = logging.getLevelNamesMapping() | {
    name.lower(): number for name, number in logging.getLevelNamesMapping().items()
}
_OURS: Final = frozenset({"timestamp", "exc_info", "stack_info"})
"""What a line of the child's does not say for ours."""
BACK_OFF_S: Final = (0.2, 1.0, 5.0, 15.0)
"""Pauses before it is started again; the last repeats."""
STABLE_S: Final = 60.0
"""A child that was ready for as long has its next starts counted anew."""
_PASSED_ON: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV")


def problem_of_settings(*, unsafe_no_isolation: bool) -> str | None:
    """What of the operator's `SANDBOX_*` lets no local sandbox start, ever; None where nothing does."""
    try:
        settings = SandboxSettings(token=None)
    except ValidationError as error:
        wrong = error.errors()[0]
        return f"SANDBOX_{'_'.join(map(str, wrong['loc'])).upper()}: {wrong['msg']}"
    if settings.isolation == "none" and not unsafe_no_isolation:
        return (
            "SANDBOX_ISOLATION=none runs tasks without any jail: unset it, or say --unsafe-no-isolation, too"
        )
    return None


def share_of_sandboxes(processes: int) -> dict[str, str]:
    """The environment in which one of so many local sandboxes takes its part of what one of them would take alone."""
    settings = SandboxSettings(token=None)
    most = {"sessions": settings.max_sessions, "sites": settings.max_sites, "visits": settings.max_visits}
    parts = {f"SANDBOX_MAX_{name.upper()}": str(-(-number // processes)) for name, number in most.items()}
    return parts | {"SANDBOX_WARM": str(-(-settings.warm // processes))}


class EmbeddedSandbox:
    """Keeps the child process running. `problem` says why, while none runs."""

    def __init__(
        self,
        *,
        log: FilteringBoundLogger,
        unsafe_no_isolation: bool = False,
        start_s: Sequence[float] = START_S,
    ) -> None:
        self.problem: str | None = "the local sandbox is starting"
        self.tried = asyncio.Event()
        """Set once it is known whether the child can be had."""
        self._token = secrets.token_urlsafe(32)
        self._flags = ("--unsafe-no-isolation",) if unsafe_no_isolation else ()
        self._log = log
        self._start_s = start_s
        self._url: str | None = None
        self._last_words: deque[str] = deque(maxlen=5)

    async def dial(self) -> FrameTransport:
        """A connection to the child, once it is known whether it can be had. Raises `TransportClosed`."""
        await self.tried.wait()
        if self._url is None:
            raise TransportClosed(self.problem or "the local sandbox is not there", is_final=True)
        return await dial(self._url, token=self._token)

    async def run(self) -> None:
        """Keep the child running until cancelled; then let it end."""
        starts = 0
        while True:
            lived_s = await self._live_once(self._start_s[min(starts, len(self._start_s) - 1)])
            if lived_s > STABLE_S:
                starts = 0
            await asyncio.sleep(BACK_OFF_S[min(starts, len(BACK_OFF_S) - 1)])
            starts += 1

    async def _live_once(self, start_s: float) -> float:
        """One child from its start to its end; for how many seconds it was ready."""
        self._last_words.clear()
        ready_at: float | None = None
        now = asyncio.get_running_loop().time
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sandbox_bridge", "serve", "--port", "0", "--parent-stdin", *self._flags),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._environment(),
            start_new_session=True,  # a Ctrl-C at the terminal is ours to pass on
        )
        try:
            async with asyncio.TaskGroup() as reading:
                reading.create_task(self._read_stderr(child))
                if await self._is_ready(child, start_s):
                    ready_at = now()
                await child.wait()
        finally:
            self._url = None
            await self._stop(child)
        self.problem = " ".join(self._last_words) or f"the local sandbox ended with {child.returncode}"
        self.tried.set()
        self._log.error("the local sandbox ended", code=child.returncode, problem=self.problem)
        return now() - ready_at if ready_at is not None else 0.0

    def _environment(self) -> dict[str, str]:
        # The gateway's own secrets are none of its business.
        passed = {key: value for key, value in os.environ.items() if key in _PASSED_ON}
        own = {key: value for key, value in os.environ.items() if key.startswith("SANDBOX_")}
        return passed | own | {"SANDBOX_TOKEN": self._token}

    async def _is_ready(self, child: asyncio.subprocess.Process, start_s: float) -> bool:
        """Wait for the child to say where it listens: False where it ends first. It is killed after `start_s`."""
        if child.stdout is None:
            return False
        try:
            async with asyncio.timeout(start_s):
                line = await child.stdout.readline()
        except TimeoutError:
            self._last_words.append(f"the local sandbox was not ready within {start_s:g} s")
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            return False
        if line.startswith(READY):
            self._url = line.removeprefix(READY).decode().strip()
            self.problem = None
            self.tried.set()
        return self._url is not None

    async def _read_stderr(self, child: asyncio.subprocess.Process) -> None:
        if child.stderr is None:
            return
        while line := await _line_of(child.stderr.readline):
            text = line.decode(errors="replace").rstrip()
            if text:
                self._last_words.append(text[:500])
                self._log_line(text)

    def _log_line(self, text: str) -> None:
        """A line of the child's log is one of ours, in our form; whatever else it or its interpreter says is quoted."""
        try:
            said = json.loads(text)
            event, level = str(said.pop("event")), _LEVELS[said.pop("level")]
            fields = {name: value for name, value in said.items() if name not in _OURS}
        except (ValueError, KeyError, TypeError, AttributeError):
            self._log.warning("the local sandbox says", text=text[:2000])
        else:
            self._log.log(level, event, **fields)

    async def _stop(self, child: asyncio.subprocess.Process) -> None:
        if child.stdin is not None:
            child.stdin.close()
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await child.wait()
        except TimeoutError:
            child.kill()
            await child.wait()


async def _line_of(readline: Callable[[], Awaitable[bytes]]) -> bytes:
    try:
        return await readline()
    except ValueError:
        return b"(a line too long to pass on)\n"
