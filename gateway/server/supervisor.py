"""Several gateways on one port, and who looks after them.

Theory. Each process is an instance like any other: it has an id and a lease, a share of the sandboxes that this machine
has room for, and hears of the others by the bus. The kernel hands each new connection to one of them (SO_REUSEPORT).
What is asked of a certain one, a site of its sandbox or its metrics, is asked at a port of its own: behind the shared
one, by its place.

The supervisor has no event loop and no thread. It forks, waits for signals, and does nothing else; so what it forks is
as good as new. The first process must become ready before the others begin: what it lacks is lacking for all, and is
said once. After that, whoever dies is started again, later and later. A process that loses its supervisor, the only
holder of the other end of a pipe, drains as if it had been told to.
"""

import asyncio
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from structlog.typing import FilteringBoundLogger

from gateway.server.data_dir import StartError

BACK_OFF_S: Final = (0.2, 1.0, 5.0, 15.0)
"""Pauses before a process that died is started again; the last repeats."""
WELL_S: Final = 60.0
"""Who has lived for so long starts anew with the first pause."""
LOOK_S: Final = 0.05
"""How often to look whether a process says that it is ready."""
HEEDED: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGCHLD})


@dataclass(frozen=True, slots=True)
class Place:
    """What one of the processes is given: its `number` from 0, and the ends of two pipes."""

    number: int
    ready_fd: int
    life_fd: int
    """Its end comes with the supervisor's."""
    own_port: int = 0
    """Where it is reached by itself; 0 is a free one."""

    def say_ready(self, url: str) -> None:
        """Tell the supervisor that clients are served at `url`."""
        os.write(self.ready_fd, f"{self.number} {url}\n".encode())

    def on_orphaned(self, loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
        """Call it once the supervisor has gone."""

        def gone() -> None:
            loop.remove_reader(self.life_fd)
            call()

        loop.add_reader(self.life_fd, gone)


Serve = Callable[[Place], int]
"""Serves until told to stop; the exit code."""


@dataclass(slots=True)
class _Child:
    number: int
    pid: int = 0
    """0 while there is none."""
    began_at: float = 0.0
    deaths: int = 0
    due_at: float = 0.0
    """When to start it, where there is none."""


class Supervisor:
    """Keeps `count` processes of `serve` running; `on_ready` is told once, when all of them are."""

    def __init__(
        self, serve: Serve, count: int, *, on_ready: Callable[[str], None], log: FilteringBoundLogger
    ) -> None:
        self._serve = serve
        self._on_ready = on_ready
        self._log = log
        self._children = [_Child(number) for number in range(count)]
        self._ready: set[int] = set()
        self._was_ready = False
        self._stopping = False
        self._code = 0
        self._heard = b""

    def __repr__(self) -> str:
        return f"<Supervisor of {[child.pid for child in self._children]}>"

    def run(self) -> int:
        """Until all have ended, because they were told to or could not start; the exit code."""
        signal.pthread_sigmask(signal.SIG_BLOCK, HEEDED)
        self._ready_fd, self._says_ready_fd = os.pipe()
        self._life_fd, self._lives_fd = os.pipe()
        os.set_blocking(self._ready_fd, False)
        while not self._stopping or self._living():
            self._start_due()
            heard = signal.sigtimedwait(HEEDED, LOOK_S)
            if heard is not None and heard.si_signo != signal.SIGCHLD:
                self._stop()
            self._hear()
            self._reap()
        return self._code

    def _living(self) -> list[_Child]:
        return [child for child in self._children if child.pid]

    # --- starting ---------------------------------------------------------------------------------------

    def _start_due(self) -> None:
        now = time.monotonic()
        # The first alone, until it is ready.
        allowed = self._children if self._ready or self._was_ready else self._children[:1]
        for child in allowed:
            if not child.pid and child.due_at <= now and not self._stopping:
                child.began_at = now
                child.pid = self._forked(child.number)

    def _forked(self, number: int) -> int:
        pid = os.fork()
        if pid:
            return pid
        code = 1
        try:
            os.close(self._lives_fd)
            os.close(self._ready_fd)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HEEDED)
            code = self._serve(Place(number, self._says_ready_fd, self._life_fd))
        except BaseException:  # noqa: BLE001 - this is the bottom of its stack
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _hear(self) -> None:
        try:
            self._heard += os.read(self._ready_fd, 4096)
        except BlockingIOError:
            return
        *lines, self._heard = self._heard.split(b"\n")
        for line in lines:
            number, url = line.decode().split(" ", 1)
            self._ready.add(int(number))
            if len(self._ready) == len(self._children) and not self._was_ready:
                self._was_ready = True
                self._on_ready(url)

    # --- ending -----------------------------------------------------------------------------------------

    def _stop(self) -> None:
        """Have all of them drain; a second time, end at once."""
        self._stopping = True
        for child in self._living():
            os.kill(child.pid, signal.SIGTERM)

    def _reap(self) -> None:
        for child in self._living():
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if pid:
                self._ended(child, os.waitstatus_to_exitcode(status))

    def _ended(self, child: _Child, code: int) -> None:
        now = time.monotonic()
        pid, child.pid = child.pid, 0
        if self._stopping:
            self._code = self._code or int(code != 0)
        elif not self._was_ready:
            self._code = 1
            self._stop()
        else:
            child.deaths = 1 if now - child.began_at > WELL_S else child.deaths + 1
            pause_s = BACK_OFF_S[min(child.deaths, len(BACK_OFF_S)) - 1]
            child.due_at = now + pause_s
            self._log.error("a process ended", place=child.number, pid=pid, code=code, again_in_s=pause_s)


@contextmanager
def reserved(host: str, port: int) -> Iterator[int]:
    """The port that all will share, `port` or a free one: nobody else has it inside the block. Raises `StartError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    address = host.strip("[]")
    with socket.socket(family) as alone, socket.socket(family) as held:
        try:
            # Somebody else who shares the port would be let in by the second one.
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind((address, port))
            number: int = alone.getsockname()[1]
            alone.close()
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            held.bind((address, number))
        except OSError as error:
            raise StartError(
                f"can't listen on {host}:{port}: {error.strerror or error}; choose another --port or --host"
            ) from None
        yield number
