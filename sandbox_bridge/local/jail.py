"""One jail: a bubblewrap with our agent inside, spoken to over a socket pair, killed from outside.

Nothing that comes out of a jail is believed but as output. Its end is the kernel's word: we hold pidfds of
bubblewrap and of the first process in its pid namespace, whose death takes everything else in there along.
"""

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Iterable
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import orjson
import structlog

from sandbox_bridge.local.agent import relay
from sandbox_bridge.local.agent.main import (
    DATA,
    FAILED,
    FILE,
    HELPER,
    READY,
    SIGNAL,
    SYNC,
    SYNCED,
    MalformedError,
    Unpacker,
    pack,
)
from sandbox_bridge.local.agent.relay import PipesEnd
from sandbox_bridge.local.ports import Ports
from sandbox_bridge.local.profile import ETC_FILES, JailFds, Profile, memory_file
from sandbox_bridge.settings import SandboxSettings

MAX_AGENT_FRAME_BYTES = 64 << 10
_READ_BYTES = 64 << 10
_MAX_STATUS_BYTES = 4096
_MAX_COMPLAINT_BYTES = 4096
_SO_PASSRIGHTS = 83
_FORWARDER = Path(relay.__file__).read_bytes()
_INIT_TIMEOUT_S = 1.0
"""For bubblewrap to name its first process, when a jail is given up while it starts."""

log = structlog.get_logger()


class JailError(Exception):
    """No jail could be made; the text has bubblewrap's own words."""


class JailLostError(Exception):
    """The jail, or the agent in it, died under us."""


class FileError(Exception):
    """The agent could not write a file: `errno` and the system's words."""

    def __init__(self, errno: int, words: str) -> None:
        super().__init__(words)
        self.errno = errno


@dataclass(frozen=True, slots=True)
class JailSize:
    """What a jail is made with."""

    disk_mb: int
    processes: int


