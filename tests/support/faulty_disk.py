"""A disk for one process that really fails: its syncs and writes do, when told, by a library loaded before libc.

`faulty_disk.c` says what it does. It needs a C compiler; where there is none, such tests are skipped.
"""

import errno
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_suffix(".c")


class FaultyDisk:
    """What is below `root` for processes that are started with `env`; `held` is what a power cut would leave of it."""

    def __init__(self, folder: Path, *, has_memory: bool = False) -> None:
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("no C compiler to make the faulty disk with")
        folder.mkdir()
        self.root = folder / "root"
        self.held = folder / "held"
        self.fault_file = folder / "fault"
        self._told = folder / "told"
        library = folder / "faulty_disk.so"
        command = [compiler, "-O1", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-lpthread"]
        subprocess.run(command, check=True, timeout=60)
        self.root.mkdir()
        self.held.mkdir()
        self.env = {
            "LD_PRELOAD": str(library),
            "DISK_ROOT": str(self.root),
            "DISK_FAULT": str(self.fault_file),
            "DISK_TOLD": str(self._told),
        } | ({"DISK_HELD": str(self.held)} if has_memory else {})

    def fail(self, call: str, *, number: int = errno.EIO, times: int = 1_000_000, suffix: str = "*") -> None:
        """From now on each `sync` or `write` of files whose path ends so fails, so often."""
        fresh = self.fault_file.with_suffix(".new")
        fresh.write_text(f"{call} {number} {times} {suffix}")
        fresh.replace(self.fault_file)

    def heal(self) -> None:
        """From now on nothing fails."""
        self.fault_file.unlink(missing_ok=True)

    @property
    def failed(self) -> int:
        """How many calls have failed."""
        return len(self._told.read_text().splitlines()) if self._told.exists() else 0
