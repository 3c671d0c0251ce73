"""What people may do to tasks: submit, steer, look. The one place that both the socket and HTTP ask."""

import hashlib
from functools import partial
from typing import Any, Final

import orjson

from gateway import trace, wishes
from gateway.agents.fleet_registry import FleetRegistry
from gateway.clock import Clock
from gateway.errors import GatewayError, wrong_field
from gateway.files import MAX_FILES, Upload, conflicts, to_entry
from gateway.frames import (
    InputBody,
    ListBody,
    SubmitBody,
    input_bytes,
)
from gateway.principal import Principal
from gateway.server_frames import fitting
from gateway.state.base import StateStore
from gateway.state.values import (
    Created,
    Decide,
    NewInput,
    NewTask,
    TaskQuery,
)
from gateway.task_wire import listed, to_wire
from gateway.tasks import Outcome, TaskRecord
from gateway.work.admission import Admission
from gateway.work.titles import title_of

RETRY_AFTER_MS: Final = 5000
"""When to come again to a server that drains."""


class Control:
    """Commands on tasks, each in the name of a principal; what a principal may not see does not exist for it."""

    def __init__(self, store: StateStore, agents: FleetRegistry, clock: Clock, admission: Admission) -> None:
        self.draining = False
        self._store = store
        self._agents = agents
        self._clock = clock
        self._admission = admission

    def check(self, principal: Principal, body: SubmitBody) -> dict[str, Any]:
        """The input with its defaults. Raises what `submit` would, as far as it can be told from that."""
        self.check_asker(principal)
        return self._agents.checked_input(body.agent, body.input)

    def check_asker(self, principal: Principal) -> None:
        """Raise what `submit` would, as far as it can be told from who asks."""
        principal.require("tasks:write")
        principal.require_whole()
        if self.draining:
            raise GatewayError("overloaded", "The server is draining.", retry_after_ms=RETRY_AFTER_MS)

    async def check_room(self, principal: Principal) -> None:
        """Raise what `submit` would for what its subject has already. Raises as `Admission.check_room`."""
        await self._admission.check_room(principal.subject)

    async def check_stored(self, principal: Principal) -> None:
        """Something else than a task is to be kept. Raises as `Admission.check_stored`."""
        await self._admission.check_stored(principal.subject)

    async def admit(self, principal: Principal) -> None:
        """One more task is to begin. Raises as `Admission.admit`."""
        await self._admission.admit(principal.subject)

    async def submit(
        self,
        principal: Principal,
        session_id: str,
        body: SubmitBody,
        upload: Upload | None = None,
        *,
        traceparent: str | None = None,
    ) -> Created:
        """A durable task, in the trace that it names itself, or else in `traceparent`.

        Raises `GatewayError`: `bad_frame`, `unknown_agent`, `forbidden`, `workflow_not_found`…"""
        filled = self.check(principal, body)
        if upload is not None:
            _check_upload(body, upload, taken=self._agents.takes_files(body.agent))
        await self.admit(principal)
        now_ms = self._clock.now_ms()
        task = TaskRecord(
            task_id=self._clock.new_ordered_id(),
            subject=principal.subject,
            agent=body.agent,
            session_id=session_id,
            workflow_id=body.workflow_id or self._clock.new_id(),
            mode=body.mode,
            labels=body.labels,
            priority=body.priority,
            max_attempts=body.max_attempts,
            timeout_s=body.timeout_s,
            detach=body.detach,
            detach_after_s=body.detach_after_s,
            created_at=now_ms,
            updated_at=now_ms,
            traceparent=trace.chosen(body.traceparent, traceparent),
            takes_input=self._agents.takes_input(body.agent, body.input),
            title=title_of(body.input),
        )
        return await self._store.create_task(
            NewTask(
                task,
                input=orjson.dumps(body.input),
                files=upload.set_id if upload is not None else None,
                idempotency_key=body.idempotency_key,
                fingerprint=_fingerprint(body, filled, upload) if body.idempotency_key is not None else b"",
                names_workflow=body.workflow_id is not None,
            )
        )

    async def cancel(self, principal: Principal, task_id: str, reason: str | None) -> TaskRecord:
        """The task with the wish durable. Raises `GatewayError` `task_not_found` or `invalid_state`."""
        now_ms, by = self._clock.now_ms(), principal.subject
        wish = partial(wishes.wish_cancel, now_ms=now_ms, by=by, reason=reason)
        return await self._wish(principal, task_id, wish)

    async def pause(self, principal: Principal, task_id: str, reason: str | None) -> TaskRecord:
        """See `cancel`."""
        now_ms, by = self._clock.now_ms(), principal.subject
        wish = partial(wishes.wish_pause, now_ms=now_ms, by=by, reason=reason)
        return await self._wish(principal, task_id, wish)

    async def resume(self, principal: Principal, task_id: str, reason: str | None) -> TaskRecord:
        """See `cancel`."""
        wish = partial(wishes.wish_resume, by=principal.subject, reason=reason)
        return await self._wish(principal, task_id, wish)

    async def resize(self, principal: Principal, task_id: str, cols: int, rows: int) -> None:
        """Keep the size that the task's terminal is to have. Raises as `cancel`."""
        await self._wish(principal, task_id, partial(wishes.resize, size={"cols": cols, "rows": rows}))

    async def _wish(self, principal: Principal, task_id: str, wish: Decide) -> TaskRecord:
        principal.require("tasks:write")
        return await self._store.change_task(task_id, lambda task: wish(_must_see(principal, task)))

    async def send_input(self, principal: Principal, task_id: str, body: InputBody) -> None:
        """Keep what is sent to the task. Raises `GatewayError`: `invalid_state`, `overloaded`, `too_large`…"""
        principal.require("tasks:write")
        task = _must_see(principal, await self._store.get_task(task_id))
        if self._agents.takes_text(task.agent) and not isinstance(body.data, str):
            raise wrong_field(["data"], "Input should be a valid string")
        new = NewInput(orjson.dumps(body.data), body.eof, body.key)
        nbytes = input_bytes(body.data)
        await self._store.add_input(task_id, new, lambda row: wishes.send_input(row, nbytes))

    async def delete(self, principal: Principal, task_id: str) -> None:
        """Forget an ended task, with its log, input and files. Raises `task_not_found` or `invalid_state`."""
        principal.require("tasks:write")

        def check(task: TaskRecord) -> None:
            if not _must_see(principal, task).ended:
                raise GatewayError("invalid_state", f"The task is {task.status}.", status=task.status)

        await self._store.delete_task(task_id, check)

    async def get(self, principal: Principal, task_id: str) -> TaskRecord:
        """The task's row. Raises `GatewayError` `task_not_found`."""
        principal.require("tasks:read")
        return _must_see(principal, await self._store.get_task(task_id))

    async def may_read(self, principal: Principal, task_id: str) -> bool:
        """Whether `get` would give it the task."""
        try:
            await self.get(principal, task_id)
        except GatewayError:
            return False
        return True

    async def again(self, task: TaskRecord) -> TaskRecord:
        """The row of a task that its asker has been shown already, as it is now. Raises as `get`."""
        if (found := await self._store.get_task(task.task_id)) is None:
            raise GatewayError("task_not_found")
        return found

    async def describe(
        self, principal: Principal, task: TaskRecord, *, include_input: bool = False
    ) -> dict[str, Any]:
        """The contract's Task, whole: with result and error, and its input where asked."""
        outcome = await self._store.get_outcome(task.task_id) if task.ended else Outcome()
        wire = shown_to(principal, to_wire(task, outcome))
        if include_input and principal.tasks is None:
            wire["input"] = orjson.loads(await self._store.get_input(task.task_id))
            if (set_id := await self._store.find_files(task.task_id)) is not None:
                wire["input_files"] = [to_entry(file) for file in await self._store.list_files(set_id)]
        return wire

    async def list(self, principal: Principal, body: ListBody) -> dict[str, Any]:
        """`{"tasks": […], "cursor": …}`, newest first."""
        principal.require("tasks:read")
        key, _, value = (body.label or "").partition("=")
        query = TaskQuery(
            subject=principal.sees_subject,
            status=body.status,
            agent=body.agent,
            session_id=body.session_id,
            workflow_id=body.workflow_id,
            label=(key, value) if body.label else None,
            task_ids=principal.tasks,
            before=body.cursor,
            limit=body.limit + 1,
        )
        found = await self._store.list_tasks(query)
        page = fitting([shown_to(principal, listed(task)) for task in found[: body.limit]])
        cursor = page[-1]["task_id"] if len(found) > len(page) else None
        return {"tasks": page, "cursor": cursor}


