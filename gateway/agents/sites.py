"""The sites that tasks put up in their sandboxes: the URL that is shown, where each is reached, and when it ends.

A sandbox says where its site is; whether that is of use to whoever watches the task depends on where they are.
On loopback they can go there. Elsewhere they are given a name below `preview_host`, a label that is a secret of
its own, which the gateway forwards: only to the host that it dialled for that sandbox, whatever the sandbox named,
and to nothing that a `client` sandbox named. Such a sandbox's site is for the browser that it is.

A site of a sandbox that only one instance can reach, such as the one that comes with it, is asked for by way of that
instance: its row says where that is.

A site is there until its session is closed, which is when its task is deleted, or until its task has ended and
nobody has asked for it for `idle_s`.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self
from urllib.parse import urlsplit

from structlog.typing import FilteringBoundLogger

from gateway.addresses import is_loopback
from gateway.agents.runner import RunContext
from gateway.agents.sandboxes import Sandboxes
from gateway.clock import Clock
from gateway.errors import StoreUnavailableError
from gateway.sites import LABEL_BITS, Site, hash_of, label_of
from gateway.state.base import StateStore
from gateway.state.retry import durably
from gateway.tasks import TaskStatus
from sandbox_bridge.bridge import Bridge, SandboxInfo

MAX_URL_CHARS: Final = 2048
MAX_SITES: Final = 64
"""Sites of one run: a sandbox shows eight ports of a jail, and no peer can fill the store."""
GONE: Final = "This preview is gone: its sandbox, or its session there, has ended."
REQUESTS: Final = 1024
"""Under way at once, of all previews; beyond it a browser is told to come again."""
REQUESTS_PER_SITE: Final = 128
SWEEP_S: Final = 5.0
"""Time between two looks at what is over: so long may a site outlive its task's deletion."""
SWEEP_SITES: Final = 1000


OTHERS_S: Final = 600.0
"""How much longer the site of another instance's sandbox is remembered: it has its session to close, and goes first."""


@dataclass(frozen=True, slots=True)
class Way:
    """How a site is reached: the URL to ask, without a path, of the site itself or of the instance that holds it."""

    url: str
    is_hop: bool = False


class NoSiteError(Exception):
    """There is nothing to forward to: an HTTP status, and words for whoever came."""

    def __init__(self, status: int, words: str) -> None:
        self.status = status
        self.words = words
        super().__init__(words)


