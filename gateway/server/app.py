"""The process: wires everything, in the order of the frame's journey, and ends it in the reverse.

Clock, randomness, ids, executors and the listening socket's loop are inputs, so that all of it can be
simulated (`tests/simulation`).
"""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final
from urllib.parse import urlsplit

from aiohttp import web
from structlog.typing import FilteringBoundLogger

from gateway.agents.catalogue import all_agents
from gateway.agents.registry import Registry
from gateway.agents.sandboxes import Sandboxes
from gateway.agents.sites import Sites
from gateway.bus.base import announce
from gateway.clock import rfc3339
from gateway.fanout.attendance import Attendance
from gateway.fanout.hub import Hub
from gateway.fanout.relay import Relay
from gateway.fanout.watch import Watch
from gateway.fanout.watch_sandboxes import SandboxWatch
from gateway.metrics import Metrics
from gateway.server.buses import make_bus
from gateway.server.data_dir import StartError, locked
from gateway.server.embedded import EmbeddedSandbox
from gateway.server.health import Health
from gateway.server.hops import Hops
from gateway.server.peer import Peer
from gateway.server.site_map import Parts, application
from gateway.server.stores import make_store
from gateway.server.world import World
from gateway.sessions.auth import Authenticator
from gateway.sessions.commands import Services
from gateway.sessions.endpoint import Endpoint
from gateway.sessions.sandboxes import Accept, SandboxEndpoint
from gateway.sessions.session import SessionIds, Sessions
from gateway.settings import Settings
from gateway.state.base import Page
from gateway.tasks import Commit
from gateway.work.control import Control
from gateway.work.dispatcher import Dispatcher
from gateway.work.recovery import take_over
from gateway.work.retention import sweep
from gateway.work.workflows import Workflows
from sandbox_bridge.bridge import Bridge
from sandbox_bridge.connection import FrameTransport, dial
from sandbox_bridge.listener import Listener
from sandbox_bridge.pool import Pool

EMBEDDED: Final = "embedded"
"""The address of the sandbox that comes with the gateway."""
MAX_EVENTS_A_READ: Final = 1000
"""Events of one read of the log for a subscription: bounds how long one reader holds the store."""
READS_AT_ONCE: Final = 8
"""Reads of logs under way: a thousand who catch up at once fill no memory with pages, nor do they keep requests from
the store's threads."""
BACKLOG: Final = 512
"""Clients whose turn comes within a second, when all come at once; the kernel has the others try again."""
CLOSE_S: Final = 3.0
"""How long clients may take over their goodbyes."""


