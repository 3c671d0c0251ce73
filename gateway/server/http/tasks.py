"""Tasks over HTTP: the same commands as on the socket, in the same words."""

import contextlib
from collections.abc import AsyncIterator
from typing import Final, Literal

from aiohttp import web
from pydantic import Field

from gateway import trace
from gateway.errors import wrong_field
from gateway.fanout.follow import ended
from gateway.files import Upload
from gateway.frames import InputBody, ListBody, Name, SubmitBody, WishBody
from gateway.principal import Principal
from gateway.server.connections.peer import while_there
from gateway.server.http.bodies import Bodies, check_encoding, checked
from gateway.server.http.routes import JSON, Answer, Asked, Headers, Query, Route, json_answer
from gateway.server.http.uploads import Uploads
from gateway.sessions.commands import Services
from gateway.sessions.pace import in_turn
from gateway.sessions.session import SessionIds
from gateway.settings import Settings
from gateway.shapes.base import Empty
from gateway.shapes.tasks import Submitted, TaskAnswer, TaskPage
from gateway.state.base import StateStore
from gateway.state.values import Created
from gateway.tasks import TaskRecord


class SubmitHeaders(Headers):
    """What a submit may say beside its body."""

    idempotency_key: Name | None = Field(default=None, alias="Idempotency-Key")
    """The body's `idempotency_key`; a body that has one, too, has the same."""
    session_id: str | None = Field(default=None, alias="Session-Id")
    """The session that the task is to belong to, where it is the asker's; else it gets a new one."""
    traceparent: str | None = Field(default=None, alias="traceparent")
    """The trace that the task is to belong to (W3C Trace Context); one that is not valid is as none."""


class TaskQuery(Query):
    """How much of a task to show."""

    include_input: Literal["true", "false"] = "false"
    """Whether to show its input, too."""


_LOCATION: Final = {"Location": "Where the task is."}
_LINKS: Final = (
    *("get_task", "delete_task", "cancel_task", "pause_task", "resume_task", "send_input"),
    *("get_events", "list_files", "get_files_tar"),
)
_DONE: Final = {200: Answer("It is done.", {JSON: Empty})}
_TASK: Final = {200: Answer("The task.", {JSON: TaskAnswer})}
_WISHED: Final = {
    200: Answer(
        "The task; the wish is durable, and has taken effect where `status` says so.", {JSON: TaskAnswer}
    )
}


