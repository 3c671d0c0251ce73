"""What people may do to workflows: begin, look, change, go back. The one place that both the socket and HTTP ask."""

import dataclasses
from collections.abc import Collection
from functools import partial
from typing import Any, Final

import orjson

from gateway.agents.fleet_registry import FleetRegistry
from gateway.checkpoints import Checkpoint, CheckpointTooLargeError, new_checkpoint
from gateway.checkpoints import to_wire as checkpoint_to_wire
from gateway.clock import Clock
from gateway.errors import GatewayError
from gateway.frames import CheckpointListBody, RecoverBody, WorkflowListBody
from gateway.principal import Principal
from gateway.server_frames import fitting
from gateway.state.base import StateStore
from gateway.state.values import NewTask, Recovery, TaskQuery
from gateway.tasks import TaskRecord
from gateway.work.control import Control
from gateway.work.workflow_bodies import WorkflowBody, WorkflowPatchBody
from gateway.workflow_record import (
    MAX_METADATA_BYTES,
    WorkflowChange,
    WorkflowQuery,
    WorkflowRecord,
    check_still,
    grows,
    merged,
    restored,
    sized,
    to_wire,
    updated,
)

Listed = list[Checkpoint]
Rows = list[dict[str, Any]]
PAGE_BYTES: Final = 8 << 20
"""Of a page of whole checkpoints, the last of which may be as large once more."""