class Gateway:
    """All of one instance."""

    def __init__(self, settings: Settings, world: World, *, log: FilteringBoundLogger) -> None:
        self._settings = settings
        self._world = world
        clock = world.clock
        self._instance = clock.new_id()
        self._log = log.bind(instance=self._instance)
        self._metrics = Metrics()
        self._store = make_store(settings, world)
        self._reads = asyncio.Semaphore(READS_AT_ONCE)
        self._bus = make_bus(settings, self._metrics, instance=self._instance)
        self._store.on_commit = self._committed
        self._attendance = Attendance(self._store, clock, log=self._log)
        hub = Hub()
        hub.on_first, hub.on_last = self._attendance.came, self._attendance.went
        self._relay = Relay(self._bus, hub)
        self._watch = Watch(self._store, self._bus)
        self._pool = Pool()
        self._sandboxes = Sandboxes(self._pool, instance=self._instance)
        self._sites = self._made_sites()
        self._registry = Registry(all_agents(settings.agents, self._sites))
        self._sandbox_watch = SandboxWatch(self._sandboxes.described)
        self._sandbox_seen = asyncio.Event()
        made = functools.partial(EmbeddedSandbox, log=self._log)
        self._embedded = (
            made(unsafe_no_isolation=world.unsafe_no_isolation) if settings.local_sandbox else None
        )
        self._dispatcher = Dispatcher(
            instance=self._instance,
            store=self._store,
            bus=self._bus,
            registry=self._registry,
            pool=self._pool,
            clock=clock,
            metrics=self._metrics,
            log=self._log,
            running_per_subject=settings.max_running_per_subject,
            queue_s=settings.queue_s,
            pause_hold_s=settings.pause_hold_s,
            separate=settings.websocket_url,
        )
        self._add_bridges()
        listener = Listener(self._pool, random=clock.rng, on_change=self._sandboxes_changed)
        authenticator = Authenticator(settings)
        self._sandbox_door = SandboxEndpoint(authenticator, _door_of(listener), clock, log=self._log)
        self._health = Health(self._store, self._bus, self._sandbox_state, self._metrics)
        control = Control(self._store, self._registry, clock)
        self._services = Services(
            control=control,
            workflows=Workflows(self._store, self._registry, clock, control),
            relay=self._relay,
            read_log=self._read_log,
            watched={"tasks": self._watch, "sandboxes": self._sandbox_watch},
            authenticator=authenticator,
            clock=clock,
            metrics=self._metrics,
            log=self._log,
        )

    def _made_sites(self) -> Sites:
        settings = self._settings
        return Sites(
            self._store,
            self._sandboxes,
            self._world.clock,
            hosts={url: str(urlsplit(url).hostname) for url in settings.websocket_url}
            | {EMBEDDED: "127.0.0.1"},
            preview_host=settings.preview_host,
            on_loopback=settings.loopback,
            idle_s=settings.site_idle_s,
            log=self._log,
        )

    # --- its life -----------------------------------------------------------------------------------------

    async def serve(self, *, ready: Callable[[str], None], stop: asyncio.Event) -> None:
        """Serve until `stop` is set, then drain. Raises `StartError` and `StoreUnavailableError` at the start."""
        async with AsyncExitStack() as held:
            held.enter_context(locked(self._settings.data_dir))
            await self._store.open()
            held.push_async_callback(self._store.aclose)
            await take_over(self._store, self._world.clock, self._dispatcher, log=self._log)
            await self._run(ready, stop)
        self._log.info("gateway stopped")

    async def _run(self, ready: Callable[[str], None], stop: asyncio.Event) -> None:
        try:
            async with asyncio.TaskGroup() as loops:
                running = self._start_loops(loops)
                await self._serve_clients(ready, stop)
                for loop in running:
                    loop.cancel()
        except BaseExceptionGroup as group:
            # A start that is refused is one clear line, not the story of a group of loops.
            refused = group.subgroup(StartError)
            raise (refused.exceptions[0] if refused is not None else group) from None

    def _start_loops(self, loops: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        """What runs as long as the gateway does; `docs/architecture.md` tells of each."""
        runs = {
            "bus": self._bus.run(),
            "heads": self._relay.compare(self._store.heads),
            "dispatcher": self._dispatcher.run(),
            "watch": self._watch.run(),
            "attendance": self._attendance.run(),
            "sweep": sweep(self._store, self._world.clock, self._metrics, self._settings, log=self._log),
            "watch of sandboxes": self._sandbox_watch.run(),
            "sites": self._sites.run(),
        }
        running = [loops.create_task(run, name=name) for name, run in runs.items()]
        running += [loops.create_task(b.run(), name=f"bridge {b.address}") for b in self._pool.bridges]
        if self._embedded is not None:
            running.append(loops.create_task(self._embedded.run(), name="embedded sandbox"))
        return running

    async def _serve_clients(self, ready: Callable[[str], None], stop: asyncio.Event) -> None:
        settings = self._settings
        secret = await self._store.secret()
        ids = SessionIds(secret, self._world.clock)
        endpoint = Endpoint(
            instance=self._instance,
            agents=self._registry.names,
            settings=settings,
            sessions=Sessions(ids, settings, asyncio.get_running_loop().time),
            services=self._services,
            clock=self._world.clock,
            log=self._log,
        )
        runner = web.AppRunner(
            application(self._parts(endpoint, ids, Hops(secret))),
            handle_signals=False,
            shutdown_timeout=CLOSE_S,
        )
        await runner.setup()
        beating = asyncio.get_running_loop().create_task(endpoint.beat(), name="heartbeats")
        try:
            async with _listening(runner, settings) as bound:
                self._sites.here = settings.advertised(bound)
                await self._sandboxes_tried()
                ready(bound)
                self._log.info("gateway ready", url=bound)
                await stop.wait()
                await self._drain(endpoint)
        finally:
            beating.cancel()
            await runner.cleanup()

    async def _drain(self, endpoint: Endpoint) -> None:
        self._log.info("draining", running=self._dispatcher.running)
        self._health.draining = True
        self._services.control.draining = True
        endpoint.refuse_new()
        self._sandbox_door.refuse_new()
        await self._dispatcher.drain(self._settings.drain_s)
        self._relay.close_soon()
        endpoint.send_off()
        await self._sandbox_door.send_off()
        await endpoint.emptied(CLOSE_S)

    # --- the store and the bus ------------------------------------------------------------------------------

    def _committed(self, commit: Commit) -> None:
        for batch in commit.events:
            self._metrics.events.inc(len(batch.events))
        announce(self._bus, commit)

    async def _read_log(self, task_id: str, after_seq: int, max_bytes: int) -> Page:
        async with self._reads:
            return await self._store.read_events(
                task_id, after_seq, max_events=MAX_EVENTS_A_READ, max_bytes=max_bytes
            )

    # --- sandboxes ------------------------------------------------------------------------------------------

    def _add_bridges(self) -> None:
        token = self._settings.sandbox_token
        secret = token.get_secret_value() if token is not None else None
        dials: dict[str, Callable[[], Any]] = {
            url: functools.partial(dial, url, token=secret) for url in self._settings.websocket_url
        }
        if self._embedded is not None:
            dials[EMBEDDED] = self._embedded.dial
        rng, changed = self._world.clock.rng, self._sandboxes_changed
        for address, connect in dials.items():
            self._pool.add(Bridge(connect, address=address, random=rng, on_change=changed))

    def _sandboxes_changed(self) -> None:
        if self._pool.fits():
            self._sandbox_seen.set()
        self._dispatcher.look()
        self._sandboxes.look()
        self._sandbox_watch.ring()
        slots = self._metrics.sandbox_slots
        slots.labels("free").set(self._pool.free)
        slots.labels("busy").set(sum(bridge.active for bridge in self._pool.bridges))
        self._metrics.show_sandboxes(b.info.isolation for b in self._pool.bridges if b.info is not None)

    async def _sandboxes_tried(self) -> None:
        """Give the embedded sandbox a moment: who starts us expects it to be there when we say ready."""
        if self._embedded is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.start_wait_s):
                await self._embedded.tried.wait()
                if self._embedded.problem is None:
                    await self._sandbox_seen.wait()

    def _sandbox_state(self) -> dict[str, Any]:
        bridges = [_described(bridge) for bridge in self._pool.bridges]
        ours = [bridge for bridge in bridges if bridge["address"] == EMBEDDED] or bridges
        state: dict[str, Any] = {"ok": any(bridge["connected"] for bridge in ours), "sandboxes": bridges}
        if not bridges:
            state["ok"] = True  # none is wanted here
        elif not state["ok"]:
            state["problem"] = (self._embedded and self._embedded.problem) or ours[0]["problem"]
        return state

    # --- HTTP -----------------------------------------------------------------------------------------------

    def _parts(self, endpoint: Endpoint, ids: SessionIds, hops: Hops) -> Parts:
        started_at = rfc3339(self._world.clock.now_ms())

        def instance() -> dict[str, Any]:
            return {
                "instance": self._instance,
                "started_at": started_at,
                "draining": self._health.draining,
                "agents": self._registry.names,
                "running": self._dispatcher.running,
                "connections": endpoint.connections,
            }

        return Parts(
            settings=self._settings,
            services=self._services,
            store=self._store,
            registry=self._registry,
            ids=ids,
            sites=self._sites,
            hops=hops,
            health=self._health,
            sandboxes=self._sandboxes.described,
            instance=instance,
            client_socket=endpoint.handle,
            sandbox_socket=self._sandbox_door.handle,
        )


