"""An event loop without time, network or disk: a virtual clock, and all else seeded and in memory.

The clock jumps to the next timer when nothing is ready, so an hour passes in no time.
"""

import asyncio
import contextvars
import functools
import heapq
import random
import selectors
import socket
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any

from gateway.errors import StoreUnavailableError
from tests.simulation.network import Factory, Listening, Network, SimTransport
from tests.simulation.process import PROCESS, Process
from tests.support.waiting import let_pass

DISK_S = (0.0001, 0.001, 0.01, 0.1)


class _VirtualSelector(selectors.SelectSelector):
    """Advances the clock instead of waiting. There is nothing to select: no thread and no socket is real."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("everything waits, and nothing will ever come")
        if timeout > 0:
            self.now += timeout
        return []


Done = asyncio.Future[Any] | Future[Any]


class SimLoop(asyncio.SelectorEventLoop):
    """The loop; `network` is its weather, and its disk fails until `disk_fails_until`."""

    _ready: Any
    _scheduled: Any

    def __init__(self, seed: int) -> None:
        self._virtual = _VirtualSelector()
        super().__init__(self._virtual)
        self.network = Network(random.Random(seed))
        self.disk_fails_until = 0.0
        self._disk_rng = random.Random(seed + 10)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._virtual.now

    # --- processes ------------------------------------------------------------------------------------

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, Any], *, name: str | None = None, context: Any = None
    ) -> "asyncio.Task[Any]":
        """A task of whoever's code runs."""
        task = super().create_task(coro, name=name, context=context)
        if (process := PROCESS.get()) is not None:
            process.adopt(task)
        return task

    def transports_of(self, process: Process) -> list[SimTransport]:
        """Its ends of connections."""
        return [t for t in self.network.transports if t._context.get(PROCESS) is process]

    def listeners_of(self, process: Process) -> list[Listening]:
        """Where it listens."""
        every = [one for there in self.network.listeners.values() for one in there]
        return [one for one in every if one.context.get(PROCESS) is process]

    def drop_handles(self, process: Process) -> None:
        """Run nothing of it that is scheduled."""
        for handle in [*self._ready, *self._scheduled]:
            if _is_of(handle, process):
                handle.cancel()

    def withdraw_handles(self, process: Process) -> list[asyncio.Handle]:
        """Take away all of it that is scheduled."""
        taken = [handle for handle in (*self._scheduled, *self._ready) if _is_of(handle, process)]
        self._scheduled = [handle for handle in self._scheduled if not _is_of(handle, process)]
        heapq.heapify(self._scheduled)
        for index, handle in enumerate(self._ready):
            if _is_of(handle, process):
                # The loop has counted those that are ready.
                self._ready[index] = asyncio.Handle(_nothing, (), self)
        return taken

    def put_back(self, handles: list[asyncio.Handle]) -> None:
        """Have them run when they are due, which they may be already."""
        for handle in handles:
            if isinstance(handle, asyncio.TimerHandle):
                heapq.heappush(self._scheduled, handle)
            else:
                self._ready.append(handle)

    def _asyncgen_finalizer_hook(self, agen: Any) -> None:
        process = PROCESS.get()
        if process is None or process.is_alive:
            super()._asyncgen_finalizer_hook(agen)  # type: ignore[misc]

    # --- the disk -------------------------------------------------------------------------------------

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> "asyncio.Future[Any]":  # type: ignore[override]
        """See `work_on_disk`."""
        done = self.create_future()
        self.work_on_disk(done, functools.partial(func, *args))
        return done

    def work_on_disk(self, done: Done, work: Callable[[], Any]) -> None:
        """Do it at the beginning or the end of the time that the disk takes for it, and settle `done` at the end."""
        if (process := PROCESS.get()) is not None and not process.is_alive:
            return
        if process is not None and self.time() < process.store_away_until:
            self._lose_call(done, work, process)
            return
        takes_s = self._disk_rng.choice(DISK_S)
        if self._disk_rng.random() < 0.5:
            self.call_later(takes_s, self._settle_work, done, work)
        else:
            self.call_later(takes_s, _settle, done, *self._outcome(work))

    def _lose_call(self, done: Done, work: Callable[[], Any], process: Process) -> None:
        """A server that can't be reached: it did not hear, or only its answer is lost; the caller waits, or not."""
        if self._disk_rng.random() < 0.2:
            self._outcome(work)
        waits_s = min(self._disk_rng.choice((0.01, 1.0, 5.0)), process.store_away_until - self.time())
        error = StoreUnavailableError("the database can't be reached")
        self.call_later(waits_s, _settle, done, None, error)

    def _settle_work(self, done: Done, work: Callable[[], Any]) -> None:
        _settle(done, *self._outcome(work))

    def _outcome(self, work: Callable[[], Any]) -> tuple[Any, Exception | None]:
        if self.time() < self.disk_fails_until:
            return None, StoreUnavailableError("SQLite: disk I/O error")
        try:
            return work(), None
        except Exception as error:  # noqa: BLE001 - a future carries whatever its work raised
            return None, error

    # --- the network ----------------------------------------------------------------------------------

    async def getaddrinfo(self, host: Any, port: Any, **_options: Any) -> list[Any]:
        """Every name is this host."""
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    async def create_server(  # type: ignore[override]
        self, factory: Factory, host: Any = None, port: Any = None, **_options: Any
    ) -> Any:
        """Listen on `port` of the simulated network; 0 picks one."""
        if not port:
            self.network.next_port += 1
            port = self.network.next_port
        listening = Listening(self.network, port, factory, contextvars.copy_context())
        self.network.listeners.setdefault(port, []).append(listening)
        return listening

    async def create_connection(  # type: ignore[override]
        self, factory: Factory, host: Any = None, port: Any = None, **_options: Any
    ) -> Any:
        """Connect to whoever listens on `port`. Raises ConnectionRefusedError."""
        network = self.network
        await let_pass(max(network.latency_s(), network.held_until(port) - self.time()))
        listening = network.listener(port, self.time())
        if listening is None:
            network.faults["refused"] += 1
            raise ConnectionRefusedError(f"nobody listens on {port}")
        process = listening.context.get(PROCESS)
        while process is not None and process.is_stopped:
            await let_pass(0.1)
        theirs = listening.context.copy()
        client_protocol, server_protocol = factory(), theirs.run(listening.factory)
        client = SimTransport(self, network, client_protocol, port=port, context=contextvars.copy_context())
        server = SimTransport(self, network, server_protocol, port=port, context=theirs)
        client.peer, server.peer = server, client
        network.transports += [client, server]
        theirs.run(server_protocol.connection_made, server)
        client_protocol.connection_made(client)
        return client, client_protocol


def _is_of(handle: asyncio.Handle, process: Process) -> bool:
    return not handle.cancelled() and handle._context.get(PROCESS) is process  # type: ignore[attr-defined]


def _nothing() -> None:
    pass


def _settle(done: Done, value: Any, error: Exception | None) -> None:
    if done.done():
        return
    if error is not None:
        done.set_exception(error)
    else:
        done.set_result(value)