class Workflows:
    """Commands on workflows, each in the name of a principal; what it may not see does not exist for it."""

    def __init__(self, store: StateStore, agents: FleetRegistry, clock: Clock, control: Control) -> None:
        self._store = store
        self._agents = agents
        self._clock = clock
        self._control = control

    async def create(self, principal: Principal, body: WorkflowBody) -> WorkflowRecord:
        """A workflow without a task. Raises `GatewayError` `forbidden`, `overloaded` or `too_large`."""
        _require(principal, "tasks:write")
        await self._control.check_stored(principal)
        now_ms = self._clock.now_ms()
        row = WorkflowRecord(
            workflow_id=self._clock.new_id(),
            subject=principal.subject,
            session_id=body.session_id,
            created_at=now_ms,
            updated_at=now_ms,
            current_step=body.initial_step,
            state_data=sized(body.initial_data),
            metadata=sized(body.metadata, MAX_METADATA_BYTES),
        )
        await self._store.create_workflow(row)
        return row

    async def get(self, principal: Principal, workflow_id: str) -> WorkflowRecord:
        """The row with its data. Raises `GatewayError` `workflow_not_found`."""
        _require(principal, "tasks:read")
        return _must_see(principal, await self._store.get_workflow(workflow_id))

    async def update(
        self,
        principal: Principal,
        workflow_id: str,
        body: WorkflowPatchBody,
        *,
        versions: Collection[int] | None,
    ) -> WorkflowRecord:
        """The row as `body` has it. Raises `VersionConflictError`, and `GatewayError` `workflow_not_found`…"""
        _require(principal, "tasks:write")
        patch = {
            name: value for name, value in body.model_dump(exclude_unset=True).items() if value is not None
        }

        full = await self._full(principal)

        def decide(row: WorkflowRecord) -> WorkflowChange:
            change = updated(_must_see(principal, row), patch, versions=versions)
            if full is not None and grows(row, change):
                raise full
            return change

        return await self._store.change_workflow(workflow_id, decide)

    async def _full(self, principal: Principal) -> GatewayError | None:
        """Why it may keep no more; what takes less room than before it may still write."""
        try:
            await self._control.check_stored(principal)
        except GatewayError as refusal:
            return refusal
        return None

    async def list(self, principal: Principal, body: WorkflowListBody) -> dict[str, Any]:
        """`{"workflows": […], "cursor": …}`, newest first, without what is large."""
        _require(principal, "tasks:read")
        created_at, _, workflow_id = (body.cursor or "").partition(".")
        query = WorkflowQuery(
            subject=principal.sees_subject,
            session_id=body.session_id,
            status=body.status,
            before=(int(created_at), workflow_id) if body.cursor else None,
            limit=body.limit + 1,
        )
        found = await self._store.list_workflows(query)
        page = fitting([to_wire(row) for row in found[: body.limit]])
        last = found[len(page) - 1] if len(found) > len(page) else None
        return {"workflows": page, "cursor": last and f"{last.created_at}.{last.workflow_id}"}

    async def checkpoints(
        self, principal: Principal, workflow_id: str, body: CheckpointListBody
    ) -> dict[str, Any]:
        """`{"checkpoints": […], "cursor": …}`, oldest first, without what is large."""
        found = await self._listed(principal, workflow_id, body)
        return _page(found, fitting([checkpoint_to_wire(one) for one in found[: body.limit]]))

    async def whole_checkpoints(
        self, principal: Principal, workflow_id: str, body: CheckpointListBody
    ) -> dict[str, Any]:
        """As `checkpoints`, with all data: a page ends with the one that brings it to `PAGE_BYTES`."""
        found = await self._listed(principal, workflow_id, body)
        page: Rows = []
        size = 0
        for one in found[: body.limit]:
            if size >= PAGE_BYTES:
                break
            is_whole = one.checkpoint_data is not None
            whole = one if is_whole else await self._store.get_checkpoint(one.checkpoint_id)
            page.append(checkpoint_to_wire(whole or one))
            size += len(orjson.dumps(page[-1]))
        return _page(found, page)

    async def _listed(self, principal: Principal, workflow_id: str, body: CheckpointListBody) -> Listed:
        await self.get(principal, workflow_id)
        return await self._store.list_checkpoints(workflow_id, after=body.cursor or "", limit=body.limit + 1)

    async def recover(
        self, principal: Principal, workflow_id: str, body: RecoverBody
    ) -> tuple[WorkflowRecord, TaskRecord]:
        """The workflow, or its fork, with the task that goes on from a checkpoint.

        Raises `GatewayError`: `workflow_not_found`, `checkpoint_not_found`, `invalid_state`, `unknown_agent`…
        """
        self._control.check_asker(principal)
        row = await self.get(principal, workflow_id)
        check_still(row, is_copy=body.fork)
        kept = await self._checkpoint(workflow_id, body)
        former = await self._task_of(row, kept)
        fork = (self._clock.new_id(), self._clock.now_ms()) if body.fork else None
        data = merged(kept.checkpoint_data, body.state or {})
        metadata = {"restored_from": kept.checkpoint_id}
        try:
            copy = new_checkpoint(
                self._clock.new_ordered_id(), kept.step_name, kept.agent_name, data, metadata
            )
        except CheckpointTooLargeError as error:
            raise GatewayError("too_large", str(error)) from None
        task = await self._again(former, fork[0] if fork is not None else workflow_id)
        await self._control.admit(principal)
        recovery = Recovery(workflow_id, partial(restored, checkpoint=kept, data=data, fork=fork), copy, task)
        return await self._store.recover_workflow(recovery)

    async def _checkpoint(self, workflow_id: str, body: RecoverBody) -> Checkpoint:
        if body.checkpoint_id is not None:
            found = await self._store.get_checkpoint(body.checkpoint_id)
        else:
            found = await self._store.last_checkpoint(workflow_id, body.target_step)
        wanted = body.target_step
        if found is None or found.workflow_id != workflow_id or wanted not in {None, found.step_name}:
            raise GatewayError("checkpoint_not_found")
        return found

    async def _task_of(self, row: WorkflowRecord, kept: Checkpoint) -> TaskRecord:
        """The task that made the checkpoint; where none did, or it has gone, the workflow's last one."""
        found = await self._store.get_task(kept.task_id) if kept.task_id is not None else None
        if found is None:
            found = next(
                iter(await self._store.list_tasks(TaskQuery(workflow_id=row.workflow_id, limit=1))), None
            )
        if found is None:
            raise GatewayError("invalid_state", "The workflow has no task to run again.", status=row.status)
        return found

    async def _again(self, former: TaskRecord, workflow_id: str) -> NewTask:
        """A task with the agent, input and options of `former`."""
        given = await self._store.get_input(former.task_id)
        self._agents.require(former.agent)  # raises where nobody has it any more
        now_ms = self._clock.now_ms()
        names = ("subject", "agent", "session_id", "mode", "labels", "priority", "max_attempts", "timeout_s")
        more = ("detach", "detach_after_s", "takes_input", "title")
        same = {name: getattr(former, name) for name in (*names, *more)}
        task = TaskRecord(
            task_id=self._clock.new_ordered_id(),
            workflow_id=workflow_id,
            created_at=now_ms,
            updated_at=now_ms,
            **same,
        )
        return NewTask(task, input=given, names_workflow=True)


def _page(found: Listed, page: Rows) -> dict[str, Any]:
    return {
        "checkpoints": page,
        "cursor": page[-1]["checkpoint_id"] if len(found) > len(page) else None,
    }


def without_data(row: WorkflowRecord) -> WorkflowRecord:
    """The row with its data left out."""
    return dataclasses.replace(row, state_data=None, agent_states=None)


def _require(principal: Principal, scope: str) -> None:
    principal.require(scope)
    principal.require_whole()


def _must_see(principal: Principal, row: WorkflowRecord | None) -> WorkflowRecord:
    if row is None or principal.sees_subject not in {None, row.subject}:
        raise GatewayError("workflow_not_found")
    return row
