"""The agent: process 2 of a jail, the only one there that speaks with the host.

It writes the task's files and runs its commands one at a time. What they print does not go through it: every
command inherits the write ends of two pipes whose other ends the host holds, and a full pipe stops the
process that writes. It runs on the system's Python (3.9 or newer) with few imports, since a session may wait
for its start. Nothing here is trusted by the host: whatever runs beside the agent in the jail may kill it or
speak in its place.

The host speaks on a socket whose way back is shut, so that nothing can be queued towards it; the agent
answers on a pipe.
"""

# pathlib, contextlib, signal and socket would cost each session 10 ms of its start, and even os one.
# ruff: noqa: PTH123, SIM105, SLF001

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import _socket
import errno
import posix as os
import resource
import select
import sys

from sandbox_bridge.local.agent.frames import (
    BRINGS_INPUT,
    BRINGS_OUTPUT,
    DATA,
    DISK_FULL,
    EXEC,
    EXITED,
    FAILED,
    FILE,
    HELPER,
    LIMIT,
    NOT_STARTED,
    RESIZE,
    SIGNAL,
    SIGNALLED,
    SWEEP,
    SYNC,
    SYNCED,
    TMP,
    Unpacker,
    pack,
)
from sandbox_bridge.local.agent.terminal import Terminal

_READ_BYTES = 64 << 10
_RESTORED = [_signal.SIGHUP, _signal.SIGINT, _signal.SIGTERM, _signal.SIGPIPE, _signal.SIGXFSZ]
_AGENT_PID = 2
"""Our number in a jail's own pid namespace, in which the first is bubblewrap's."""
_SWEEP_TRIES = 500
"""Of a millisecond each, for killed processes to be gone."""

_PROGRAMS = (b"#!", b"\x7fELF")
"""How files begin that can be run: nothing else says so of one that came with a task."""


