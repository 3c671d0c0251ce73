"""Web sites out of jails: each port that something in a jail listens on, behind a door of its own.

A jail has no network, and gets none. Whoever comes in gets a pair of pipes that the agent's
forwarder carries to the port inside; what goes through them is nobody's business here.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

import structlog

from sandbox_bridge.local.agent.relay import SocketEnd, read_some, relay, write_all
from sandbox_bridge.local.errors import JailLostError
from sandbox_bridge.local.jail.jail import Jail
from sandbox_bridge.local.sites.ports import SitePorts
from sandbox_bridge.local.sites.visits import Visit, Visits

MAX_SITES = 8
"""Ports of one jail that are shown; a jail that listens on more has no need for them all."""
_POLL_S = 0.2
_POLL_ANYWAY_EVERY = 10
"""Polls after which the ports are read although as many sockets are in use as before."""
_ANSWER_TIMEOUT_S = 5.0
_ACCEPT_PAUSE_S = 0.1
_QUESTION = b"HEAD / HTTP/1.0\r\n\r\n"
FIRST_SERVE_PORT = 8000

log = structlog.get_logger()
Tell = Callable[[dict[str, Any]], Awaitable[None]]


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """One port of a jail and where it is reached."""

    port: int
    url: str


class Sites:
    """The sites of one jail. Made by `open_sites`; `tell` takes the progress `server_ready`."""

    def __init__(self, jail: Jail, site_ports: SitePorts, visits: Visits, tell: Tell) -> None:
        self._jail = jail
        self._visits = visits
        self._tell = tell
        self._site_ports = site_ports
        self._sites: dict[int, Site] = {}
        self._served: Site | None = None
        self._now = asyncio.get_running_loop().time
        # The watch, one door for each site, one for each visit: all end in `aclose`.
        self._tasks: set[asyncio.Task[None]] = set()
        self._watch = self._own(self._watch_ports())
        self.moved_at = self._now()
        """When a byte last went through any of them."""

    @property
    def url(self) -> str | None:
        """The address to show for all of them: that of `serve`, or the first."""
        first = self._served or next(iter(self._sites.values()), None)
        return first.url if first is not None else None

    @property
    def is_serving(self) -> bool:
        """Whether `serve` has put one up."""
        return self._served is not None

    def free_port(self) -> int:
        """A port for `serve`. Raises `JailLostError`."""
        try:
            taken = self._jail.ports().listening()
        except OSError as error:
            raise JailLostError(str(error)) from None
        return next(port for port in range(FIRST_SERVE_PORT, 65536) if port not in taken)

    async def serve(self, port: int) -> bool:
        """Show the site that `serve` has put on `port`; whether it answers. Raises `JailLostError`."""
        self._served = await self._open(port)
        return self._served is not None and await self._answers(port)

    async def stop_watching(self) -> None:
        """Tell of no more sites: the task is over."""
        self._watch.cancel()
        await asyncio.wait([self._watch])

    async def aclose(self) -> None:
        """Hang up on everybody, and listen no more."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    # --- what listens ---------------------------------------------------------------------------------

    async def _watch_ports(self) -> None:
        """Show each port that something begins to listen on, until the jail is gone."""
        known = 0
        with suppress(JailLostError, OSError):
            ports = self._jail.ports()
            for poll in count(1):
                await asyncio.sleep(_POLL_S)
                in_use = ports.sockets_in_use()
                if in_use and (in_use != known or poll % _POLL_ANYWAY_EVERY == 0):
                    await self._open_all(ports.listening())
                known = in_use

    async def _open_all(self, ports: set[int]) -> None:
        for port in sorted(ports):
            await self._open(port)

    async def _open(self, port: int) -> Site | None:
        """The site on `port`, made where it is not there yet; None where there are too many."""
        if port in self._sites or len(self._sites) >= MAX_SITES:
            return self._sites.get(port)
        try:
            door = self._site_ports.open_door()
        except OSError as error:
            log.warning("site_not_opened", error=str(error))
            return None
        url = self._site_ports.url_of(door.getsockname()[1])
        site = self._sites[port] = Site(port, url)
        self._own(self._welcome(site, door))
        await self._jail.start_forwarder()
        await self._tell({"kind": "server_ready", "port": port, "url": url, "scope": "gateway"})
        return site

    async def _answers(self, port: int) -> bool:
        try:
            end = self._jail.connect_nowait(port)
        except OSError:
            return False
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                await write_all(end.write_fd, _QUESTION)
                return bool(await read_some(end.read_fd))
        except OSError:  # a timeout is one
            return False
        finally:
            end.close()

    # --- who comes ------------------------------------------------------------------------------------

    async def _welcome(self, site: Site, door: socket.socket) -> None:
        """Take everybody who comes to `site`."""
        loop = asyncio.get_running_loop()
        door.setblocking(False)
        with door:
            while True:
                try:
                    client, address = await loop.sock_accept(door)
                except OSError as error:
                    # Too many files are open, in all likelihood: some will be closed.
                    log.warning("visit_not_taken", error=str(error))
                    await asyncio.sleep(_ACCEPT_PAUSE_S)
                    continue
                if not self._site_ports.lets_in(address[0]):
                    client.close()
                    continue
                end = SocketEnd(client)
                # Also where it is cancelled before its first step.
                self._own(self._visit(site, end)).add_done_callback(partial(_close, end))
                # So that it begins, and whom it displaces goes, before the next comes.
                await asyncio.sleep(0)

    async def _visit(self, site: Site, client: SocketEnd) -> None:
        runner = asyncio.current_task()
        assert runner is not None  # noqa: S101 - every coroutine runs in one
        visit = Visit(site, runner, self._now())
        self._visits.enter(visit)

        def moved() -> None:
            visit.moved_at = self.moved_at = self._now()

        moved()
        try:
            inside = self._jail.connect_nowait(site.port)
        except OSError as error:
            log.warning("visit_not_carried", error=str(error))
            self._visits.leave(visit)
            return
        try:
            await relay(client, inside, moved)
        finally:
            inside.close()
            self._visits.leave(visit)

    def _own(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("site_failed", exc_info=error)


def _close(end: SocketEnd, _visit: asyncio.Task[None]) -> None:
    end.close()


@asynccontextmanager
async def open_sites(jail: Jail, site_ports: SitePorts, visits: Visits, tell: Tell) -> AsyncIterator[Sites]:
    """The sites of `jail`, until the block is left."""
    sites = Sites(jail, site_ports, visits, tell)
    try:
        yield sites
    finally:
        await sites.aclose()


class KeptSite:
    """The site of a task that has ended, with its jail; `stack` holds both."""

    def __init__(self, jail: Jail, sites: Sites, stack: AsyncExitStack) -> None:
        self._jail = jail
        self._sites = sites
        self._stack = stack
        self._now = asyncio.get_running_loop().time
        self._scope: asyncio.Timeout | None = None
        self._is_stopped = False

    @property
    def moved_at(self) -> float:
        """When a byte last went through it."""
        return self._sites.moved_at

    def stop_nowait(self) -> None:
        """Have `wait` end."""
        self._is_stopped = True
        if self._scope is not None:
            self._scope.reschedule(self._now())

    async def wait(self, idle_s: float) -> None:
        """Until it is stopped, nobody has asked it for `idle_s`, or its jail is gone."""
        with suppress(JailLostError):
            while not self._is_stopped and self._now() < (due_at := self.moved_at + idle_s):
                await self._discard_until(due_at)

    async def _discard_until(self, due_at: float) -> None:
        """Take what the jail still says, so that nobody in there waits for us."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(due_at) as self._scope:
                await self._jail.output.discard()

    async def aclose(self) -> None:
        """Take it down, and its jail."""
        await self._stack.aclose()


class Keeper:
    """The kept sites of a service: at most so many, and the longest idle goes first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: set[KeptSite] = set()

    @contextmanager
    def keep(self, site: KeptSite) -> Iterator[None]:
        """Count `site` for as long as the block runs."""
        if len(self._kept) >= self._most:
            idlest = min(self._kept, key=lambda kept: kept.moved_at)
            self._kept.discard(idlest)
            idlest.stop_nowait()
        self._kept.add(site)
        try:
            yield
        finally:
            self._kept.discard(site)
