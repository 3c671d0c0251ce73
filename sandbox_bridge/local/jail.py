"""One jail, as its session sees it: files and commands go in, output and ends come out.

Nothing that comes out of a jail is believed but as output.
"""

import asyncio
import os
import socket
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from sandbox_bridge.local.agent import relay
from sandbox_bridge.local.agent.frames import (
    BRINGS_INPUT,
    DATA,
    EXEC,
    EXITED,
    FAILED,
    FILE,
    HELPER,
    LIMIT,
    NOT_STARTED,
    READY,
    RESIZE,
    SIGNAL,
    STDERR,
    STDOUT,
    SYNC,
    SYNCED,
    WORK,
    MalformedError,
    Unpacker,
    pack,
)
from sandbox_bridge.local.agent.relay import PipesEnd
from sandbox_bridge.local.bubblewrap import Bubblewrap, spawn
from sandbox_bridge.local.errors import FileError, JailError, JailLostError
from sandbox_bridge.local.ports import Ports
from sandbox_bridge.local.profile import Profile
from sandbox_bridge.local.wires import Faucet, Outlet, Tap, readable
from sandbox_bridge.protocol import TtySize
from sandbox_bridge.settings import SandboxSettings

_MAX_REPORT_BYTES = 4096
_READ_BYTES = 64 << 10
_FORWARDER = Path(relay.__file__).read_bytes()
_OWN_PROCESSES = 2
"""The jail's init and the agent: no part of what the task may have."""


@dataclass(frozen=True, slots=True)
class JailSize:
    """What a jail may use."""

    disk_mb: int
    processes: int


@dataclass(frozen=True, slots=True)
class Exec:
    """A command as the jail runs it; `cwd` is relative to the task's folder, `env` is all there is."""

    argv: list[str]
    env: dict[str, str]
    cwd: str = WORK
    tty: TtySize | None = None
    stdin: bool = False
    """Whether there is something to read; without it there is none, on a terminal nobody types."""


@dataclass(slots=True)
class _Taps:
    """The host's ends of what comes out."""

    stdout: Tap
    stderr: Tap
    report: Tap
    frames: deque[tuple[bytes, bytes]] = field(default_factory=deque)

    def all(self) -> list[Tap]:
        return [self.stdout, self.stderr, self.report]


