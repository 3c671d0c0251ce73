"""No jail at all: tasks run as we do, each in a folder of its own, and see and can change all that we can.

For whoever trusts what is run and has no bubblewrap; refused but with the flag that says so, and on loopback.
"""

import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from typing import Any

from sandbox_bridge.local.agent import frames, hello, main, terminal
from sandbox_bridge.local.errors import JailError
from sandbox_bridge.local.jail.bundle import bundle
from sandbox_bridge.local.jail.enclosure import Enclosure
from sandbox_bridge.local.jail.processes import descendants
from sandbox_bridge.local.jail.profile import PYTHON, Profile, memory_file

ISOLATION: dict[str, Any] = {
    "tier": "none",
    "network": True,
    "user_namespace": False,
    "seccomp": False,
    "memory": "none",
    "processes": "none",
    "cpu": "none",
    "freeze": "none",
}
"""What `hello` says of it."""
_ROUNDS = 200
"""Of killing: each takes who was there, and a child of theirs may have come since."""
# The agent inherits all orphans of its commands, so that they are found at the end, and ends with us.
_PRELUDE = (
    "import ctypes, os, sys; prctl = ctypes.CDLL(None).prctl; prctl(36, 1, 0, 0, 0); prctl(1, 9, 0, 0, 0);"
    "os.execv(sys.argv[1], sys.argv[1:])"
)


class Bare(Enclosure):
    """An agent without an enclosure; what it starts is killed as a tree."""

    def __init__(self, process: subprocess.Popen[bytes], folder: str) -> None:
        super().__init__(process)
        self._folder = folder

    async def find_init(self) -> None:
        """Take hold of the agent, which is all that there is."""
        self.init_pid, self.init_fd = self._process.pid, os.pidfd_open(self._process.pid)

    async def connect(self) -> int | None:
        """Its network is the host's."""
        return None

    def kill_nowait(self) -> None:
        """Kill all that it has started, and then itself."""
        for _ in range(_ROUNDS):
            below = descendants(self._process.pid)
            if not below:
                break
            for pid in below:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
        super().kill_nowait()

    def _release(self) -> None:
        super()._release()
        # The folder is ours, and so was all that ran: whoever could put a link here could follow it himself.
        shutil.rmtree(self._folder, ignore_errors=True)


def spawn(profile: Profile, fds: tuple[int, ...]) -> Bare:
    """Start an agent in a new folder, on `fds`. Raises `JailError`."""
    folder = tempfile.mkdtemp(prefix="sandbox-")
    program = memory_file("agent", profile.agent_program)
    agent = [profile.python, "-I", "-S", f"/dev/fd/{program}", *map(str, [profile.open_files, *fds])]
    try:
        process = subprocess.Popen(  # noqa: S603 - no shell, our own words
            [profile.python, "-I", "-S", "-c", _PRELUDE, *agent],
            pass_fds=[*fds, program],
            env={},
            cwd=folder,
            process_group=profile.process_group,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise JailError(str(error)) from error
    finally:
        os.close(program)
    return Bare(process, folder)


def bare_profile(process_group: int, open_files: int) -> Profile:
    """The profile without a jail. Raises OSError, `CalledProcessError`."""
    return Profile(
        bwrap=None,
        python=PYTHON,
        agent_program=bundle(PYTHON, frames, hello, terminal, main),
        drop_to=None,
        process_group=process_group,
        count_processes=False,
        open_files=open_files,
    )
