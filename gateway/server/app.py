"""Wires one instance together, starts it, and stops it in the reverse order.

Clock, randomness, ids, executors and the listening socket's loop are inputs, so that all of it can be
simulated (`tests/simulation`).
"""

import asyncio
import functools
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any, Final
from urllib.parse import urlsplit

import structlog
from structlog.typing import FilteringBoundLogger

from gateway.agents.fleet_registry import FleetRegistry
from gateway.agents.registry import Registry, all_agents
from gateway.agents.sandboxes import Described, Sandboxes
from gateway.agents.sites import Sites
from gateway.bus.base import Bus, announce
from gateway.clock import rfc3339
from gateway.fanout.hub import Hub
from gateway.fanout.reads import bounded
from gateway.fanout.relay import Relay
from gateway.fanout.watch import Watch, Watched
from gateway.fanout.watch_few import FewWatch
from gateway.metrics import Metrics
from gateway.server.backends import make_bus, make_store
from gateway.server.celery_offers import make_offers
from gateway.server.data_dir import StartError, locked
from gateway.server.embedded import EMBEDDED
from gateway.server.http.application import Parts, application, short_way
from gateway.server.http.health import Health
from gateway.server.listening import listening, set_up
from gateway.server.ownership import Ownership
from gateway.server.previews.hops import Hops
from gateway.server.sandboxes import bridges, door_of, embedded_sandbox, first_tried, readiness, show
from gateway.server.world import World
from gateway.sessions.audit import Audit
from gateway.sessions.auth import Authenticator
from gateway.sessions.commands import Services
from gateway.sessions.endpoint import Endpoint
from gateway.sessions.keys import published_keys
from gateway.sessions.pairing import Pairings
from gateway.sessions.quotas import Quotas
from gateway.sessions.sandboxes import SandboxEndpoint
from gateway.sessions.session import SessionIds, Sessions
from gateway.settings import Settings
from gateway.state.base import StateStore
from gateway.state.commit_metrics import CommitMetrics
from gateway.state.recorder import Recorder
from gateway.tasks import Commit
from gateway.work.admission import Admission
from gateway.work.control import Control
from gateway.work.dispatcher import Dispatcher
from gateway.work.leases import Told
from gateway.work.retention import sweep
from gateway.work.workflows import Workflows
from sandbox_bridge.listener import Listener
from sandbox_bridge.pool import Pool

CLOSE_S: Final = 3.0
"""How long clients may take over their goodbyes."""


