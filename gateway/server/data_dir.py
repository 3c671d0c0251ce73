"""The data directory: one process has it for itself, or several share it that have a bus between them."""

import contextlib
import fcntl
import os
import shutil
from pathlib import Path
from typing import IO, Final

LITTLE_ROOM: Final = 256 << 20
"""Bytes of free disk below which what is taken in may not fit soon."""
_LOCK: Final = "lock"


class StartError(Exception):
    """The gateway can't start; the message says what to do."""


def locked(data_dir: Path, *, shared: bool = False) -> IO[str]:
    """Hold the directory for this process, or raise `StartError`; the kernel lets go of it with us.

    `shared`, others may hold it that share it, too.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        held = (data_dir / _LOCK).open("a")  # which leaves its time as it is: see `heard_ms`
    except OSError as error:
        raise StartError(f"can't use the data directory {data_dir}: {error.strerror}") from None
    try:
        fcntl.flock(held, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        held.close()
        raise StartError(
            f"another gateway uses {data_dir}; choose another --data-dir, or give both EVENT_BUS_BACKEND=redis"
        ) from None
    return held


def succeed(data_dir: Path, instance: str) -> str | None:
    """Note that `instance` holds the directory alone from now on; whoever did so last, and so is dead."""
    noted = data_dir / "instance"
    former = noted.read_text().strip() if noted.exists() else ""
    noted.write_text(instance)
    return former or None


def show_life(data_dir: Path, now_ms: int) -> None:
    """Whoever has the directory for itself lives at `now_ms`."""
    with contextlib.suppress(OSError):
        os.utime(data_dir / _LOCK, ns=(now_ms * 1_000_000,) * 2)


def heard_ms(data_dir: Path) -> int:
    """The last sign of life of who had the directory for itself, in ms since 1970; 0 where nobody gave one."""
    try:
        return (data_dir / _LOCK).stat().st_mtime_ns // 1_000_000
    except OSError:
        return 0


def disk_problem(folder: Path) -> str | None:
    """Why what comes may soon find no room below `folder`."""
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return f"{folder}: {error.strerror}"
    return None if free >= LITTLE_ROOM else f"{free >> 20} MiB are free on the disk of {folder}"