def _must_see(principal: Principal, task: TaskRecord | None) -> TaskRecord:
    if task is None or not principal.sees(task):
        raise GatewayError("task_not_found")
    return task


def shown_to(principal: Principal, wire: dict[str, Any]) -> dict[str, Any]:
    """A Task as `principal` may see it: a token for named tasks shows neither their session nor of their input."""
    if principal.tasks is None:
        return wire
    return {name: value for name, value in wire.items() if name != "title"} | {"session_id": None}


def _check_upload(body: SubmitBody, upload: Upload, *, taken: bool) -> None:
    """Raise `GatewayError` `bad_frame` where what was uploaded does not go with the rest of the input."""
    if not taken:
        raise _bad_files([], f"the agent {body.agent} takes no files")
    inline = body.input.get("files", {})
    if (twice := next((path for path in inline if path in upload.files), None)) is not None:
        raise _bad_files([twice], "is there twice")
    if len(inline) + len(upload.files) > MAX_FILES:
        raise _bad_files([], f"{len(inline) + len(upload.files)} are too many; at most {MAX_FILES} are taken")
    if clashes := conflicts([*inline, *upload.files], upload.folders):
        raise _bad_files([clashes[0]], "lies below another file")


def _bad_files(path: list[str], problem: str) -> GatewayError:
    return wrong_field(["input", "files", *path], problem)


_NOT_OF_IT: Final = ("id", "type", "mode", "idempotency_key", "traceparent")
"""Fields of a submit in which a repeat may differ."""


def _fingerprint(body: SubmitBody, filled: dict[str, Any], upload: Upload | None) -> bytes:
    """What a repeat under the same key has to have, too: defaults count as if they had been written, also in input."""
    fields = body.model_dump(mode="json", exclude={*_NOT_OF_IT, "input"})
    fields["input"] = filled
    if upload is not None:
        fields["files"] = upload.sha256
    return hashlib.sha256(orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)).digest()