class Sites:
    """The sites of all tasks; `hosts` are the hosts that were dialled, by the address of their sandbox."""

    def __init__(
        self,
        store: StateStore,
        sandboxes: Sandboxes,
        clock: Clock,
        *,
        hosts: Mapping[str, str],
        preview_host: str | None,
        on_loopback: bool,
        idle_s: float,
        log: FilteringBoundLogger,
    ) -> None:
        self.here: str | None = None
        """Where other instances reach this one, a URL; to be said once it listens."""
        self.preview_host = preview_host
        self.on_loopback = on_loopback
        self._store = store
        self._sandboxes = sandboxes
        self._clock = clock
        self._hosts = hosts
        self._idle_ms = round(idle_s * 1000)
        self._log = log
        self._rung = asyncio.Event()
        self._used: dict[bytes, int] = {}
        self._under_way: Counter[bytes] = Counter()

    def of(self, context: RunContext, bridge: Bridge) -> "RunSites":
        """Those of one run in the sandbox behind `bridge`, which is connected."""
        return RunSites(self, context, bridge.info)

    async def add(self, context: RunContext, info: SandboxInfo, port: int) -> str:
        """Remember a site that a run has put up; its label."""
        label = label_of(self._clock.rng.getrandbits(LABEL_BITS))
        site = Site(
            label_hash=hash_of(label),
            task_id=context.task.task_id,
            session_id=context.sandbox_session,
            sandbox_id=info.sandbox_id,
            boot_id=info.boot_id,
            host=self._hosts.get(info.address),
            port=port,
            used_at=self._clock.now_ms(),
            holder=self.here,
        )
        await durably(lambda: self._store.add_site(site), log=self._log)
        return label

    # --- who comes ------------------------------------------------------------------------------------

    async def find(self, label: str, *, may_hop: bool) -> Way:
        """The way to the site of that label, which is now in use. Raises `NoSiteError`."""
        site = await self._store.find_site(hash_of(label))
        if site is None:
            raise NoSiteError(404, "There is no such preview.")
        way = self._way(site, may_hop=may_hop)
        if way is None or await self._is_over(site):
            raise NoSiteError(410, GONE)
        self._used[site.label_hash] = self._clock.now_ms()
        return way

    @contextlib.contextmanager
    def used(self, label: str) -> Iterator[None]:
        """Count a request for as long as the block runs; its site is not over. Raises `NoSiteError`."""
        label_hash = hash_of(label)
        if self._under_way.total() >= REQUESTS or self._under_way[label_hash] >= REQUESTS_PER_SITE:
            raise NoSiteError(503, "Too many requests for this preview are under way.")
        self._under_way[label_hash] += 1
        try:
            yield
        finally:
            self._under_way[label_hash] -= 1
            if not self._under_way[label_hash]:
                del self._under_way[label_hash]

    def _way(self, site: Site, *, may_hop: bool) -> Way | None:
        """None where the start of the sandbox that put it up is over: what it left may be another's now."""
        if site.host is None:
            return None
        direct = Way(f"http://{f'[{site.host}]' if ':' in site.host else site.host}:{site.port}")
        if self._sandboxes.bridge_to(site.sandbox_id, site.boot_id) is not None:
            return direct
        dialled = [address for address, host in self._hosts.items() if host == site.host]
        # An address on loopback means something only where that sandbox is met; and a sandbox's doors are open to
        # those who have dialled it.
        if dialled and not is_loopback(site.host):
            return None if any(map(self._sandboxes.is_connected, dialled)) else direct
        if may_hop and site.holder is not None and site.holder != self.here:
            return Way(site.holder, is_hop=True)
        return None if is_loopback(site.host) else direct

    async def _is_over(self, site: Site) -> bool:
        task = await self._store.get_task(site.task_id)
        if task is None or task.status in {TaskStatus.FAILED, TaskStatus.CANCELLED}:
            return True  # a site outlives only the task that has put it up with its last command
        used_at = max(site.used_at, self._used.get(site.label_hash, 0))
        return (
            task.ended_at is not None and max(task.ended_at, used_at) < self._clock.now_ms() - self._idle_ms
        )

    def _is_others(self, site: Site) -> bool:
        return site.holder is not None and site.holder != self.here

    # --- what is over ---------------------------------------------------------------------------------

    def look(self) -> None:
        """A task is gone: its site is over."""
        self._rung.set()

    async def run(self) -> None:
        """Close what is over, until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SWEEP_S):
                    await self._rung.wait()
            self._rung.clear()
            try:
                await self._sweep()
            except StoreUnavailableError as error:
                self._log.warning("store unavailable, no site is closed", error=str(error))

    async def _sweep(self) -> None:
        now_ms = self._clock.now_ms()
        used = self._used | dict.fromkeys(self._under_way, now_ms)
        if used:
            await self._store.use_sites(used)
            self._used = {site: at for site, at in self._used.items() if used.get(site) != at}
        for site in await self._store.sites_over(now_ms - self._idle_ms, limit=SWEEP_SITES):
            if self._is_others(site) and site.used_at > now_ms - self._idle_ms - round(OTHERS_S * 1000):
                continue
            bridge = self._sandboxes.bridge_to(site.sandbox_id, site.boot_id)
            # A sandbox that is away is told when it is back.
            if bridge is None or bridge.close_session(site.session_id):
                await self._store.remove_site(site.label_hash)


class RunSites:
    """The sites of one run."""

    def __init__(self, sites: Sites, context: RunContext, info: SandboxInfo | None) -> None:
        self._sites = sites
        self._context = context
        self._info = info
        self._shown: dict[str, str | None] = {}

    async def in_progress(self, said: dict[str, Any]) -> dict[str, Any]:
        """What a sandbox said, with the address that may be shown of the site that it told of."""
        if said.get("kind") != "server_ready":
            return said
        scope = "gateway" if self._is_servers else "browser"
        return said | {"url": await self._shown_of(said.get("url")), "scope": scope}

    async def in_result(self, result: dict[str, Any] | None) -> dict[str, Any] | None:
        """A result, in the same way; what a `client` sandbox made says so, whatever it says of itself."""
        if result is None:
            return None
        trust = {} if self._is_servers else {"trust": "client"}
        url = {"url": await self._shown_of(result["url"])} if "url" in result else {}
        return result | url | trust

    @property
    def _is_servers(self) -> bool:
        return self._info is not None and self._info.trust == "server"

    async def _shown_of(self, url: Any) -> str | None:
        if not isinstance(url, str) or len(url) > MAX_URL_CHARS:
            return None
        if not self._is_servers:
            return url if url.startswith(("http://", "https://")) else None
        if url not in self._shown and len(self._shown) < MAX_SITES:
            self._shown[url] = await self._show(url)
        return self._shown.get(url)

    async def _show(self, url: str) -> str | None:
        port = port_of(url)
        if port is None or self._info is None:
            return None
        label = await self._sites.add(self._context, self._info, port)
        if self._sites.preview_host is not None:
            return f"https://{label}.{self._sites.preview_host}/"
        return url if self._sites.on_loopback else None


class AsSaid:
    """Shows whatever a sandbox says: for runs that nobody else watches."""

    def of(self, _context: RunContext, _bridge: Bridge) -> Self:
        """See `Sites.of`."""
        return self

    async def in_progress(self, said: dict[str, Any]) -> dict[str, Any]:
        """See `RunSites.in_progress`."""
        return said

    async def in_result(self, result: dict[str, Any] | None) -> dict[str, Any] | None:
        """See `RunSites.in_result`."""
        return result


AS_SAID: Final = AsSaid()


def port_of(url: str) -> int | None:
    """The port of an `http` URL, or None."""
    try:
        parts = urlsplit(url)
        return (parts.port or 80) if parts.scheme == "http" and parts.hostname else None
    except ValueError:
        return None
