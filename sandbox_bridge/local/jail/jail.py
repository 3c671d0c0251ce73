"""One jail, as its session sees it: files and commands go in, output and ends come out.

Nothing that comes out of a jail is believed but as output.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from sandbox_bridge.local.agent import relay
from sandbox_bridge.local.agent.frames import (
    BRINGS_INPUT,
    BRINGS_OUTPUT,
    DATA,
    EXEC,
    FAILED,
    FILE,
    HELPER,
    LIMIT,
    READY,
    RESIZE,
    SIGNAL,
    SWEEP,
    SYNC,
    SYNCED,
    pack,
)
from sandbox_bridge.local.agent.relay import PipesEnd
from sandbox_bridge.local.errors import FileError, JailError, JailLostError
from sandbox_bridge.local.jail import bare, bubblewrap
from sandbox_bridge.local.jail.cage_entry import CageEntry
from sandbox_bridge.local.jail.cages.base import Cage, CageError, CageLimits
from sandbox_bridge.local.jail.enclosure import Enclosure
from sandbox_bridge.local.jail.output_reader import OutputReader
from sandbox_bridge.local.jail.pipes import HostEnds, PipeReader, PipeWriter, connected, pipe
from sandbox_bridge.local.jail.ports import Ports
from sandbox_bridge.local.jail.profile import Profile
from sandbox_bridge.protocol import TtySize
from sandbox_bridge.settings import SandboxSettings

_FORWARDER = Path(relay.__file__).read_bytes()
_OWN_PROCESSES = 2
"""The jail's init and the agent: no part of what the task may have."""


@dataclass(frozen=True, slots=True)
class JailSize:
    """What a jail may use."""

    disk_mb: int
    processes: int
    memory_mb: int = 512
    network: bool = False
    """Whether public addresses can be reached; decided for good when the jail is made."""


@dataclass(frozen=True, slots=True)
class Exec:
    """A command as the jail runs it; `cwd` is relative to the task's folder, `env` is all there is."""

    argv: list[str]
    env: dict[str, str]
    cwd: str = "."
    tty: TtySize | None = None
    stdin: bool = False
    """Whether there is something to read; without it there is none, on a terminal nobody types."""


