"""The watch over one task's limits: what the kernel counts, and what only a clock can tell."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import structlog

from sandbox_bridge.local.jail.cages.base import Cage, CageError, Usage
from sandbox_bridge.local.session.endings import Ending
from sandbox_bridge.local.session.limits import TaskLimits
from sandbox_bridge.local.session.task_clock import TaskClock
from sandbox_bridge.protocol import EndReason

PACE_S = 0.25
_NOTHING = Usage(cpu_s=0, memory_bytes=0, oom_kills=0, refused_forks=0)

log = structlog.get_logger()


class Watch:
    """Has a task stopped that goes beyond its limits; `stop` is told why."""

    def __init__(
        self, cage: Cage | None, limits: TaskLimits, clock: TaskClock, stop: Callable[[EndReason], None]
    ) -> None:
        self._cage = cage
        self._limits = limits
        self._clock = clock
        self._stop = stop
        self._last = _NOTHING
        # A jail may have been ready for long.
        self._before = self._usage()
        self._refused_before = self._before.refused_forks
        self._moved_at = clock.now()

    def moved(self) -> None:
        """Something went in or came out: the task is not idle."""
        self._moved_at = self._clock.now()

    async def run(self, is_held_back: Callable[[], bool]) -> None:
        """Look again and again; a task whose output nobody takes is not idle."""
        while True:
            if is_held_back():
                self.moved()
            reason = self._reason()
            if reason is not None:
                self._stop(reason)
            await asyncio.sleep(PACE_S)

    def _reason(self) -> EndReason | None:
        """Why the task has to be stopped, if it has to be."""
        usage, limits = self._usage(), self._limits
        if self._is_out_of_memory(usage):
            return "memory"
        if limits.cpu_s is not None and usage.cpu_s - self._before.cpu_s >= limits.cpu_s:
            return "cpu"
        if limits.idle_s is not None and self._clock.now() - self._moved_at >= limits.idle_s:
            return "idle"
        return None

    def _is_out_of_memory(self, usage: Usage) -> bool:
        if usage.oom_kills > self._before.oom_kills:
            return True
        is_watched = self._cage is not None and not self._cage.enforces_memory
        return is_watched and usage.memory_bytes > self._limits.memory_mb << 20

    def judge(self, ending: Ending) -> Ending:
        """How a command, or the jail, really ended: what the kernel refused it is the reason."""
        usage = self._usage()
        refused, self._refused_before = usage.refused_forks - self._refused_before, usage.refused_forks
        if usage.oom_kills > self._before.oom_kills:
            return replace(
                ending,
                code="memory_limit",
                reason="memory",
                words="the task needed more memory than it may have",
            )
        if ending.code == "command_failed" and refused > 0:
            words = f"the task may have {self._limits.processes} processes and wanted more"
            return replace(ending, code="resource_limit", reason="processes", words=words)
        return ending

    def kill_nowait(self) -> None:
        """Kill all of it where the kernel would let it take more and more."""
        if self._cage is not None and not self._cage.enforces_memory:
            self._cage.kill_nowait()

    def _usage(self) -> Usage:
        """What is used now, or was at the last look that the kernel answered."""
        try:
            self._last = self._cage.usage() if self._cage is not None else _NOTHING
        except CageError as error:
            log.warning("usage_unknown", error=str(error))
        return self._last
