"""What a route of the HTTP service is: what serves it and what describes it are one.

A `Route` names its path, scope, parameters, body and answers. Requests are held to exactly that before the handler
sees them, and `openapi` writes down the same.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import BaseModel, ConfigDict

from gateway.errors import GatewayError, wrong_field
from gateway.principal import Principal
from gateway.server.connections.peer import Peer
from gateway.server.http.bodies import Bodies, checked
from gateway.sessions.commands import Services
from gateway.sessions.endpoint import authenticated
from gateway.sessions.pace import Pace

JSON: Final = "application/json"
NOBODY: Final = Principal("", frozenset())
"""Who asks where everybody may."""
MADE: Final = web.ResponseKey("made", str)
"""Where an answer says what it made, for the audit log, when that has no address."""
MANY: Final = frozenset({"If-None-Match", "traceparent"})
"""Headers that may be there more than once: a list, and one that is not valid then."""


class Query(BaseModel):
    """Parameters of a request; no other is taken."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Headers(BaseModel):
    """Headers that a route looks at, each under its name as alias."""

    model_config = ConfigDict(strict=True)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that fits its route, from someone who may ask: `query` and `headers` are the route's own."""

    request: web.Request
    principal: Principal
    query: Any
    headers: Any
    body: Callable[[], Awaitable[Any]]
    """Reads the JSON body, as the route's `body`. Raises as `Bodies.read`."""
    pace: Pace | None = None
    """What its address may ask for, as far as it is its principal's; see `Quotas.pace`."""

    @property
    def task_id(self) -> str:
        """The task of the path."""
        return self.request.match_info["task_id"]


@dataclass(frozen=True, slots=True)
class Answer:
    """A good answer: its meaning, its shape by media type (None: bytes or text), and its own headers' meanings."""

    meaning: str
    content: Mapping[str, type[BaseModel] | None] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    links: tuple[str, ...] = ()
    """Names of routes that the task in it can be asked with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One method of one path. `errors` are the codes that it can answer with beside those that every route can.

    Without a `scope` any good token will do, and for an open one none is needed.
    """

    name: str
    method: str
    path: str
    handler: Callable[[Asked], Awaitable[web.StreamResponse]]
    about: str
    answers: Mapping[int, Answer]
    scope: str | None = None
    is_open: bool = False
    is_counted: bool = True
    """Whether a request counts against its subject's rate; an open one never does."""
    query: type[Query] | type[BaseModel] | None = Query
    """None takes any, and looks at none."""
    headers: type[Headers] = Headers
    body: type[BaseModel] | None = None
    body_is_optional: bool = False
    takes_files: bool = False
    """Whether the body may also be a form with files."""
    errors: tuple[str, ...] = ()


def add_routes(app: web.Application, routes: Iterable[Route], services: Services, bodies: Bodies) -> None:
    """Serve `routes`."""
    for route in routes:
        # A file's path is whatever is left of the address, with its slashes.
        path = route.path.replace("{path}", r"{path:[\s\S]+}")
        handler = _served(route, services, bodies)
        if route.method == "GET":
            app.router.add_get(path, handler)
        else:
            app.router.add_route(route.method, path, handler)


def _served(route: Route, services: Services, bodies: Bodies) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        if route.is_open:
            return await answer(request, NOBODY)
        principal, outcome = await authenticated(request, services.authenticator), "internal"
        answered = None
        try:
            if route.is_counted:
                services.quotas.of(principal).take()
            answered = await answer(request, principal)
            outcome = "ok"
        except GatewayError as refusal:
            outcome = refusal.code
            raise
        finally:
            if request.method not in {"GET", "HEAD"} or outcome == "forbidden":
                made = answered.get(MADE, answered.headers.get("Location")) if answered is not None else None
                ids = {name: value for name, value in request.match_info.items() if name != "path"}
                services.audit.note(principal, route.name, outcome, via="http", **ids, made=made)
        return answered

    async def answer(request: web.Request, principal: Principal) -> web.StreamResponse:
        if route.scope is not None:
            principal.require(route.scope)

        async def body() -> Any:
            if route.body is None:
                raise TypeError(f"{route.name} takes no body")
            return await bodies.read(request, route.body, optional=route.body_is_optional)

        query = parsed_query(request, route.query) if route.query is not None else None
        peer = request.protocol
        pace = services.quotas.pace(peer.counted_as if isinstance(peer, Peer) else None, principal)
        return await route.handler(
            Asked(request, principal, query, _parsed_headers(request, route), body, pace)
        )

    return handle


def parsed_query(request: web.Request, model: type[BaseModel]) -> Any:
    """The query of `request` as a `model`, its numbers read. Raises `GatewayError` `bad_frame`."""
    given = request.query
    for name in given:
        if len(given.getall(name)) > 1:
            raise wrong_field([name], "is there more than once")
    return checked(model, _with_numbers(model, given))


def _parsed_headers(request: web.Request, route: Route) -> Any:
    names = [str(info.alias) for info in route.headers.model_fields.values()]
    said = {name: request.headers.getall(name) for name in names if name in request.headers}
    for name in said.keys() - MANY:
        if len(said[name]) > 1:
            raise wrong_field([name], "is there more than once")
    given = {name: ", ".join(values) for name, values in said.items()}
    return checked(route.headers, _with_numbers(route.headers, given))


def _with_numbers(model: type[BaseModel], given: Mapping[str, str]) -> dict[str, Any]:
    numbers = {info.alias or name for name, info in model.model_fields.items() if _is_number(info.annotation)}
    return {name: number(value) if name in numbers else value for name, value in given.items()}


def _is_number(annotation: Any) -> bool:
    return annotation in {int, int | None}


def number(text: str) -> int | str:
    """The number that `text` is; what is none stays text, which the parameter's type then refuses."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else text


def json_answer(
    body: Mapping[str, Any], *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """`body` as JSON."""
    return web.Response(body=orjson.dumps(body), status=status, headers=headers, content_type=JSON)
