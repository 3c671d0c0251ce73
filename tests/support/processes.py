"""Looking at processes from outside, by /proc."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def rss_mib(pid: int) -> float:
    """Resident memory of a process, in MiB; 0 where it has gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    for line in text.splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def is_stopped(pid: int) -> bool:
    """Whether the kernel holds it still (SIGSTOP)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def own_children_of(pid: int) -> list[int]:
    """Child processes of the next generation."""
    return [
        int(child)
        for task in Path(f"/proc/{pid}/task").glob("*/children")
        for child in task.read_text().split()
    ]


def children_of(pid: int) -> list[int]:
    """Child processes, all generations; who ends meanwhile may be among them or not."""
    found: list[int] = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in map(int, task.read_text().split()):
                found += [child, *children_of(child)]
    return found


def with_marker(marker: str) -> list[int]:
    """Processes of this machine whose command line contains `marker`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if marker.encode() in line:
            found.append(int(entry.name))
    return found


async def until(condition: Callable[[], bool], *, within_s: float, what: str) -> float:
    """Wait for `condition` to hold, in s; an assertion error that names `what` if it does not."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while not condition():
        if loop.time() - began > within_s:
            raise AssertionError(f"not within {within_s} s: {what}")
        await asyncio.sleep(0.01)
    return loop.time() - began
