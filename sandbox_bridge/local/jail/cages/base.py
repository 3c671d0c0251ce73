"""What a cage is, whatever the kernel gives to make one of. Pure."""

from dataclasses import dataclass
from typing import Protocol


class CageError(Exception):
    """The kernel did not do what a cage needs; the text says what, in its words."""


@dataclass(frozen=True, slots=True)
class CageLimits:
    """What the processes of one cage may use together."""

    memory_bytes: int
    """With the pages of the jail's own disks, which are memory, and without any swap beside it."""
    processes: int
    """Processes and threads, the jail's own (its init, its agent) among them: whoever makes it adds those."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What the processes of one cage use now, and have used. Each but `memory_bytes` only grows."""

    cpu_s: float
    """User and system time of all, the ended ones among them."""
    memory_bytes: int
    oom_kills: int
    """How many the kernel has killed for want of memory; 0 where memory is only watched."""
    refused_forks: int
    """How often one more was not allowed; 0 where nobody counts that."""


class Cage(Protocol):
    """The host's grip on one jail. All of it holds also where the jail is hostile."""

    enforces_memory: bool
    """Whether the kernel holds `memory_bytes`. Where it doesn't, whoever watches `usage` must kill."""

    def set_limits(self, limits: CageLimits) -> None:
        """Put `limits` in force, before or after `admit`. Raises `CageError`."""

    def admit(self, init_pid: int) -> None:
        """Take in the jail's first process and what it has started; all that these start follows.

        The kernel may take its time, some 10 ms: this is for a thread. Raises `CageError`.
        """

    def check(self, init_pid: int) -> None:
        """Raises `CageError` where a process of the jail is not in here; to be asked before the first command."""

    def attach(self, pidfd: int) -> None:
        """Have a process outside stand still with the jail; it stays under limits of its own."""

    def usage(self) -> Usage:
        """What is used now; cheap, and zero where the jail is gone. Raises `CageError`."""

    async def freeze(self) -> None:
        """Return once every process in there stands still. Raises `CageError`; then nothing is frozen."""

    async def thaw(self) -> None:
        """Let go on what `freeze` has stopped. Raises `CageError`."""

    def kill_nowait(self) -> None:
        """Kill all of it, frozen or not. It is gone once bubblewrap's monitor has ended."""

    def close(self) -> None:
        """Forget it, once all in there is dead."""
