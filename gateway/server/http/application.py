"""The aiohttp application: its routes and middlewares."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from gateway.agents.fleet_registry import FleetRegistry
from gateway.agents.sandboxes import Described
from gateway.agents.sites import Sites
from gateway.server.connections.arrivals import ShortWay
from gateway.server.connections.middlewares import addresses_limited, hosts_checked, secured
from gateway.server.http import dashboard
from gateway.server.http.bodies import Bodies
from gateway.server.http.documents import Documents
from gateway.server.http.downloads import Downloads
from gateway.server.http.errors import errors_answered
from gateway.server.http.events import Log
from gateway.server.http.explain import Explain
from gateway.server.http.health import Health
from gateway.server.http.pairings import PairingApi
from gateway.server.http.routes import Route, add_routes
from gateway.server.http.service import Service
from gateway.server.http.shares import Shares, share_bound
from gateway.server.http.tasks import Api
from gateway.server.http.workflows import WorkflowApi
from gateway.server.previews.forward import Forwarder
from gateway.server.previews.hops import Hops
from gateway.server.previews.middleware import Previews
from gateway.sessions.commands import Services
from gateway.sessions.endpoint import Endpoint
from gateway.sessions.host_policy import HostPolicy
from gateway.sessions.sandboxes import SandboxEndpoint
from gateway.sessions.session import SessionIds
from gateway.settings import Settings
from gateway.state.base import StateStore


@dataclass(frozen=True, slots=True)
class Parts:
    """What the handlers need; the sockets' endpoints are handlers themselves."""

    settings: Settings
    services: Services
    store: StateStore
    agents: FleetRegistry
    ids: SessionIds
    sites: Sites
    hops: Hops
    health: Health
    sandboxes: Callable[[], Mapping[tuple[str, str], Described]]
    instances: Callable[[], list[dict[str, Any]]]
    """The instances that share the store."""
    endpoint: Endpoint
    sandbox_door: SandboxEndpoint
    serves_clients: bool = True
    """Else only what operators and the other instances need."""


def application(parts: Parts) -> web.Application:
    """All of it."""
    settings, authenticator = parts.settings, parts.services.authenticator
    app = web.Application(
        middlewares=[hosts_checked(HostPolicy(settings)), errors_answered(parts.services)],
        client_max_size=settings.max_body_bytes,
    )
    if settings.preview_host is not None:
        forwarder = Forwarder(authenticator.recognises)
        Previews(parts.sites, forwarder, parts.hops, settings.preview_host).add_to(app)
    app.middlewares.insert(0, addresses_limited)
    bodies = Bodies(max_bytes=settings.max_body_bytes)
    if parts.serves_clients:
        app.router.add_get("/ws", parts.endpoint.handle)
        app.router.add_get("/sandbox", parts.sandbox_door.handle)
        add_routes(app, routes(parts, bodies), parts.services, bodies)
        dashboard.add_routes(app, settings.preview_host, settings.webcontainer_url)
    else:
        add_routes(app, parts.health.routes(), parts.services, bodies)
    app.on_response_prepare.append(secured)
    return app


def short_way(parts: Parts) -> ShortWay | None:
    """The way in for a client who needs no care; None where none are served."""
    settings = parts.settings
    return (
        ShortWay(HostPolicy(settings), parts.endpoint, settings.preview_host)
        if parts.serves_clients
        else None
    )


def routes(parts: Parts, bodies: Bodies) -> list[Route]:
    """The HTTP service: what is served, and described, from one table."""
    services, store = parts.services, parts.store
    described = [
        *Api(services, store, parts.ids, bodies, parts.settings).routes(),
        *Log(services, store).routes(),
        *Explain(services, store, parts.instances).routes(),
        *Downloads(services, store).routes(),
        *Shares(services, parts.settings).routes(),
        *WorkflowApi(services).routes(),
        *PairingApi(parts.sandbox_door.pairings).routes(),
        *Service(parts.agents, parts.sandboxes, parts.instances, share_bound(parts.settings)).routes(),
        *parts.health.routes(),
    ]
    return [*described, *Documents(described).routes()]