class Jail:
    """A running jail, made by `Jail.open`."""

    def __init__(
        self, enclosure: Enclosure, host_ends: HostEnds, cage_entry: CageEntry, profile: Profile
    ) -> None:
        self._enclosure = enclosure
        self._host_ends = host_ends
        self._profile = profile
        self._cage_entry = cage_entry
        self.output = OutputReader(host_ends, self.close_stdin_nowait)
        """What it says."""
        self._stdin: PipeWriter | None = None
        self._has_forwarder = False

    @property
    def cage(self) -> Cage | None:
        """The host's grip on all of it."""
        return self._cage_entry.cage

    @classmethod
    @asynccontextmanager
    async def open(cls, profile: Profile, size: JailSize, settings: SandboxSettings) -> AsyncIterator[Self]:
        """A jail with its agent ready, until the block is left; then it is gone. Raises `JailError`."""
        with ExitStack() as stack:
            cage_entry = CageEntry(profile.make_cage, profile.give_notice)
            stack.callback(cage_entry.close)
            cage_entry.make_cage()
            with ExitStack() as inner:
                host_ends, inner_ends = stack.enter_context(connected(inner, profile.drop_to))
                enclosure = _enclose(profile, size, inner_ends)
            jail = cls(enclosure, host_ends, cage_entry, profile)
            try:
                await jail._begin(size, settings.start_timeout_s)
                yield jail
            finally:
                await jail._aclose(settings.kill_timeout_s)

    async def _begin(self, size: JailSize, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._enclosure.find_init()
                self._cage_entry.begin(self._enclosure.init_pid)
                # While that takes its time.
                self._limit_cage(size)
                await self._become_ready()
                await self._cage_entry.end()
                self._cage_entry.attach(await self._enclosure.connect())
                await self._limit_processes(size)
        except TimeoutError:
            raise JailError("the jail did not start in time") from None
        except CageError as error:
            raise JailError(await self._enclosure.last_words() or str(error)) from error

    async def _become_ready(self) -> None:
        try:
            kind, _ = await self.output.next()
        except JailLostError:
            await self._enclosure.ended()
            raise JailError(self._enclosure.complaint()) from None
        if kind != READY:
            raise JailError("the agent did not say that it is ready")

    async def _aclose(self, timeout_s: float) -> None:
        self.close_stdin_nowait()
        self.output.close()
        await self._cage_entry.settle()
        if self.cage is not None:
            # Before its first process is killed alone: one that stands still would not die of that.
            with suppress(CageError):
                self.cage.kill_nowait()
        await self._enclosure.aclose(timeout_s)

    async def set_limits(self, size: JailSize) -> None:
        """Put limits in force, before the first command. Raises `JailLostError`, `CageError`."""
        self._limit_cage(size)
        await self._limit_processes(size)

    def _limit_cage(self, size: JailSize) -> None:
        if self.cage is not None:
            self.cage.set_limits(CageLimits(size.memory_mb << 20, size.processes + _OWN_PROCESSES))

    async def _limit_processes(self, size: JailSize) -> None:
        if self._profile.count_processes:
            await self._send(pack(LIMIT, b"%d" % (size.processes + _OWN_PROCESSES)))

    # --- what it is told ------------------------------------------------------------------------------

    async def _send(self, frame: bytes, *fds: int) -> None:
        try:
            await self._host_ends.control.send(frame, fds)
        except OSError as error:
            raise JailLostError(str(error)) from None

    async def write_files(self, files: Iterable[tuple[str, Iterable[bytes]]]) -> None:
        """Write files, each a path and its pieces. Raises `FileError`, `JailLostError`."""
        has_some = False
        for path, pieces in files:
            has_some = True
            await self._send(pack(FILE, path.encode()))
            for piece in pieces:
                await self._send(pack(DATA, piece))
        if not has_some:
            return
        await self._send(pack(SYNC))
        kind, payload = await self.output.next()
        if kind == FAILED:
            number, _, words = payload.partition(b"\0")
            raise FileError(int(number) if number.isdigit() else 0, words[:200].decode(errors="replace"))
        if kind != SYNCED:
            raise JailLostError("the agent did not answer for its files")

    async def start(self, command: Exec) -> None:
        """Start `command`, once the one before has ended. Raises `JailLostError`."""
        self.close_stdin_nowait()
        self.output.begin()
        if not command.stdin:
            await self._send(pack(EXEC, _fields(command)))
            return
        inner, ours = os.pipe()
        self._stdin = PipeWriter(ours)
        await self._send(pack(EXEC, _fields(command, brings=BRINGS_INPUT)), inner)

    async def start_apart(self, command: Exec) -> None:
        """As `start`, with nothing to read, and a standard output of its own: as COLLECTED. Raises `JailLostError`."""
        ours, inner = os.pipe()
        self.output.begin(PipeReader(ours))
        await self._send(pack(EXEC, _fields(command, brings=BRINGS_OUTPUT)), inner)

    def sweep_nowait(self) -> None:
        """Have the agent kill everything in there but itself, before it goes on; not where that would be the host."""
        if self._profile.bwrap is not None:
            self._host_ends.control.send_nowait(pack(SWEEP))

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
        self._host_ends.control.send_nowait(pack(RESIZE, b"%d %d" % (cols, rows)))

    def signal_nowait(self, number: int) -> None:
        """Have the agent signal the running command's process group, if there is one."""
        self._host_ends.control.send_nowait(pack(SIGNAL, bytes([number])))

    # --- its ports ------------------------------------------------------------------------------------

    def ports(self) -> Ports:
        """What listens in there, as the kernel says. Raises `JailLostError`."""
        if self._enclosure.init_fd is None:
            raise JailLostError("its first process has no name")
        if self._profile.bwrap is None:
            raise JailLostError("without a jail its ports can't be told from the host's")
        return Ports(self._enclosure.init_pid, self._enclosure.init_fd)

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
            inner_read, our_write = pipe(theirs, ours)
            our_read, inner_write = pipe(ours, theirs)
            socket.send_fds(
                self._host_ends.door, [b"%d" % port], [inner_read, inner_write], socket.MSG_DONTWAIT
            )
            ours.pop_all()
        return PipesEnd(our_read, our_write)

    # --- itself ---------------------------------------------------------------------------------------

    def notice_end(self, notice: Callable[[], None]) -> None:
        """Have `notice` called when the jail has ended by itself, until `forget_end`."""
        asyncio.get_running_loop().add_reader(self._enclosure.monitor_fd, notice)

    def forget_end(self) -> None:
        """Have nobody called."""
        asyncio.get_running_loop().remove_reader(self._enclosure.monitor_fd)

    def host_uid(self) -> int:
        """The uid that the host sees the jail's first process as. Raises OSError when it is gone."""
        return self._enclosure.host_uid()


def _enclose(profile: Profile, size: JailSize, pipes: tuple[int, ...]) -> Enclosure:
    if profile.bwrap is None:
        return bare.spawn(profile, pipes)
    return bubblewrap.spawn(profile, size.disk_mb, pipes, network=size.network)


def _fields(command: Exec, *, brings: bytes = b"") -> bytes:
    size = f"{command.tty.cols} {command.tty.rows}" if command.tty is not None else ""
    pairs = [f"{name}={value}" for name, value in command.env.items()]
    words = [command.cwd, brings.decode(), size, str(len(command.argv)), *command.argv, *pairs]
    return "\0".join(words).encode()
