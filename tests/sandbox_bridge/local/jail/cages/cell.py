"""A bare jail for a cage: bubblewrap without our agent, held before its first process runs."""

import json
import os
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sandbox_bridge.local.jail.cages.base import Cage, CageLimits
from sandbox_bridge.local.jail.cages.branches import MAIN, Folder

AMPLE = CageLimits(memory_bytes=512 << 20, processes=64)
_NOBODY = 65534


@dataclass(frozen=True, slots=True)
class Cell:
    """A jail whose script runs now."""

    process: subprocess.Popen[bytes]
    init_pid: int

    def line(self, within_s: float = 10.0) -> str:
        """The script's next line of output; an assertion error where none comes in time."""
        assert self.speaks(within_s), "the script said nothing"
        assert self.process.stdout is not None
        text = b""
        while not text.endswith(b"\n"):
            piece = os.read(self.process.stdout.fileno(), 1)
            assert piece, f"the script ended after {text!r}"
            text += piece
        return text.decode().rstrip("\n")

    def speaks(self, within_s: float) -> bool:
        """Whether there is output to read, or becomes so."""
        assert self.process.stdout is not None
        readable, _, _ = select.select([self.process.stdout], [], [], within_s)
        return bool(readable)

    def drain(self) -> None:
        """Throw away all output there is now."""
        assert self.process.stdout is not None
        while self.speaks(0) and os.read(self.process.stdout.fileno(), 65536):
            pass

    def wait(self, within_s: float) -> float:
        """Wait for the jail's end; returns how long that took, in s."""
        began = time.monotonic()
        self.process.wait(within_s)
        return time.monotonic() - began


@contextmanager
def cell(
    cage: Cage, script: str, *, limits: CageLimits | None = AMPLE, is_late: bool = False
) -> Iterator[Cell]:
    """A jail in `cage` that runs a Python `script`; killed when the block is left, and the cage closed.

    With `is_late` it is taken in once the script has said its first line, else before it runs.
    """
    if limits is not None:
        cage.set_limits(limits)
    nobody = _NOBODY if os.geteuid() == 0 else None
    status_read, status_write = os.pipe()
    block_read, block_write = os.pipe()
    with subprocess.Popen(
        _arguments(status_write, block_read, script),
        pass_fds=(status_write, block_read),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env={},
        user=nobody,
        group=nobody,
        extra_groups=None if nobody is None else [],
    ) as process:
        os.close(status_write)
        os.close(block_read)
        try:
            init_pid = json.loads(_first_line(status_read))["child-pid"]
            running = Cell(process, init_pid)
            if not is_late:
                cage.admit(init_pid)
            os.write(block_write, b"x")
            if is_late:
                running.line()
                cage.admit(init_pid)
            cage.check(init_pid)
            yield running
        finally:
            cage.kill_nowait()
            process.wait(10)
            cage.close()
            os.close(status_read)
            os.close(block_write)


def left_behind(folder: Folder) -> list[Path]:
    """The groups that are still there: the kernel may be busy with the last of their dead."""
    for path in list(folder._leftovers):
        folder.remove(path)
    return [path for path in folder.path.iterdir() if path.is_dir() and path.name != MAIN]


def _first_line(fd: int) -> bytes:
    """It may come in pieces."""
    text = b""
    while b"\n" not in text:
        piece = os.read(fd, 4096)
        assert piece, f"bubblewrap ended after {text!r}"
        text += piece
    return text.split(b"\n")[0]


def _arguments(status: int, block: int, script: str) -> list[str]:
    links = [word for name in ("bin", "lib", "lib64") for word in ("--symlink", f"usr/{name}", f"/{name}")]
    return [
        *(
            "bwrap",
            "--unshare-all",
            "--unshare-user",
            "--disable-userns",
            "--die-with-parent",
            "--new-session",
        ),
        *("--cap-drop", "ALL", "--uid", "1000", "--gid", "1000", "--ro-bind", "/usr", "/usr", *links),
        *("--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--remount-ro", "/"),  # noqa: S108 - inside
        *("--json-status-fd", str(status), "--block-fd", str(block)),
        *("/usr/bin/python3", "-I", "-S", "-u", "-c", script),
    ]