class Agent:
    """One loop over the host's socket, the running command and its terminal, if it has one."""

    def __init__(self, control: int, report: int, outputs: tuple[int, int], door: int) -> None:
        self._control = _socket.socket(fileno=control)
        self._report = report
        self._outputs = outputs
        self._door = door
        self._inbox = Unpacker(max_payload=64 << 20)
        self._brought: list[int] = []
        # Open from the start: a task may take the rights to its own folders away.
        self._home = os.open(".", os.O_RDONLY)
        self._disks = (self._home, os.open(TMP, os.O_RDONLY))
        self._is_home = True
        self._file = -1
        self._begins = b""
        self._failure = b""
        self._child = 0
        self._pidfd = -1
        self._was_signalled = False
        self._terminal: Terminal | None = None
        self._handlers = {
            FILE: self._open_file,
            DATA: self._write_data,
            SYNC: self._sync,
            LIMIT: limit_processes,
            EXEC: self._exec,
            RESIZE: self._resize,
            SIGNAL: self._signal,
            SWEEP: self._sweep,
            HELPER: self._help,
        }

    def run(self) -> None:
        """Serve until the host hangs up."""
        while True:
            poll = select.poll()
            poll.register(self._control.fileno(), select.POLLIN)
            if self._child and not (self._terminal is not None and self._terminal.is_waiting):
                poll.register(self._pidfd, select.POLLIN)
            if self._terminal is not None:
                self._terminal.watch(poll)
            ready = dict(poll.poll())
            if self._terminal is not None:
                self._terminal.carry(ready)
            if self._pidfd in ready:
                self._end_command()
            if self._control.fileno() in ready and not self._receive():
                return

    def _tell(self, kind: bytes, payload: bytes = b"") -> None:
        # So few and so short that they fit into a pipe that nobody reads.
        os.write(self._report, pack(kind, payload))

    def _receive(self) -> bool:
        room = _socket.CMSG_SPACE(2 * 4)
        data, extra, _, _ = self._control.recvmsg(_READ_BYTES, room, _socket.MSG_CMSG_CLOEXEC)
        for _, _, fds in extra:
            self._brought += memoryview(fds[: len(fds) // 4 * 4]).cast("i").tolist()
        self._inbox.feed(data)
        while (frame := self._inbox.next_nowait()) is not None:
            self._handlers[frame[0]](frame[1])
        return bool(data)

    # --- files ----------------------------------------------------------------------------------------

    def _open_file(self, path: bytes) -> None:
        self._close_file()
        if self._failure:
            return
        try:
            self._file, self._begins = open_new(path), b""
        except OSError as error:
            self._fail(error)

    def _write_data(self, data: bytes) -> None:
        try:
            self._begins = (self._begins + data[:4])[:4]
            while data and self._file >= 0:
                data = data[os.write(self._file, data) :]
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        self._close_file()
        self._failure = b"%d\0%s" % (error.errno or 0, os.strerror(error.errno or 0).encode())

    def _close_file(self) -> None:
        if self._file >= 0:
            if self._begins.startswith(_PROGRAMS):
                os.fchmod(self._file, 0o755)
            os.close(self._file)
            self._file = -1

    def _sync(self, _payload: bytes) -> None:
        self._close_file()
        if self._failure:
            self._tell(FAILED, self._failure)
        else:
            self._tell(SYNCED)

    # --- commands -------------------------------------------------------------------------------------

    def _exec(self, payload: bytes) -> None:
        folder, brings, size, count, *rest = payload.split(b"\0")
        argv, environment = rest[: int(count)], dict(pair.split(b"=", 1) for pair in rest[int(count) :])
        brought = {kind: self._brought.pop(0) for kind in (BRINGS_INPUT, BRINGS_OUTPUT) if kind in brings}
        self._was_signalled = False
        try:
            if size:
                self._terminal = Terminal(size, brought.pop(BRINGS_INPUT, -1), self._outputs[0])
            self._enter(folder)
            self._child = spawn(argv, environment, self._streams(brought))
            self._pidfd = os.pidfd_open(self._child)
        except OSError as error:
            self._close_terminal()
            self._refuse(error, b"%s in %s" % (argv[0], folder))
        finally:
            for fd in brought.values():
                os.close(fd)

    def _enter(self, folder: bytes) -> None:
        """From wherever the last command began. Raises OSError."""
        if not self._is_home:
            os.fchdir(self._home)
            self._is_home = True
        if folder != b".":
            os.chdir(folder)
            self._is_home = False

    def _streams(self, brought: dict[bytes, int]) -> list[tuple[object, ...]]:
        """What a command has as its standard streams, as posix_spawn takes it."""
        if self._terminal is not None:
            # Opened by who has just begun a session: so it becomes the one that controls it.
            opened = (os.POSIX_SPAWN_OPEN, 0, os.ttyname(self._terminal.slave), os.O_RDWR, 0)
            return [opened, (os.POSIX_SPAWN_DUP2, 0, 1), (os.POSIX_SPAWN_DUP2, 0, 2)]
        # Opened anew: a program that sets its own to not block does so for itself alone.
        streams: list[tuple[object, ...]] = [
            (os.POSIX_SPAWN_OPEN, target, f"/proc/self/fd/{fd}", os.O_WRONLY, 0)
            for target, fd in enumerate(self._outputs, start=1)
        ]
        own = {BRINGS_INPUT: 0, BRINGS_OUTPUT: 1}
        return streams + [(os.POSIX_SPAWN_DUP2, fd, own[kind]) for kind, fd in brought.items()]

    def _refuse(self, error: OSError, what: bytes) -> None:
        words = os.strerror(error.errno or 0).encode()
        if error.errno in (errno.EAGAIN, errno.ENOMEM):
            self._tell(NOT_STARTED, words)
            return
        os.write(self._outputs[1], b"cannot run %s: %s\n" % (what, words))
        code = 127 if error.errno == errno.ENOENT else 126
        self._tell(EXITED, (code << 8).to_bytes(4, "big") + b"\0")

    def _help(self, source: bytes) -> None:
        try:
            if os.fork():
                return
        except OSError:
            return  # the host finds that its site does not answer
        try:
            os.setsid()
            os.dup2(self._door, 0)
            argv = [sys.executable, "-I", "-S", "-c", source.decode()]
            os.execve(argv[0], argv, {})
        finally:
            os._exit(126)

    def _resize(self, payload: bytes) -> None:
        if self._terminal is not None:
            self._terminal.resize(payload)

    def _signal(self, payload: bytes) -> None:
        if not self._child:
            return
        self._was_signalled = True
        groups = {self._child} if self._terminal is None else {self._child, self._terminal.foreground()}
        for group in groups - {0}:
            try:
                os.killpg(group, payload[0])
            except ProcessLookupError:
                pass

    def _sweep(self, _payload: bytes) -> None:
        """Kill everybody else, and wait until those that are no command's have gone."""
        if os.getpid() != _AGENT_PID:
            return  # everybody is not ours alone
        try:
            for _ in range(_SWEEP_TRIES):
                os.kill(-1, _signal.SIGKILL)
                if self._child:
                    return
                reap()
                select.poll().poll(1)
        except ProcessLookupError:
            pass

    def _end_command(self) -> None:
        """Send the command's status, once its terminal's last words are with the host."""
        if self._terminal is not None and not self._terminal.is_drained():
            return
        self._close_terminal()
        _, status = os.waitpid(self._child, 0)
        os.close(self._pidfd)
        self._child, self._pidfd = 0, -1
        flags = DISK_FULL if any(map(is_full, self._disks)) else 0
        flags |= SIGNALLED if self._was_signalled else 0
        self._tell(EXITED, status.to_bytes(4, "big") + bytes([flags]))

    def _close_terminal(self) -> None:
        if self._terminal is not None:
            self._terminal.close()
            self._terminal = None


def open_new(path: bytes) -> int:
    """A new empty file, in folders that are made where they are not there. Raises OSError."""
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    except FileNotFoundError:
        make_folders(path)
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)


def make_folders(path: bytes) -> None:
    """Make the folders that `path` lies in. Raises OSError."""
    for at, character in enumerate(path):
        if character == ord("/") and at:
            try:
                os.mkdir(path[:at])
            except FileExistsError:
                pass


def spawn(argv: list[bytes], environment: dict[bytes, bytes], streams: list[tuple[object, ...]]) -> int:
    """Start the program argv[0], looked for in PATH where it is a mere name, in a session of its own, to be
    signalled as a group, with the signals' defaults, whatever this interpreter did with them. Raises OSError.
    """
    if not argv[0]:
        raise FileNotFoundError(errno.ENOENT, "")  # a folder of PATH is none of that name
    places = [b""] if b"/" in argv[0] else environment.get(b"PATH", b"/usr/bin:/bin").split(b":")
    problem: OSError = FileNotFoundError(errno.ENOENT, "")
    for place in places:
        path = (place and place + b"/") + argv[0]
        try:
            os.stat(path)  # costs less than a process that does not begin
            # Not fork: this interpreter would be copied, page by page, to be thrown away.
            return os.posix_spawn(
                path, argv, environment, file_actions=streams, setsid=True, setsigdef=_RESTORED
            )
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            problem = error
    raise problem


def reap() -> None:
    """Let our dead children go."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def is_full(folder: int) -> bool:
    """Whether not one more block fits into the disk of an open `folder`."""
    usage = os.fstatvfs(folder)
    return usage.f_bavail == 0 or (usage.f_files > 0 and usage.f_favail == 0)


def limit_self(open_files: int) -> None:
    """Take on the limits that everything below inherits and nothing can raise."""
    # 1, not 0: only 1 also keeps the kernel from starting the host's crash handler.
    resource.setrlimit(resource.RLIMIT_CORE, (1, 1))
    hard = min(open_files, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, hard), hard))
    try:
        # When the machine runs out of memory, what runs in a jail goes first.
        with open("/proc/self/oom_score_adj", "w") as score:
            score.write("1000")
    except OSError:
        pass


def limit_processes(payload: bytes) -> None:
    """Have the kernel allow no more than so many processes here, ourselves among them."""
    resource.setrlimit(resource.RLIMIT_NPROC, (int(payload), int(payload)))


def main(open_files: int, *fds: int) -> None:
    """Run on the descriptors `fds`, inherited from the host: control, report, the two outputs, door."""
    first = 3
    for fd in (*sorted(fds), 1024):
        os.closerange(first, fd)
        first = fd + 1
    for fd in fds:
        os.set_inheritable(fd, False)
    quiet = os.open("/dev/null", os.O_RDWR)
    for fd in range(3):
        os.dup2(quiet, fd)
    # A command that signals everybody should not end its own session.
    for number in (_signal.SIGHUP, _signal.SIGINT, _signal.SIGTERM):
        _signal.signal(number, _signal.SIG_IGN)
    limit_self(open_files)
    control, report, stdout, stderr, door = fds
    Agent(control, report, (stdout, stderr), door).run()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