class Api:
    """The handlers of `/v1/tasks` and below, but for logs and files."""

    def __init__(
        self, services: Services, store: StateStore, ids: SessionIds, bodies: Bodies, settings: Settings
    ) -> None:
        self._services = services
        self._control = services.control
        self._ids = ids
        self._bodies = bodies
        self._blocking_s = settings.blocking_http_s
        self._uploads = Uploads(store, services.clock, max_bytes=settings.max_input_bytes)

    def routes(self) -> list[Route]:
        """What is served here."""
        return [self._submit_route(), *self._task_routes(), *self._steering_routes()]

    def _submit_route(self) -> Route:
        return Route(
            name="submit_task",
            method="POST",
            path="/v1/tasks",
            handler=self.submit,
            about="Begin a task. `blocking` waits for its end, `streaming` answers like `background`.",
            scope="tasks:write",
            headers=SubmitHeaders,
            body=SubmitBody,
            takes_files=True,
            answers={
                201: Answer("A new task.", {JSON: Submitted}, _LOCATION, _LINKS),
                200: Answer("The key's task, which was there before.", {JSON: Submitted}, _LOCATION, _LINKS),
                202: Answer(
                    "It takes longer than a blocking submit waits; the task runs on.",
                    {JSON: Submitted},
                    _LOCATION,
                ),
            },
            errors=(
                "unknown_agent",
                "task_not_found",
                "workflow_not_found",
                "idempotency_conflict",
                "overloaded",
            ),
        )

    def _task_routes(self) -> list[Route]:
        return [
            Route(
                name="list_tasks",
                method="GET",
                path="/v1/tasks",
                handler=self.list_tasks,
                about="Tasks, newest first.",
                scope="tasks:read",
                query=ListBody,
                answers={200: Answer("A page of them.", {JSON: TaskPage})},
            ),
            Route(
                name="get_task",
                method="GET",
                path="/v1/tasks/{task_id}",
                handler=self.get_task,
                about="One task.",
                scope="tasks:read",
                query=TaskQuery,
                answers=_TASK,
                errors=("task_not_found",),
            ),
            Route(
                name="delete_task",
                method="DELETE",
                path="/v1/tasks/{task_id}",
                handler=self.delete_task,
                about="Have an ended task forgotten: its log, its input and its files go.",
                scope="tasks:write",
                answers=_DONE,
                errors=("task_not_found", "invalid_state"),
            ),
        ]

    def _steering_routes(self) -> list[Route]:
        wishes = {
            "cancel": (self.cancel, "Wish the task cancelled, for good."),
            "pause": (self.pause, "Wish the task paused."),
            "resume": (self.resume, "Wish that the task go on."),
        }
        steering = [
            Route(
                name=f"{wish}_task",
                method="POST",
                path=f"/v1/tasks/{{task_id}}/{wish}",
                handler=handler,
                about=about,
                scope="tasks:write",
                body=WishBody,
                body_is_optional=True,
                answers=_WISHED,
                errors=("task_not_found", "invalid_state"),
            )
            for wish, (handler, about) in wishes.items()
        ]
        send_input = Route(
            name="send_input",
            method="POST",
            path="/v1/tasks/{task_id}/input",
            handler=self.send_input,
            about="Send a running task something; it is stored with the task before the answer.",
            scope="tasks:write",
            body=InputBody,
            answers=_DONE,
            errors=("task_not_found", "invalid_state", "overloaded"),
        )
        return [*steering, send_input]

    # --- what they do -------------------------------------------------------------------------------------

    async def submit(self, asked: Asked) -> web.StreamResponse:
        """201, or 200 where it was there before, or 202 where `blocking` took too long."""
        if asked.request.content_type == "multipart/form-data":
            body, created = await self._submit_files(asked)
        else:
            body = _keyed(asked, await asked.body())
            self._check_wait(asked, body)
            created = await self._submit(asked, body, None)
        task, status = created.task, 200 if created.replayed else 201
        if body.mode == "blocking":
            task, waited = await self._wait(asked, task)
            status = status if waited else 202
        return json_answer(
            {"task": await self._control.describe(asked.principal, task), "replayed": created.replayed},
            status=status,
            headers={"Location": f"/v1/tasks/{task.task_id}"},
        )

    async def _submit(self, asked: Asked, body: SubmitBody, upload: Upload | None) -> Created:
        wanted, subject = asked.headers.session_id, asked.principal.subject
        known = wanted is not None and self._ids.belongs(wanted, subject)
        session_id = wanted if wanted is not None and known else self._ids.new(subject)
        named = trace.parsed(asked.request.headers.getall(trace.HEADER, []))
        return await self._control.submit(asked.principal, session_id, body, upload, traceparent=named)

    async def _submit_files(self, asked: Asked) -> tuple[SubmitBody, Created]:
        principal: Principal = asked.principal
        bodies: list[SubmitBody] = []

        async def read_task(slices: AsyncIterator[bytes]) -> None:
            body = _keyed(asked, await self._bodies.read_json(asked.request, slices, SubmitBody))
            # Where it comes first, what is refused is refused before its files come.
            self._control.check(principal, body)
            self._check_wait(asked, body)
            bodies.append(body)

        check_encoding(asked.request)
        self._control.check_asker(principal)
        await self._control.check_room(principal)
        async with self._uploads.received(asked.request, read_task, by=principal.counted_as) as upload:
            return bodies[0], await self._submit(asked, bodies[0], upload)

    def _check_wait(self, asked: Asked, body: SubmitBody) -> None:
        if body.mode == "blocking":
            self._services.quotas.check_connection(asked.principal)

    async def _wait(self, asked: Asked, task: TaskRecord) -> tuple[TaskRecord, bool]:
        services = self._services
        with services.quotas.connection(asked.principal), contextlib.suppress(TimeoutError):
            async with while_there(asked.request, within_s=self._blocking_s):
                await ended(services.relay, services.read_log, task)
        task = await self._control.again(task)
        return task, task.ended

    async def list_tasks(self, asked: Asked) -> web.StreamResponse:
        """A page, newest first."""
        async with in_turn(asked.pace):
            return json_answer(await self._control.list(asked.principal, asked.query))

    async def get_task(self, asked: Asked) -> web.StreamResponse:
        """The task, with its input where that is asked for."""
        task = await self._control.get(asked.principal, asked.task_id)
        if asked.query.include_input == "false":
            return json_answer({"task": await self._control.describe(asked.principal, task)})
        async with in_turn(asked.pace):
            described = await self._control.describe(asked.principal, task, include_input=True)
            return json_answer({"task": described})

    async def delete_task(self, asked: Asked) -> web.StreamResponse:
        """Forget an ended one."""
        await self._control.delete(asked.principal, asked.task_id)
        return json_answer({})

    async def cancel(self, asked: Asked) -> web.StreamResponse:
        """Keep the wish; a body may give a reason."""
        reason = (await asked.body()).reason
        return await self._wished(asked, await self._control.cancel(asked.principal, asked.task_id, reason))

    async def pause(self, asked: Asked) -> web.StreamResponse:
        """See `cancel`."""
        reason = (await asked.body()).reason
        return await self._wished(asked, await self._control.pause(asked.principal, asked.task_id, reason))

    async def resume(self, asked: Asked) -> web.StreamResponse:
        """See `cancel`."""
        reason = (await asked.body()).reason
        return await self._wished(asked, await self._control.resume(asked.principal, asked.task_id, reason))

    async def _wished(self, asked: Asked, task: TaskRecord) -> web.StreamResponse:
        return json_answer({"task": await self._control.describe(asked.principal, task)})

    async def send_input(self, asked: Asked) -> web.StreamResponse:
        """Keep what is sent to it."""
        await self._control.send_input(asked.principal, asked.task_id, await asked.body())
        return json_answer({})


def _keyed(asked: Asked, body: SubmitBody) -> SubmitBody:
    """The body, with the key that the header may have brought."""
    key = asked.headers.idempotency_key
    if key is None:
        return body
    if body.idempotency_key not in {None, key}:
        raise wrong_field(["idempotency_key"], "is another than the header's")
    return checked(SubmitBody, body.model_dump(exclude_unset=True) | {"idempotency_key": key})
