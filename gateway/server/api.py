"""The service over HTTP: the same commands as on the socket, in the same words.

The other border where an exception becomes an answer: here a problem document (RFC 9457).
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final, Literal, TypeVar

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from pydantic import BaseModel, ValidationError

from gateway.agents.registry import Registry
from gateway.errors import GatewayError, StoreUnavailableError
from gateway.fanout.follow import ended, follow
from gateway.files import Upload
from gateway.frames import InputBody, ListBody, SubmitBody, WishBody, bad_frame
from gateway.principal import Principal
from gateway.server import sse
from gateway.server.downloads import Downloads
from gateway.server.uploads import Uploads
from gateway.sessions.commands import Services, expiry, internal_error
from gateway.sessions.endpoint import authenticated
from gateway.sessions.problems import problem
from gateway.sessions.session import SessionIds
from gateway.settings import Settings
from gateway.state.base import Created, StateStore
from gateway.strict_json import parse_object
from gateway.tasks import TaskRecord

MAX_PAGE: Final = 10_000
"""Events in one JSON answer."""
MAX_READING_BYTES: Final = 256 << 20
"""Of bodies that are being received at once."""
SMALL_BODY_BYTES: Final = 1 << 20
"""A body of so much is taken however much else comes in."""
PART_BYTES: Final = 64 << 10
BODY_TIMEOUT_S: Final = 60.0
"""How long a body may take."""
PAGE_BYTES: Final = 8 << 20
"""Bytes of events in one JSON answer."""

Body = TypeVar("Body", bound=BaseModel)


class Api:
    """The handlers of `/v1`."""

    def __init__(
        self, services: Services, store: StateStore, registry: Registry, ids: SessionIds, settings: Settings
    ) -> None:
        self._services = services
        self._store = store
        self._registry = registry
        self._ids = ids
        self._settings = settings
        self._reading_bytes = 0
        self._uploads = Uploads(store, services.clock, max_bytes=settings.max_input_bytes)
        self._downloads = Downloads(services, store)

    def add_routes(self, app: web.Application) -> None:
        """Put the handlers where the contract says."""
        app.router.add_post("/v1/tasks", self.submit)
        app.router.add_get("/v1/tasks", self.list_tasks)
        app.router.add_get("/v1/tasks/{id}", self.get_task)
        app.router.add_delete("/v1/tasks/{id}", self.delete_task)
        app.router.add_post("/v1/tasks/{id}/{wish:cancel|pause|resume}", self.wish)
        app.router.add_post("/v1/tasks/{id}/input", self.send_input)
        app.router.add_get("/v1/tasks/{id}/events", self.events)
        app.router.add_get("/v1/tasks/{id}/files", self._downloads.index)
        app.router.add_get("/v1/tasks/{id}/files.tar", self._downloads.tar)
        app.router.add_get(r"/v1/tasks/{id}/files/{path:[\s\S]+}", self._downloads.file)
        app.router.add_get("/v1/agents", self.agents)
        app.router.add_get("/v1/whoami", self.whoami)

    # --- tasks ------------------------------------------------------------------------------------------

    async def submit(self, request: web.Request) -> web.StreamResponse:
        """`POST /v1/tasks`: 201, or 200 where it was there before, or 202 where `blocking` took too long."""
        principal = self._principal(request)
        if request.content_type == "multipart/form-data":
            body, created = await self._submit_files(request, principal)
        else:
            body = _keyed(request, await self._body(request, SubmitBody))
            created = await self._submit(request, principal, body, None)
        task, status = created.task, 200 if created.replayed else 201
        if body.mode == "blocking":
            task, waited = await self._wait(task)
            status = status if waited else 202
        described = await self._services.control.describe(principal, task)
        return _json(
            {"task": described, "replayed": created.replayed},
            status=status,
            headers={"Location": f"/v1/tasks/{task.task_id}"},
        )

    async def _submit(
        self, request: web.Request, principal: Principal, body: SubmitBody, upload: Upload | None
    ) -> Created:
        asked = request.headers.get("Session-Id")
        known = asked is not None and self._ids.belongs(asked, principal.subject)
        session_id = asked if asked is not None and known else self._ids.new(principal.subject)
        return await self._services.control.submit(principal, session_id, body, upload)

    async def _submit_files(self, request: web.Request, principal: Principal) -> tuple[SubmitBody, Created]:
        bodies: list[SubmitBody] = []

        async def read_task(slices: AsyncIterator[bytes]) -> None:
            body = _keyed(request, _checked(SubmitBody, parse_object(await self._read(slices))))
            # Where it comes first, what is refused is refused before its files come.
            self._services.control.check(principal, body)
            bodies.append(body)

        _check_encoding(request)
        self._services.control.check(principal, None)
        async with self._uploads.received(request, read_task, by=principal.counted_as) as upload:
            return bodies[0], await self._submit(request, principal, bodies[0], upload)

    async def _wait(self, task: TaskRecord) -> tuple[TaskRecord, bool]:
        services = self._services
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.blocking_http_s):
                await ended(services.relay, services.read_log, task)
        task = await services.control.again(task)
        return task, task.ended

    async def list_tasks(self, request: web.Request) -> web.StreamResponse:
        """`GET /v1/tasks`."""
        principal = self._principal(request)
        query = _query(request, ListBody, numbers=("limit",))
        return _json(await self._services.control.list(principal, query))

    async def get_task(self, request: web.Request) -> web.StreamResponse:
        """`GET /v1/tasks/{id}`."""
        principal = self._principal(request)
        task = await self._services.control.get(principal, request.match_info["id"])
        include_input = _query(request, _TaskQuery).include_input == "true"
        described = await self._services.control.describe(principal, task, include_input=include_input)
        return _json({"task": described})

    async def wish(self, request: web.Request) -> web.StreamResponse:
        """`POST /v1/tasks/{id}/cancel`, `pause` and `resume`; a body may give a reason."""
        principal = self._principal(request)
        reason = (await self._body(request, WishBody)).reason if request.can_read_body else None
        control = self._services.control
        wishes = {"cancel": control.cancel, "pause": control.pause, "resume": control.resume}
        wish = wishes[request.match_info["wish"]]
        task = await wish(principal, request.match_info["id"], reason)
        return _json({"task": await control.describe(principal, task)})

    async def send_input(self, request: web.Request) -> web.StreamResponse:
        """`POST /v1/tasks/{id}/input`."""
        principal = self._principal(request)
        body = await self._body(request, InputBody)
        await self._services.control.send_input(principal, request.match_info["id"], body)
        return _json({})

    async def delete_task(self, request: web.Request) -> web.StreamResponse:
        """`DELETE /v1/tasks/{id}`."""
        await self._services.control.delete(self._principal(request), request.match_info["id"])
        return _json({})

    async def events(self, request: web.Request) -> web.StreamResponse:
        """`GET /v1/tasks/{id}/events`: a page as JSON, or a stream where the reader takes `text/event-stream`."""
        principal = self._principal(request)
        task = await self._services.control.get(principal, request.match_info["id"])
        streams = "text/event-stream" in request.headers.get("Accept", "").lower()
        asked = _query(request, _EventsQuery, numbers=("after_seq", "limit"))
        after_seq = asked.after_seq
        if streams and (last_id := request.headers.get("Last-Event-ID")):
            after_seq = _checked(_EventsQuery, {"after_seq": _number(last_id)}).after_seq
        if after_seq > task.last_seq:
            raise GatewayError("invalid_cursor", last_seq=task.last_seq)
        after_seq = max(after_seq, task.first_seq - 1)
        if streams:
            return await self._stream(request, principal, task, after_seq)
        return await self._page(task, after_seq, asked.limit)

    async def _stream(
        self, request: web.Request, principal: Principal, task: TaskRecord, after_seq: int
    ) -> web.StreamResponse:
        if task.ended and after_seq >= task.last_seq:
            return web.Response(status=204)
        services = self._services
        batches = follow(services.relay, services.read_log, task, after_seq)
        # A stream is no way round a token's end: its reader comes back with another.
        left_s = (
            None if principal.expires_at is None else principal.expires_at - services.clock.now_ms() / 1000
        )
        return await sse.stream(request, batches, within_s=left_s)

    async def _page(self, task: TaskRecord, after_seq: int, limit: int) -> web.StreamResponse:
        page = await self._store.read_events(task.task_id, after_seq, max_events=limit, max_bytes=PAGE_BYTES)
        joined = b",".join(event.frame for event in page.events)
        last_seq = max(task.last_seq, page.events[-1].seq if page.events else 0)
        # Its beginning may have been trimmed since its row was read.
        first_seq = page.events[0].seq if page.events else after_seq + 1
        body = b'{"events":[%s],"first_seq":%d,"last_seq":%d}' % (joined, first_seq, last_seq)
        return web.Response(body=body, content_type="application/json")

    # --- the rest -----------------------------------------------------------------------------------------

    async def agents(self, request: web.Request) -> web.StreamResponse:
        """`GET /v1/agents`: each with the JSON Schema of its input."""
        self._principal(request).require("tasks:read")
        found = [self._registry.get(name) for name in self._registry.names]
        return _json(
            {"agents": [{"name": a.name, "input_schema": a.input_model.model_json_schema()} for a in found]}
        )

    async def whoami(self, request: web.Request) -> web.StreamResponse:
        """`GET /v1/whoami`."""
        principal = self._principal(request)
        scopes = sorted(principal.scopes)
        return _json({"subject": principal.subject, "scopes": scopes, "expires_at": expiry(principal)})

    async def _body(self, request: web.Request, model: type[Body]) -> Body:
        _check_encoding(request)
        if request.content_type != "application/json":
            raise web.HTTPUnsupportedMediaType(text="Send the body as application/json.")
        return _checked(model, parse_object(await self._read(request.content.iter_chunked(PART_BYTES))))

    async def _read(self, parts_in: AsyncIterator[bytes]) -> bytes:
        """The body, its bytes counted as they come: what is only announced costs nobody anything."""
        parts, held = list[bytes](), 0
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                async for part in parts_in:
                    held += len(part)
                    self._reading_bytes += len(part)
                    self._check_size(held)
                    parts.append(part)
        except TimeoutError:
            raise web.HTTPRequestTimeout(text=f"The body took longer than {BODY_TIMEOUT_S:.0f} s.") from None
        finally:
            self._reading_bytes -= held
        return b"".join(parts)

    def _check_size(self, held: int) -> None:
        if held > self._settings.max_body_bytes:
            raise GatewayError("too_large", f"A body has at most {self._settings.max_body_bytes} bytes.")
        if held > SMALL_BODY_BYTES and self._reading_bytes > MAX_READING_BYTES:
            raise GatewayError("overloaded", "Too many large bodies come in at once.", retry_after_ms=1000)

    def _principal(self, request: web.Request) -> Principal:
        return authenticated(request, self._services.authenticator)


class _Strict(BaseModel):
    model_config = {"extra": "forbid", "strict": True}


class _TaskQuery(_Strict):
    include_input: Literal["true", "false"] = "false"


class _EventsQuery(_Strict):
    after_seq: int = 0
    limit: int = 1000

    def model_post_init(self, _context: Any) -> None:
        if self.after_seq < 0 or not 1 <= self.limit <= MAX_PAGE:
            raise GatewayError("bad_frame", f"after_seq is at least 0, limit 1 to {MAX_PAGE}", errors=[])


def _query(request: web.Request, model: type[Body], *, numbers: tuple[str, ...] = ()) -> Body:
    given: dict[str, Any] = dict(request.query)
    return _checked(model, {key: _number(value) if key in numbers else value for key, value in given.items()})


def _checked(model: type[Body], values: dict[str, Any]) -> Body:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise bad_frame(error) from None


def _check_encoding(request: web.Request) -> None:
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise web.HTTPUnsupportedMediaType(text="Send the body as it is, without a Content-Encoding.")


def _keyed(request: web.Request, body: SubmitBody) -> SubmitBody:
    """The body, with the key that the header may have brought."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return body
    if body.idempotency_key not in {None, key}:
        raise GatewayError("bad_frame", "The body has another key than the header.", errors=[])
    return _checked(SubmitBody, body.model_dump(exclude_unset=True) | {"idempotency_key": key})