class Gateway:
    """One instance: its parts, its loops, its start and its drain."""

    def __init__(self, settings: Settings, world: World, *, log: FilteringBoundLogger) -> None:
        self._settings = settings
        self._world = world
        clock = world.clock
        self._instance = clock.new_id()
        self._log = log.bind(instance=self._instance)
        self._metrics = Metrics()
        self._store = make_store(settings, world)
        self._recorder = Recorder(self._store.notes, clock, self._metrics, instance=self._instance)
        self._bus = _bus(settings, world, self._metrics, self._recorder, self._instance)
        self._store.on_commit = self._committed
        self._store.on_written = CommitMetrics(self._metrics, self._recorder).written
        self._pool = Pool()
        self._sandboxes = Sandboxes(self._pool, instance=self._instance)
        self._sites = _sites(settings, self._store, self._sandboxes, world, self._log)
        self._registry = Registry(all_agents(settings.agents, self._sites))
        self._ownership = self._made_ownership()
        self._agents = FleetRegistry(self._registry, self._ownership.view.schemas)
        hub, presence = Hub(), self._ownership.presence
        hub.on_first, hub.on_last = presence.came, presence.went
        hub.stopwatch.on_written = self._metrics.hop_seconds.labels("written").observe
        self._relay = Relay(self._bus, hub)
        self._watch = Watch(self._store, self._bus)
        self._started_at = rfc3339(clock.now_ms())
        self._endpoint: Endpoint | None = None
        self.leave_now: Callable[[], None] = lambda: None  # see `Endpoint.leave_now`
        self._sandbox_watch = FewWatch("sandboxes", "sandbox_id", self._all_sandboxes)
        self._instance_watch = FewWatch("instances", "instance", self._ownership.view.described)
        self._sandbox_seen = asyncio.Event()
        self._embedded = embedded_sandbox(settings, world, self._log)
        self._dispatcher = self._made_dispatcher()
        for bridge in bridges(settings, self._embedded, clock.rng, self._sandboxes_changed):
            self._pool.add(bridge)
        accept = door_of(Listener(self._pool, random=clock.rng, on_change=self._sandboxes_changed))
        self._keys = published_keys(settings, log=self._log)
        authenticator = Authenticator(settings, self._keys, now_s=lambda: clock.now_ms() / 1000)
        audit = Audit(settings.audit_file, clock.now_ms, instance=self._instance, log=log)
        pairings = Pairings(self._store, settings, now_s=lambda: clock.now_ms() / 1000)
        self._sandbox_door = SandboxEndpoint(authenticator, pairings, accept, audit, settings, log=self._log)
        sandbox_state = functools.partial(readiness, self._pool, self._embedded)
        self._health = Health(self._store, self._bus, sandbox_state, self._metrics, keys=self._keys)
        self._health.problems = self._ownership.problems
        self._services = self._made_services(hub, authenticator, audit)

    def _made_ownership(self) -> Ownership:
        told = Told(self._about, self._registry.schemas)
        settings, clock = self._settings, self._world.clock
        made = Ownership(settings, self._store, clock, told, instance=self._instance, log=self._log)
        made.on_takeover = self._metrics.takeover_seconds.observe
        made.on_lost = functools.partial(self._recorder.note, "lease_lost")
        return made

    def _made_services(self, hub: Hub, authenticator: Authenticator, audit: Audit) -> Services:
        settings, clock = self._settings, self._world.clock
        control = Control(self._store, self._agents, clock, Admission(self._store.usage, settings))
        return Services(
            control=control,
            workflows=Workflows(self._store, self._agents, clock, control),
            relay=self._relay,
            outgoing=hub.outgoing,
            read_log=bounded(self._store),
            watched=_lists(self._watch, self._sandbox_watch, self._instance_watch),
            authenticator=authenticator,
            audit=audit,
            recorder=self._recorder,
            quotas=Quotas(settings),
            clock=clock,
            metrics=self._metrics,
            log=self._log,
        )

    def _made_dispatcher(self) -> Dispatcher:
        settings = self._settings
        return Dispatcher(
            instance=self._instance,
            holding=self._ownership.holding,
            store=self._store,
            bus=self._bus,
            registry=self._registry,
            pool=self._pool,
            clock=self._world.clock,
            metrics=self._metrics,
            log=self._log,
            running_per_subject=settings.max_running_per_subject,
            queue_s=settings.queue_s,
            pause_hold_s=settings.pause_hold_s,
            offers=make_offers(settings, self._log),
            separate=settings.websocket_url,
            others_fit=self._ownership.view.others_fit,
        )

    # --- its life -----------------------------------------------------------------------------------------

    async def serve(self, *, ready: Callable[[str], None], stop: asyncio.Event) -> None:
        """Serve until `stop` is set, then drain. Raises `StartError` and `StoreUnavailableError` at the start."""
        # For the bridge's and libraries' lines.
        structlog.contextvars.bind_contextvars(instance=self._instance)
        async with AsyncExitStack() as held:
            shared = self._settings.event_bus_backend != "memory"
            held.enter_context(locked(self._settings.data_dir, shared=shared))
            await self._store.open()
            held.push_async_callback(self._store.aclose)
            await self._ownership.begin(self._dispatcher)
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
            "recorder": self._recorder.run(),
            "heads": self._relay.compare(self._store.heads),
            "dispatcher": self._dispatcher.run(),
            "watch": self._watch.run(),
            "sweep": sweep(self._store, self._world.clock, self._metrics, self._settings, log=self._log),
            "watch of sandboxes": self._sandbox_watch.run(),
            "watch of instances": self._instance_watch.run(),
            "sites": self._sites.run(),
            **self._ownership.loops(self._dispatcher),
        }
        if self._keys is not None:
            runs["keys"] = self._keys.run()
        runs |= {f"bridge {bridge.address}": bridge.run() for bridge in self._pool.bridges}
        if self._embedded is not None:
            runs["embedded sandbox"] = self._embedded.run()
        return [loops.create_task(run, name=name) for name, run in runs.items()]

    async def _serve_clients(self, ready: Callable[[str], None], stop: asyncio.Event) -> None:
        settings = self._settings
        secret = await self._store.secret()
        ids = SessionIds(secret, self._world.clock)
        endpoint = self._endpoint = Endpoint(
            instance=self._instance,
            agents=lambda: self._agents.names,
            settings=settings,
            sessions=Sessions(ids, self._services.quotas),
            services=self._services,
            clock=self._world.clock,
            log=self._log,
        )
        self.leave_now = endpoint.leave_now
        parts = self._parts(endpoint, ids, Hops(secret))
        runner = await set_up(application(parts), close_s=CLOSE_S)
        beating = asyncio.get_running_loop().create_task(endpoint.beat(), name="heartbeats")
        try:
            async with listening(runner, settings, short_way(parts), self._world) as (bound, own):
                self._sites.here = settings.advertised(own)
                await first_tried(self._embedded, self._sandbox_seen, settings.start_wait_s)
                ready(bound)
                self._log.info("gateway ready", url=own)
                await stop.wait()
                await self._drain(endpoint)
        finally:
            beating.cancel()
            await runner.cleanup()

    async def _drain(self, endpoint: Endpoint) -> None:
        self._log.info("draining", running=self._dispatcher.running)
        self._recorder.note("draining")
        self._health.draining = True
        self._services.control.draining = True
        endpoint.refuse_new()
        self._sandbox_door.refuse_new()
        self._ownership.tell()
        await self._dispatcher.drain(self._settings.drain_s)
        await self._ownership.end()
        self._relay.close_soon()
        endpoint.send_off()
        await self._sandbox_door.send_off()
        await endpoint.emptied(CLOSE_S)
        await self._recorder.settle()

    # --- the store and the bus ------------------------------------------------------------------------------

    def _committed(self, commit: Commit) -> None:
        self._metrics.events.inc(sum(len(batch.events) for batch in commit.events))
        if any(changed.removed for changed in commit.changed):
            self._sites.look()
        with self._metrics.delivered_seconds.time():
            announce(self._bus, commit)

    # --- sandboxes ------------------------------------------------------------------------------------------

    def _sandboxes_changed(self) -> None:
        if self._pool.fits():
            self._sandbox_seen.set()
        self._dispatcher.look()
        self._sandboxes.look()
        self._sandbox_watch.ring()
        self._ownership.tell()
        show(self._pool, self._metrics)

    def _about(self) -> dict[str, Any]:
        """What the others are told of this instance."""
        instance = {
            "role": "gateway" if self._world.serves_clients else "worker",
            "started_at": self._started_at,
            "draining": self._health.draining,
            "agents": self._registry.names,
            "running": self._dispatcher.running,
            "connections": self._endpoint.connections if self._endpoint is not None else 0,
        }
        return {"instance": instance, "sandboxes": self._sandboxes.told()}

    def _all_sandboxes(self) -> dict[tuple[str, str], Described]:
        return self._sandboxes.described() | self._ownership.view.sandboxes()

    def _parts(self, endpoint: Endpoint, ids: SessionIds, hops: Hops) -> Parts:
        return Parts(
            settings=self._settings,
            services=self._services,
            store=self._store,
            agents=self._agents,
            ids=ids,
            sites=self._sites,
            hops=hops,
            health=self._health,
            sandboxes=self._all_sandboxes,
            instances=self._ownership.view.instances,
            endpoint=endpoint,
            sandbox_door=self._sandbox_door,
            serves_clients=self._world.serves_clients,
        )


def _bus(settings: Settings, world: World, metrics: Metrics, recorder: Recorder, instance: str) -> Bus:
    if world.bus is not None:
        return world.bus(instance)
    return make_bus(settings, metrics, instance, note=recorder.note)


def _sites(
    settings: Settings, store: StateStore, sandboxes: Sandboxes, world: World, log: FilteringBoundLogger
) -> Sites:
    hosts = {url: str(urlsplit(url).hostname) for url in settings.websocket_url}
    return Sites(
        store,
        sandboxes,
        world.clock,
        hosts=hosts | {EMBEDDED: "127.0.0.1"},
        preview_host=settings.preview_host,
        on_loopback=settings.loopback,
        idle_s=settings.site_idle_s,
        log=log,
    )


def _lists(tasks: Watched, sandboxes: Watched, instances: Watched) -> dict[str, Watched]:
    """What clients may watch, by topic."""
    return {"tasks": tasks, "sandboxes": sandboxes, "instances": instances}
