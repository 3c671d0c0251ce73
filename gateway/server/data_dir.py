"""The data directory, which one process has for itself."""

import fcntl
from pathlib import Path
from typing import IO


class StartError(Exception):
    """The gateway can't start; the message says what to do."""


def locked(data_dir: Path) -> IO[str]:
    """Hold the directory for this process, or raise `StartError`; the kernel lets go of it with us."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        held = (data_dir / "lock").open("w")
    except OSError as error:
        raise StartError(f"can't use the data directory {data_dir}: {error.strerror}") from None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        held.close()
        raise StartError(
            f"another gateway uses {data_dir}; choose another --data-dir, or give both EVENT_BUS_BACKEND=redis"
        ) from None
    return held