class Jail:
    """A running jail, made by `Jail.open`."""

    def __init__(
        self, bubblewrap: Bubblewrap, outlet: Outlet, taps: _Taps, door: socket.socket, profile: Profile
    ) -> None:
        self._bubblewrap = bubblewrap
        self._outlet = outlet
        self._taps = taps
        self._door = door
        self._profile = profile
        self._unpacker = Unpacker(_MAX_REPORT_BYTES)
        self._stdin: Faucet | None = None
        self._is_running = False
        self._has_forwarder = False

    @classmethod
    @asynccontextmanager
    async def open(cls, profile: Profile, size: JailSize, settings: SandboxSettings) -> AsyncIterator[Self]:
        """A jail with its agent ready, until the block is left; then it is gone. Raises `JailError`."""
        with ExitStack() as ours:
            with ExitStack() as theirs:
                outlet, control = _outlet(ours, theirs)
                report, stdout, stderr = (_tap(ours, theirs, profile.drop_to) for _ in range(3))
                door, inner_door = _door(ours, theirs)
                wires = (control, report[1], stdout[1], stderr[1], inner_door)
                bubblewrap = spawn(profile, size.disk_mb, wires)
            taps = _Taps(stdout[0], stderr[0], report[0])
            jail = cls(bubblewrap, outlet, taps, door, profile)
            try:
                await jail._become_ready(settings.start_timeout_s)
                await jail.set_limits(size)
                yield jail
            finally:
                jail.close_stdin_nowait()
                await bubblewrap.aclose(settings.kill_timeout_s)

    async def _become_ready(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._bubblewrap.find_init()
                self._bubblewrap.release_nowait()
                try:
                    kind, _ = await self._next()
                except JailLostError:
                    await self._bubblewrap.ended()
                    raise JailError(self._bubblewrap.complaint()) from None
        except TimeoutError:
            raise JailError("the jail did not start in time") from None
        if kind != READY:
            raise JailError("the agent did not say that it is ready")

    async def set_limits(self, size: JailSize) -> None:
        """Put limits in force, before the first command. Raises `JailLostError`."""
        if self._profile.count_processes:
            await self._send(pack(LIMIT, b"%d" % (size.processes + _OWN_PROCESSES)))

    # --- what it says ---------------------------------------------------------------------------------

    def next_nowait(self) -> tuple[bytes, bytes] | None:
        """The next of what was read, or None: (STDOUT | STDERR, bytes), (EXITED | NOT_STARTED, payload)."""
        return self._taps.frames.popleft() if self._taps.frames else None

    async def fill(self) -> None:
        """Read more; cancelled, it has read nothing. Raises `JailLostError` at the end."""
        taps = self._taps
        ready = await readable(tap.fd for tap in taps.all() if not tap.has_ended)
        for kind, tap in ((STDOUT, taps.stdout), (STDERR, taps.stderr)):
            if tap.fd in ready and (data := tap.read(_READ_BYTES)):
                taps.frames.append((kind, data))
        if taps.report.fd in ready:
            self._hear()

    def _hear(self) -> None:
        data = self._taps.report.read(_READ_BYTES)
        if self._taps.report.has_ended:
            raise JailLostError("the agent hung up")
        self._unpacker.feed(data)
        try:
            while (frame := self._unpacker.next_nowait()) is not None:
                self._note_end(frame[0])
                self._taps.frames.append(frame)
        except MalformedError as error:
            raise JailLostError(f"the agent sent {error}") from None

    def _note_end(self, kind: bytes) -> None:
        """Take what a command that has just ended has printed; the background's comes later."""
        if kind not in {EXITED, NOT_STARTED}:
            return
        if not self._is_running:
            raise JailLostError("the agent told of an end that there was not")
        self._is_running = False
        self.close_stdin_nowait()
        for mark, tap in ((STDOUT, self._taps.stdout), (STDERR, self._taps.stderr)):
            self._taps.frames.extend((mark, piece) for piece in tap.read_present(_READ_BYTES))

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

    async def _send(self, frame: bytes, *fds: int) -> None:
        try:
            await self._outlet.send(frame, fds)
        except OSError as error:
            raise JailLostError(str(error)) from None

    async def write_files(self, files: Iterable[tuple[str, Iterable[bytes]]]) -> None:
        """Write files, each a path and its pieces. Raises `FileError`, `JailLostError`."""
        for path, pieces in files:
            await self._send(pack(FILE, path.encode()))
            for piece in pieces:
                await self._send(pack(DATA, piece))
        await self._send(pack(SYNC))
        kind, payload = await self._next()
        if kind == FAILED:
            number, _, words = payload.partition(b"\0")
            raise FileError(int(number) if number.isdigit() else 0, words[:200].decode(errors="replace"))
        if kind != SYNCED:
            raise JailLostError("the agent did not answer for its files")

    async def start(self, command: Exec) -> None:
        """Start `command`, once the one before has ended. Raises `JailLostError`."""
        self.close_stdin_nowait()
        self._is_running = True
        fds = []
        if command.stdin:
            inner, ours = os.pipe()
            self._stdin = Faucet(ours)
            fds.append(inner)
        await self._send(pack(EXEC, _fields(command)), *fds)

    async def write_stdin(self, data: bytes) -> None:
        """Write to the running command's standard input, waiting for room; what nobody will read is dropped."""
        if self._stdin is not None:
            await self._stdin.write(data)

    def close_stdin_nowait(self) -> None:
        """End the running command's standard input; on a terminal that is a Ctrl-D."""
        if self._stdin is not None:
            self._stdin.close()
            self._stdin = None

    def resize_nowait(self, cols: int, rows: int) -> None:
        """Give the running command's terminal, if it has one, a new size."""
        self._outlet.send_nowait(pack(RESIZE, b"%d %d" % (cols, rows)))

    def signal_nowait(self, number: int) -> None:
        """Have the agent signal the running command's process group, if there is one."""
        self._outlet.send_nowait(pack(SIGNAL, bytes([number])))

    # --- its ports ------------------------------------------------------------------------------------

    def ports(self) -> Ports:
        """What listens in there, as the kernel says. Raises `JailLostError`."""
        if self._bubblewrap.init_fd is None:
            raise JailLostError("its first process has no name")
        return Ports(self._bubblewrap.init_pid, self._bubblewrap.init_fd)

    async def start_forwarder(self) -> None:
        """Have the agent start what `connect_nowait` needs, once. Raises `JailLostError`."""
        if not self._has_forwarder:
            self._has_forwarder = True
            await self._send(pack(HELPER, _FORWARDER))

    def connect_nowait(self, port: int) -> PipesEnd:
        """Our end of a new connection to `port` of the jail. Where it can't be made, the end ends at once.

        Raises OSError where there are too many on their way.
        """
        with ExitStack() as theirs, ExitStack() as ours:
            inner_read, our_write = _pipe(theirs, ours)
            our_read, inner_write = _pipe(ours, theirs)
            socket.send_fds(self._door, [b"%d" % port], [inner_read, inner_write], socket.MSG_DONTWAIT)
            ours.pop_all()
        return PipesEnd(our_read, our_write)

    def host_uid(self) -> int:
        """The uid that the host sees the jail's first process as. Raises OSError when it is gone."""
        return self._bubblewrap.host_uid()


def _fields(command: Exec) -> bytes:
    size = f"{command.tty.cols} {command.tty.rows}" if command.tty is not None else ""
    pairs = [f"{name}={value}" for name, value in command.env.items()]
    brings = BRINGS_INPUT.decode() if command.stdin else ""
    return "\0".join([command.cwd, brings, size, str(len(command.argv)), *command.argv, *pairs]).encode()


# --- wires, each end kept by a stack -----------------------------------------------------------------------


def _pipe(readers: ExitStack, writers: ExitStack) -> tuple[int, int]:
    read_end, write_end = os.pipe()
    readers.callback(os.close, read_end)
    writers.callback(os.close, write_end)
    return read_end, write_end


def _outlet(ours: ExitStack, theirs: ExitStack) -> tuple[Outlet, int]:
    outer, inner = socket.socketpair()
    theirs.enter_context(inner)
    outlet = Outlet(outer)
    ours.callback(outlet.close)
    return outlet, inner.fileno()


def _tap(ours: ExitStack, theirs: ExitStack, owner: int | None) -> tuple[Tap, int]:
    read_end, write_end = os.pipe()
    tap = Tap(read_end)
    ours.callback(tap.close)
    theirs.callback(os.close, write_end)
    if owner is not None:
        # So that who has it can also open it by name, as /dev/stderr.
        os.fchown(write_end, owner, owner)
    return tap, write_end


def _door(ours: ExitStack, theirs: ExitStack) -> tuple[socket.socket, int]:
    # Bounded by the kernel, in messages: a jail that takes none fills it, and that is all.
    outer, inner = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.enter_context(outer)
    theirs.enter_context(inner)
    outer.shutdown(socket.SHUT_RD)
    return outer, inner.fileno()
