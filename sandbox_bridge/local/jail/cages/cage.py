"""A cage put together from the best means for each need."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields

from sandbox_bridge.local.jail.cages.base import CageError, CageLimits, Usage
from sandbox_bridge.local.jail.cages.means import Means
from sandbox_bridge.local.jail.processes import children

FREEZE_TIMEOUT_S = 5.0
"""For the last process to stand. It takes 0.003 s; one that is deep in the kernel may need longer."""
_PACE_S = 0.001


@dataclass(frozen=True, slots=True)
class MeansOf:
    """Which means serves which need; one may serve several."""

    memory: Means
    processes: Means
    cpu: Means
    freeze: Means

    def each(self) -> list[Means]:
        """All of them, each once."""
        found: list[Means] = []
        for field in fields(self):
            means = getattr(self, field.name)
            if not any(means is other for other in found):
                found.append(means)
        return found


class JailCage:
    """The host's grip on one jail. Satisfies `Cage`."""

    def __init__(self, means: MeansOf, *, enforces_memory: bool) -> None:
        self.enforces_memory = enforces_memory
        self._means = means
        self._init_fd: int | None = None
        self._attached: list[int] = []

    def set_limits(self, limits: CageLimits) -> None:
        """Put `limits` in force, before or after `admit`. Raises `CageError`."""
        with _told("limit a jail"):
            self._means.memory.limit_memory(limits.memory_bytes)
            self._means.processes.limit_processes(limits.processes)

    def admit(self, init_pid: int) -> None:
        """Take in the jail's first process and what it has started, in a thread. Raises `CageError`."""
        with _told("take in a jail"):
            self._init_fd = os.pidfd_open(init_pid)
            for means in self._means.each():
                means.admit(init_pid)

    def check(self, init_pid: int) -> None:
        """Raises `CageError` where a process of the jail is not in here."""
        with _told("hold a jail"):
            pids = {init_pid, *children(init_pid)}
            if not all(means.holds(pids) for means in self._means.each()):
                raise CageError("a process of the jail is not in its control groups")

    def attach(self, pidfd: int) -> None:
        """Have a process outside stand still with the jail."""
        self._attached.append(os.dup(pidfd))

    def usage(self) -> Usage:
        """What is used now. Raises `CageError`."""
        with _told("read what a jail uses"):
            return Usage(
                cpu_s=self._means.cpu.cpu_s(),
                memory_bytes=self._means.memory.memory_bytes(),
                oom_kills=self._means.memory.oom_kills(),
                refused_forks=self._means.processes.refused_forks(),
            )

    async def freeze(self) -> None:
        """Return once every process in there stands still. Raises `CageError`; then nothing is frozen."""
        is_frozen = False
        try:
            with _told("freeze a jail"):
                await self._until_frozen()
                self._signal_attached(signal.SIGSTOP)
            is_frozen = True
        finally:
            if not is_frozen:
                self._signal_attached(signal.SIGCONT)
                with suppress(OSError):
                    self._means.freeze.thaw_nowait()

    def _signal_attached(self, number: signal.Signals) -> None:
        """They are the host's own programs: nobody in there starts them again."""
        for pidfd in self._attached:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, number)

    async def _until_frozen(self) -> None:
        async with asyncio.timeout(FREEZE_TIMEOUT_S):
            while not self._means.freeze.freeze_nowait():  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(_PACE_S)

    async def thaw(self) -> None:
        """Let go on what `freeze` has stopped. Raises `CageError`."""
        with _told("thaw a jail"):
            self._signal_attached(signal.SIGCONT)
            self._means.freeze.thaw_nowait()

    def kill_nowait(self) -> None:
        """Kill all of it, frozen or not."""
        if self._init_fd is not None:
            with suppress(ProcessLookupError):
                # The first process of a pid namespace takes all others along.
                signal.pidfd_send_signal(self._init_fd, signal.SIGKILL)
        with suppress(OSError):
            self._means.freeze.kill_frozen_nowait()

    def close(self) -> None:
        """Forget it, once all in there is dead."""
        if self._init_fd is not None:
            os.close(self._init_fd)
            self._init_fd = None
        while self._attached:
            os.close(self._attached.pop())
        for means in self._means.each():
            means.remove()


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Errors of the kernel in a cage's words."""
    try:
        yield
    except (OSError, LookupError, ValueError) as error:
        words = "it takes too long" if isinstance(error, TimeoutError) else str(error)
        raise CageError(f"can't {what}: {words}") from error
