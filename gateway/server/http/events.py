"""A task's log over HTTP: page by page as JSON, or live as server-sent events."""

from typing import Final

from aiohttp import web
from pydantic import Field

from gateway.errors import GatewayError
from gateway.fanout.follow import follow
from gateway.server.http import sse
from gateway.server.http.routes import JSON, Answer, Asked, Headers, Query, Route
from gateway.sessions.commands import Services
from gateway.sessions.pace import in_turn
from gateway.shapes.events import EventPage
from gateway.state.base import StateStore
from gateway.strict_json import MAX_INT
from gateway.tasks import TaskRecord

MAX_PAGE: Final = 10_000
"""Events in one JSON answer."""
PAGE_BYTES: Final = 8 << 20
"""Bytes of events in one JSON answer."""


class EventsQuery(Query):
    """Which events."""

    after_seq: int = Field(default=0, ge=0, le=MAX_INT)
    """Those newer than this."""
    limit: int = Field(default=1000, ge=1, le=MAX_PAGE)
    """No more in one page; a stream has them all."""


class EventsHeaders(Headers):
    """Where a stream resumes."""

    last_event_id: int | None = Field(default=None, alias="Last-Event-ID", ge=0, le=MAX_INT)
    """The last seq that a reader has; for a stream it counts more than `after_seq`."""


class Log:
    """The handler of `/v1/tasks/{task_id}/events`."""

    def __init__(self, services: Services, store: StateStore) -> None:
        self._services = services
        self._store = store

    def routes(self) -> list[Route]:
        """What is served here."""
        return [
            Route(
                name="get_events",
                method="GET",
                path="/v1/tasks/{task_id}/events",
                handler=self.events,
                about="A task's events: a page of them, or with `Accept: text/event-stream` all as they come,"
                " until the last: `id` is the seq, `event` the event, `data` the event as JSON.",
                scope="tasks:read",
                query=EventsQuery,
                headers=EventsHeaders,
                answers={
                    200: Answer(
                        "Events, in order.",
                        {JSON: EventPage, sse.KIND: None},
                        {
                            sse.FIRST_SEQ: "The first event's seq: more than was asked for where the log is trimmed."
                        },
                    ),
                    204: Answer("To a stream: the task has ended, and there is nothing newer."),
                },
                errors=("task_not_found", "invalid_cursor"),
            )
        ]

    async def events(self, asked: Asked) -> web.StreamResponse:
        """A page as JSON, or a stream where the reader takes `text/event-stream`."""
        task = await self._services.control.get(asked.principal, asked.task_id)
        streams = sse.is_wanted(asked.request.headers.get("Accept", ""))
        last_id = asked.headers.last_event_id
        after_seq = last_id if streams and last_id is not None else asked.query.after_seq
        if after_seq > task.last_seq:
            raise GatewayError("invalid_cursor", last_seq=task.last_seq)
        gone = after_seq < task.first_seq - 1
        after_seq = max(after_seq, task.first_seq - 1)
        if streams:
            return await self._stream(asked, task, after_seq, gone=gone)
        async with in_turn(asked.pace):
            return await self._page(task, after_seq, asked.query.limit)

    async def _stream(
        self, asked: Asked, task: TaskRecord, after_seq: int, *, gone: bool
    ) -> web.StreamResponse:
        if task.ended and after_seq >= task.last_seq:
            return web.Response(status=204)
        if asked.request.method == "HEAD":
            return web.Response(
                headers=sse.HEADERS | {sse.FIRST_SEQ: str(after_seq + 1)}
            )  # it watches nothing, and has no end to wait for
        services, expires_at = self._services, asked.principal.expires_at
        services.quotas.check_connection(asked.principal)
        batches = follow(services.relay, services.read_log, task, after_seq)
        # A stream is no way round a token's end: its reader comes back with another.
        left_s = None if expires_at is None else expires_at - services.clock.now_ms() / 1000
        ended = services.authenticator.ended
        with services.quotas.connection(asked.principal):
            return await sse.stream(
                asked.request,
                batches,
                first_seq=after_seq + 1,
                gone=gone,
                within_s=left_s,
                is_over=lambda: ended(asked.principal) is not None,
            )

    async def _page(self, task: TaskRecord, after_seq: int, limit: int) -> web.StreamResponse:
        page = await self._store.read_events(task.task_id, after_seq, max_events=limit, max_bytes=PAGE_BYTES)
        joined = b",".join(event.frame for event in page.events)
        last_seq = max(task.last_seq, page.events[-1].seq if page.events else 0)
        # Its beginning may have been trimmed since its row was read.
        first_seq = page.events[0].seq if page.events else after_seq + 1
        body = b'{"events":[%s],"first_seq":%d,"last_seq":%d}' % (joined, first_seq, last_seq)
        return web.Response(body=body, content_type=JSON, headers={sse.FIRST_SEQ: str(first_seq)})
