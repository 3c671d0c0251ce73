"""What an agent and all that it starts is enclosed in: held by pidfds, and gone as a whole at the end."""

import asyncio
import os
import signal
import subprocess
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path

import structlog

from sandbox_bridge.local.jail.pipes import close_all, readable

_MAX_COMPLAINT_BYTES = 4096
_LAST_WORDS_S = 1.0
"""For one that is no more to have ended."""

log = structlog.get_logger()


class Enclosure(ABC):
    """Runs from the moment it is made."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.monitor_fd = os.pidfd_open(process.pid)
        """Readable once all is over."""
        self.init_fd: int | None = None
        self.init_pid = 0
        """The host's number of the first process, once `find_init` has found it, and until it is gone."""

    @abstractmethod
    async def find_init(self) -> None:
        """Take hold of the first process."""

    @abstractmethod
    async def connect(self) -> int | None:
        """Give it the network that it is to have, once its agent is ready and before the first command.

        Returns the pidfd of a process that stands outside and carries for it, if there is one.
        """

    def kill_nowait(self) -> None:
        """Kill everything in there."""
        if self.init_fd is None:
            self._process.kill()
        else:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.init_fd, signal.SIGKILL)

    async def aclose(self, timeout_s: float) -> None:
        """Kill it and wait until all in there is gone; beyond `timeout_s` it is logged, and left."""
        self.kill_nowait()
        try:
            async with asyncio.timeout(timeout_s):
                await self.ended()
        except TimeoutError:
            log.critical("jail_does_not_die", pid=self._process.pid)
        finally:
            self._release()

    async def ended(self) -> None:
        """Wait for its end."""
        await readable([self.monitor_fd])
        self._process.wait()

    def _release(self) -> None:
        close_all([self.monitor_fd] if self.init_fd is None else [self.monitor_fd, self.init_fd])
        if self._process.stderr is not None:
            self._process.stderr.close()

    def host_uid(self) -> int:
        """The uid that the host sees it run as. Raises OSError when it is gone."""
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii")
        return int(status.partition("Uid:")[2].split()[0])

    async def last_words(self) -> str:
        """What it has said on its standard error, once it has ended, if it soon does."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS_S):
                await self.ended()
        return self.complaint()

    def complaint(self) -> str:
        """What it has said on its standard error."""
        stderr = self._process.stderr
        if stderr is None:
            return ""
        os.set_blocking(stderr.fileno(), False)
        return (stderr.read(_MAX_COMPLAINT_BYTES) or b"").decode(errors="replace").strip()