def _door_of(listener: Listener) -> Accept:
    async def accept(transport: FrameTransport, subject: str, is_trusted: bool) -> None:  # noqa: FBT001
        await listener.accept(transport, subject=subject, trust="server" if is_trusted else "client")

    return accept


@asynccontextmanager
async def _listening(runner: web.AppRunner, settings: Settings) -> AsyncIterator[str]:
    """The URL at which clients are served inside the block. Raises `StartError`."""
    host, port, loop = settings.host, settings.port, asyncio.get_running_loop()
    if (server := runner.server) is None:
        raise TypeError("the runner has not been set up")
    peer = functools.partial(Peer, server, loop=loop, keepalive_timeout=settings.handshake_timeout_s)
    try:
        listening = await loop.create_server(peer, host, port, backlog=BACKLOG, reuse_address=True)
    except OSError as error:
        raise StartError(
            f"can't listen on {host}:{port}: {error.strerror or error}; choose another --port"
        ) from None
    try:
        yield f"http://{_shown(host)}:{listening.sockets[0].getsockname()[1]}"
    finally:
        listening.close()


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _described(bridge: Bridge) -> dict[str, Any]:
    info = bridge.info
    if info is None:
        return {"address": bridge.address, "connected": False, "problem": bridge.problem}
    return {
        "address": bridge.address,
        "connected": True,
        "sandbox_id": info.sandbox_id,
        "runtime": info.runtime,
        "active": bridge.active,
        "max_sessions": info.max_sessions,
        "isolation": info.isolation,
    }
