"""One bubblewrap: a jail in namespaces of its own.

Its end is the kernel's word: the death of the first process in its pid namespace takes everything else in
there along, and bubblewrap itself ends after that.
"""

import asyncio
import os
import subprocess
from contextlib import AsyncExitStack, suppress

import orjson

from sandbox_bridge.local.errors import JailError
from sandbox_bridge.local.jail.enclosure import Enclosure
from sandbox_bridge.local.jail.pipes import close_all, readable
from sandbox_bridge.local.jail.profile import JailFds, Profile, memory_file
from sandbox_bridge.local.jail.uplink import uplink

_MAX_STATUS_BYTES = 4096
_INIT_TIMEOUT_S = 1.0
"""For bubblewrap to name its first process, when a jail is given up while it starts."""


class Bubblewrap(Enclosure):
    """A running bubblewrap."""

    def __init__(self, process: subprocess.Popen[bytes], status_fd: int, *, network: Profile | None) -> None:
        super().__init__(process)
        self._network = network
        """By what it is to have a network; None for none."""
        self._uplink = AsyncExitStack()
        self._status_fd = status_fd

    async def find_init(self) -> None:
        """Take hold of the jail's first process, which bubblewrap names as soon as it is there."""
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

    async def connect(self) -> int | None:
        """Give it its network, if it is to have one. Raises `JailError`."""
        if self._network is None or self.init_fd is None:
            return None
        return await self._uplink.enter_async_context(uplink(self._network, self.init_pid, self.init_fd))

    async def aclose(self, timeout_s: float) -> None:
        """Kill it and wait until all in there is gone; beyond `timeout_s` it is logged, and left."""
        if self.init_fd is None:
            # Killing only bubblewrap now could leave its child waiting for it for ever.
            with suppress(TimeoutError):
                async with asyncio.timeout(_INIT_TIMEOUT_S):
                    await self.find_init()
        try:
            await super().aclose(timeout_s)
        finally:
            await self._uplink.aclose()

    def _release(self) -> None:
        super()._release()
        close_all([self._status_fd])


def spawn(profile: Profile, disk_mb: int, pipes: tuple[int, ...], *, network: bool = False) -> Bubblewrap:
    """Start bubblewrap with the agent on `pipes`, the inner ends in its order. Raises `JailError`.

    `network`: with the files that one needs; it itself comes later.
    """
    etc = profile.etc_files(network=network)
    status_read, status_write = os.pipe()
    fds = JailFds(
        pipes=pipes,
        status=status_write,
        agent=memory_file("agent", profile.agent_program),
        seccomp=memory_file("seccomp", profile.seccomp) if profile.seccomp else None,
        etc={path: memory_file("etc", content) for path, content in etc.items()},
    )
    words = profile.arguments(fds, disk_mb=disk_mb)
    drop_to = profile.drop_to
    if drop_to is not None and profile.setpriv is not None:
        # Python would fork for that, and so copy the service's page tables; now it has vfork, and no more to do.
        words = [profile.setpriv, f"--reuid={drop_to}", f"--regid={drop_to}", "--clear-groups", "--", *words]
        drop_to = None
    try:
        # An empty environment, not only --clearenv: a jail can read its init's /proc/1/environ.
        process = subprocess.Popen(  # noqa: S603 - no shell, our own words
            words,
            pass_fds=[*pipes, *fds.read_once()],
            env={},
            cwd="/",
            process_group=profile.process_group,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            user=drop_to,
            group=drop_to,
            extra_groups=None if drop_to is None else [],
        )
    except OSError as error:
        os.close(status_read)
        raise JailError(str(error)) from error
    finally:
        for fd in fds.read_once():
            os.close(fd)
    return Bubblewrap(process, status_read, network=profile if network else None)
