"""What a cage is put together from: one means for each need. Each may be another part of the kernel."""

import os
from pathlib import Path
from typing import Protocol


class Means(Protocol):
    """One part of the kernel that can serve one or more of a cage's needs. All of it raises OSError."""

    def admit(self, init_pid: int) -> None:
        """Take in a jail's first process and its children."""

    def holds(self, pids: set[int]) -> bool:
        """Whether all of these are in here."""

    def limit_memory(self, count: int) -> None:
        """Hold all together to so many bytes."""

    def memory_bytes(self) -> int:
        """What they use now."""

    def oom_kills(self) -> int:
        """How many died of it so far."""

    def limit_processes(self, count: int) -> None:
        """Hold all together to so many processes and threads."""

    def refused_forks(self) -> int:
        """How often one more was refused so far."""

    def cpu_s(self) -> float:
        """User and system time so far."""

    def freeze_nowait(self) -> bool:
        """One step of freezing, to be repeated until it says that all stand still."""

    def thaw_nowait(self) -> None:
        """Let go on what was frozen."""

    def kill_frozen_nowait(self) -> None:
        """Have frozen processes take note of a kill, where they don't by themselves."""

    def remove(self) -> None:
        """Forget it, once all are dead."""


def read(path: Path) -> str:
    """The text of a small file of the kernel."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 64 << 10).decode("ascii", "replace")
    finally:
        os.close(fd)


def write(path: Path, text: str | int) -> None:
    """Tell the kernel something; a file that is not there is not made."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, str(text).encode())
    finally:
        os.close(fd)


def table(text: str) -> dict[str, int]:
    """Lines of a name and a number."""
    pairs = (line.split() for line in text.splitlines())
    return {words[0].rstrip(":"): int(words[1]) for words in pairs if len(words) >= 2 and words[1].isdigit()}