class Jail:
    """A running jail. Made by `Jail.open`; `aclose` kills it and waits until nothing of it is left."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        status_fd: int,
        door: socket.socket,
        settings: SandboxSettings,
    ) -> None:
        self._process = process
        self._door = door
        self._settings = settings
        self._monitor_fd = os.pidfd_open(process.pid)
        self._status_fd = status_fd
        self._init_fd: int | None = None
        self._init_pid = 0
        self._has_forwarder = False
        self._unpacker = Unpacker(MAX_AGENT_FRAME_BYTES)
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    @classmethod
    @asynccontextmanager
    async def open(cls, profile: Profile, size: JailSize, settings: SandboxSettings) -> AsyncIterator[Self]:
        """A jail with its agent ready, until the block is left; then it is gone. Raises `JailError`."""
        ours, theirs = socket.socketpair()
        # Bounded by the kernel, in messages: a jail that takes none fills it, and that is all.
        door, inner_door = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs, door, inner_door:
            for end in (ours, door):
                refuse_descriptors(end)
            jail = cls(*_spawn(profile, size, theirs, inner_door), door, settings)
            theirs.close()
            inner_door.close()
            try:
                await jail._become_ready(ours)
                yield jail
            finally:
                await jail._aclose()

    async def _become_ready(self, ours: socket.socket) -> None:
        self._reader, self._writer = await asyncio.open_unix_connection(sock=ours, limit=_READ_BYTES)
        try:
            async with asyncio.timeout(self._settings.start_timeout_s):
                await self._find_init()
                try:
                    kind, _ = await self._next()
                except JailLostError:
                    await self._exited()
                    raise JailError(self._complaint()) from None
        except TimeoutError:
            raise JailError("the jail did not start in time") from None
        if kind != READY:
            raise JailError("the agent did not say that it is ready")

    # --- what it says ---------------------------------------------------------------------------------

    def next_nowait(self) -> tuple[bytes, bytes] | None:
        """The next frame of what was read, or None. Raises `JailLostError` where it is none."""
        try:
            return self._unpacker.next_nowait()
        except MalformedError as error:
            raise JailLostError(f"the agent sent {error}") from None

    async def fill(self) -> None:
        """Read more; cancelled, it has read nothing. Raises `JailLostError` at the end."""
        try:
            data = await self._reader.read(_READ_BYTES)
        except OSError as error:
            raise JailLostError(str(error)) from None
        if not data:
            raise JailLostError("the agent hung up")
        self._unpacker.feed(data)

    async def discard(self) -> None:
        """Read, and throw away, until the end. Raises `JailLostError` there."""
        while True:
            while self.next_nowait() is not None:
                pass
            await self.fill()

    async def _next(self) -> tuple[bytes, bytes]:
        while (frame := self.next_nowait()) is None:
            await self.fill()
        return frame

    # --- what it is told ------------------------------------------------------------------------------

    async def send(self, frame: bytes) -> None:
        """Send one frame to the agent, waiting for room. Raises `JailLostError`."""
        try:
            self._writer.write(frame)
            await self._writer.drain()
        except OSError as error:
            raise JailLostError(str(error)) from None

    def signal_nowait(self, number: int) -> None:
        """Have the agent signal the running command's process group, if there is one."""
        self._writer.write(pack(SIGNAL, bytes([number])))

    async def write_files(self, files: Iterable[tuple[str, Iterable[bytes]]]) -> None:
        """Write files, each a path and its pieces. Raises `FileError`, `JailLostError`."""
        for path, pieces in files:
            await self.send(pack(FILE, path.encode()))
            for piece in pieces:
                await self.send(pack(DATA, piece))
        await self.send(pack(SYNC))
        kind, payload = await self._next()
        if kind == FAILED:
            number, _, words = payload.partition(b"\0")
            raise FileError(int(number) if number.isdigit() else 0, words[:200].decode(errors="replace"))
        if kind != SYNCED:
            raise JailLostError("the agent did not answer for its files")

    # --- its ports ------------------------------------------------------------------------------------

    def ports(self) -> Ports:
        """What listens in there, as the kernel says. Raises `JailLostError`."""
        if self._init_fd is None:
            raise JailLostError("its first process has no name")
        return Ports(self._init_pid, self._init_fd)

    async def start_forwarder(self) -> None:
        """Have the agent start what `connect_nowait` needs, once. Raises `JailLostError`."""
        if not self._has_forwarder:
            self._has_forwarder = True
            await self.send(pack(HELPER, _FORWARDER))

    def connect_nowait(self, port: int) -> PipesEnd:
        """Our end of a new connection to `port` of the jail. Where it can't be made, the end ends at once.

        Raises OSError where there are too many on their way.
        """
        with ExitStack() as theirs, ExitStack() as ours:
            inner_read, our_write = os.pipe()
            theirs.callback(os.close, inner_read)
            ours.callback(os.close, our_write)
            our_read, inner_write = os.pipe()
            theirs.callback(os.close, inner_write)
            ours.callback(os.close, our_read)
            socket.send_fds(self._door, [b"%d" % port], [inner_read, inner_write], socket.MSG_DONTWAIT)
            ours.pop_all()
        return PipesEnd(our_read, our_write)

    # --- its end --------------------------------------------------------------------------------------

    async def _find_init(self) -> None:
        """Take hold of the jail's first process, which bubblewrap names before it lets it run."""
        status = b""
        while b"\n" not in status and len(status) < _MAX_STATUS_BYTES:
            await _readable(self._status_fd)
            piece = os.read(self._status_fd, _MAX_STATUS_BYTES)
            if not piece:
                return
            status += piece
        # The line is bubblewrap's, and the pid is its child: the number can't be another's while it lives.
        with suppress(ProcessLookupError, orjson.JSONDecodeError, KeyError):
            self._init_pid = orjson.loads(status.split(b"\n")[0])["child-pid"]
            self._init_fd = os.pidfd_open(self._init_pid)

    async def _aclose(self) -> None:
        """Kill the jail and wait until all of it is gone."""
        if self._init_fd is None:
            # Killing only bubblewrap now could leave its child waiting for it for ever.
            with suppress(TimeoutError):
                async with asyncio.timeout(_INIT_TIMEOUT_S):
                    await self._find_init()
        if self._init_fd is None:
            self._process.kill()
        else:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._init_fd, signal.SIGKILL)
        try:
            async with asyncio.timeout(self._settings.kill_timeout_s):
                await self._exited()
        except TimeoutError:
            log.critical("jail_does_not_die", pid=self._process.pid)
        finally:
            self._release()

    async def _exited(self) -> None:
        # Bubblewrap ends after its child; that child, a namespace's init, ends after everything in there.
        await _readable(self._monitor_fd)
        self._process.wait()

    def _release(self) -> None:
        writer = getattr(self, "_writer", None)
        if writer is not None:
            writer.transport.abort()
        for fd in (self._monitor_fd, self._status_fd, self._init_fd):
            if fd is not None:
                os.close(fd)
        if self._process.stderr is not None:
            self._process.stderr.close()

    def host_uid(self) -> int:
        """The uid that the host sees the jail's first process as. Raises OSError when it is gone."""
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii")
        return int(status.partition("Uid:")[2].split()[0])

    def _complaint(self) -> str:
        stderr = self._process.stderr
        if stderr is None:
            return ""
        os.set_blocking(stderr.fileno(), False)
        return (stderr.read(_MAX_COMPLAINT_BYTES) or b"").decode(errors="replace").strip()


def refuse_descriptors(sock: socket.socket) -> None:
    """Have the kernel (6.16 and newer) take no file descriptors that come through `sock`.

    An older one drops them where we read, and the last owner of a socket may wait long to close it.
    """
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, _SO_PASSRIGHTS, 0)


def _spawn(
    profile: Profile, size: JailSize, control: socket.socket, door: socket.socket
) -> tuple[subprocess.Popen[bytes], int]:
    """Start bubblewrap; returns it and where it writes its status. Raises `JailError`."""
    status_read, status_write = os.pipe()
    fds = JailFds(
        control=control.fileno(),
        door=door.fileno(),
        status=status_write,
        agent=memory_file("agent", profile.agent_source),
        etc={path: memory_file("etc", content) for path, content in ETC_FILES.items()},
    )
    try:
        # An empty environment, not only --clearenv: a jail can read its init's /proc/1/environ.
        process = subprocess.Popen(  # noqa: S603 - no shell, our own words
            profile.arguments(fds, disk_mb=size.disk_mb, processes=size.processes),
            pass_fds=fds.all(),
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
        raise JailError(str(error)) from error
    finally:
        for fd in [status_write, fds.agent, *fds.etc.values()]:
            os.close(fd)
    return process, status_read


async def _readable(fd: int) -> None:
    """Wait until `fd` can be read, or has ended."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(fd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(fd)