def _number(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else text


def _json(body: dict[str, Any], *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        body=orjson.dumps(body), status=status, headers=headers, content_type="application/json"
    )


# --- the border ---------------------------------------------------------------------------------------


def errors_answered(services: Services) -> Middleware:
    """The middleware that makes problem documents of what handlers raise."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except GatewayError as error:
            return problem(error)
        except StoreUnavailableError as error:
            services.log.warning("store unavailable", error=str(error))
            return problem(GatewayError("unavailable"))
        except web.HTTPException as error:
            if error.status < 400:
                raise
            return _http_problem(error)
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception as error:  # noqa: BLE001 - the border: a bug of ours is logged, and answered without its stack
            return problem(internal_error(services, error))

    return middleware


_HTTP_CODES: Final = {
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "too_large",
    415: "unsupported_media_type",
}


def _http_problem(error: web.HTTPException) -> web.Response:
    code = _HTTP_CODES.get(error.status, "bad_request")
    body = {
        "type": "about:blank",
        "title": error.reason,
        "status": error.status,
        "detail": error.text,
        "code": code,
        "message": error.text,
        "retryable": False,
    }
    allow = error.headers.get("Allow")
    return web.Response(
        body=orjson.dumps(body),
        status=error.status,
        content_type="application/problem+json",
        headers={"Allow": allow} if allow else {},
    )
