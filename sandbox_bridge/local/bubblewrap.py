"""One bubblewrap: started, held by pidfds, and gone at the end with everything in it.

Its end is the kernel's word: the death of the first process in its pid namespace takes everything else in
there along, and bubblewrap itself ends after that.
"""

import asyncio
import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import orjson
import structlog

from sandbox_bridge.local.errors import JailError
from sandbox_bridge.local.profile import ETC_FILES, JailFds, Profile, memory_file
from sandbox_bridge.local.wires import readable

_MAX_STATUS_BYTES = 4096
_MAX_COMPLAINT_BYTES = 4096
_INIT_TIMEOUT_S = 1.0
"""For bubblewrap to name its first process, when a jail is given up while it starts."""

log = structlog.get_logger()


class Bubblewrap:
    """A running bubblewrap. Its first process waits in there until `release_nowait`."""

    def __init__(self, process: subprocess.Popen[bytes], status_fd: int, block_fd: int) -> None:
        self._process = process
        self._status_fd = status_fd
        self._block_fd = block_fd
        self.monitor_fd = os.pidfd_open(process.pid)
        """Readable once all is over."""
        self.init_fd: int | None = None
        self.init_pid = 0
        """The host's number of the first process, once `find_init` has found it, and until it is gone."""

    async def find_init(self) -> None:
        """Take hold of the jail's first process, which bubblewrap names before it lets it run."""
        status = b""
        while b"\n" not in status and len(status) < _MAX_STATUS_BYTES:
            await readable([self._status_fd])
            piece = os.read(self._status_fd, _MAX_STATUS_BYTES)
            if not piece:
                return
            status += piece
        # The line is bubblewrap's, and the pid is its child: the number can't be another's while it lives.
        with suppress(ProcessLookupError, orjson.JSONDecodeError, KeyError):
            self.init_pid = orjson.loads(status.split(b"\n")[0])["child-pid"]
            self.init_fd = os.pidfd_open(self.init_pid)

    def release_nowait(self) -> None:
        """Let the first process go on."""
        with suppress(BrokenPipeError):
            os.write(self._block_fd, b"!")

    async def aclose(self, timeout_s: float) -> None:
        """Kill it and wait until all in there is gone; beyond `timeout_s` it is logged, and left."""
        if self.init_fd is None:
            # Killing only bubblewrap now could leave its child waiting for it for ever.
            with suppress(TimeoutError):
                async with asyncio.timeout(_INIT_TIMEOUT_S):
                    await self.find_init()
        self.kill_nowait()
        try:
            async with asyncio.timeout(timeout_s):
                await self.ended()
        except TimeoutError:
            log.critical("jail_does_not_die", pid=self._process.pid)
        finally:
            self._release()

    def kill_nowait(self) -> None:
        """Kill everything in there."""
        if self.init_fd is None:
            self._process.kill()
        else:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.init_fd, signal.SIGKILL)

    async def ended(self) -> None:
        """Wait for its end."""
        # Bubblewrap ends after its child; that child, a namespace's init, ends after everything in there.
        await readable([self.monitor_fd])
        self._process.wait()

    def _release(self) -> None:
        for fd in (self.monitor_fd, self._status_fd, self._block_fd, self.init_fd):
            if fd is not None:
                os.close(fd)
        if self._process.stderr is not None:
            self._process.stderr.close()

    def host_uid(self) -> int:
        """The uid that the host sees the first process as. Raises OSError when it is gone."""
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii")
        return int(status.partition("Uid:")[2].split()[0])

    def complaint(self) -> str:
        """What it has said on its standard error."""
        stderr = self._process.stderr
        if stderr is None:
            return ""
        os.set_blocking(stderr.fileno(), False)
        return (stderr.read(_MAX_COMPLAINT_BYTES) or b"").decode(errors="replace").strip()


def spawn(profile: Profile, disk_mb: int, wires: tuple[int, ...]) -> Bubblewrap:
    """Start bubblewrap with the agent on `wires`, the inner ends in its order. Raises `JailError`."""
    status_read, status_write = os.pipe()
    block_read, block_write = os.pipe()
    fds = JailFds(
        wires=wires,
        status=status_write,
        block=block_read,
        agent=memory_file("agent", profile.agent_program),
        seccomp=memory_file("seccomp", profile.seccomp) if profile.seccomp else None,
        etc={path: memory_file("etc", content) for path, content in ETC_FILES.items()},
    )
    try:
        # An empty environment, not only --clearenv: a jail can read its init's /proc/1/environ.
        process = subprocess.Popen(  # noqa: S603 - no shell, our own words
            profile.arguments(fds, disk_mb=disk_mb),
            pass_fds=[*wires, *fds.read_once()],
            env={},
            cwd="/",
            process_group=profile.process_group,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            user=profile.drop_to,
            group=profile.drop_to,
            extra_groups=None if profile.drop_to is None else [],
        )
    except OSError as error:
        os.close(status_read)
        os.close(block_write)
        raise JailError(str(error)) from error
    finally:
        for fd in fds.read_once():
            os.close(fd)
    return Bubblewrap(process, status_read, block_write)
