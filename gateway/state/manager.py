"""Workflows for code that keeps its own: state, steps, and checkpoints to go back to, over any store."""

import asyncio
import dataclasses
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final
from uuid import UUID

from gateway.checkpoints import Checkpoint, CheckpointTooLargeError, NewCheckpoint, new_checkpoint
from gateway.clock import Clock
from gateway.errors import GatewayError
from gateway.settings import Settings
from gateway.state.backends import store_of
from gateway.state.base import StateStore
from gateway.workflow_record import (
    MAX_METADATA_BYTES,
    DecideWorkflow,
    WorkflowChange,
    WorkflowQuery,
    WorkflowRecord,
    merged,
    named,
    restored,
    sized,
    updated,
)
from gateway.workflows import (
    WorkflowState,
    WorkflowStateCreate,
    WorkflowStateUpdate,
    WorkflowStatus,
    state_of,
)

MAX_CHECKPOINTS: Final = 100
"""Of a workflow that is read."""


class WorkflowStateManager:
    """The workflows of one subject. What goes wrong is raised: nothing is told that is not on disk.

    What is not there, or is another subject's, is None or False, as the guide has it; any other reason is raised:
    `StoreUnavailableError` where the store can't be reached, and `GatewayError` `invalid_state` or `too_large`.
    Its store is opened by `initialize`, or else by its first use.
    """

    def __init__(
        self, store: StateStore | None = None, *, subject: str = "anonymous", clock: Clock | None = None
    ) -> None:
        self._given = store
        self._own: StateStore | None = None
        self._opening = asyncio.Lock()
        self._executors: list[ThreadPoolExecutor] = []
        self._subject = subject
        self._clock = clock or Clock()

    async def initialize(self) -> None:
        """Open the store of the settings, where none was given; once more does nothing."""
        await self._store()

    async def _store(self) -> StateStore:
        if self._given is not None:
            return self._given
        async with self._opening:
            if self._own is None:
                self._own = await self._opened()
            return self._own

    async def _opened(self) -> StateStore:
        settings = Settings()
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        writer, readers = ThreadPoolExecutor(1), ThreadPoolExecutor(2)
        self._executors = [writer, readers]
        store = store_of(settings, self._clock, writer=writer, readers=readers)
        try:
            await store.open()
        except BaseException:
            self._end_threads()
            raise
        return store

    async def shutdown(self) -> None:
        """Settle what was asked and close what `initialize` has opened."""
        store, self._own = self._own, None
        if store is not None:
            await store.aclose()
        self._end_threads()

    def _end_threads(self) -> None:
        while self._executors:
            self._executors.pop().shutdown(wait=False)

    # --- workflows ----------------------------------------------------------------------------------------

    async def create_workflow(
        self, initial_state: Mapping[str, Any], session_id: UUID | None = None
    ) -> WorkflowState:
        """A new one at the step "initialized"."""
        return await self.create(WorkflowStateCreate(session_id=session_id, initial_data=dict(initial_state)))

    async def create(self, new: WorkflowStateCreate) -> WorkflowState:
        """A new one."""
        now_ms = self._clock.now_ms()
        row = WorkflowRecord(
            workflow_id=self._clock.new_id(),
            subject=self._subject,
            session_id=None if new.session_id is None else str(new.session_id),
            created_at=now_ms,
            updated_at=now_ms,
            current_step=named(new.initial_step),
            state_data=sized(new.initial_data),
            metadata=sized(new.metadata, MAX_METADATA_BYTES),
        )
        store = await self._store()
        await store.create_workflow(row)
        return state_of(await store.get_workflow(row.workflow_id) or row)

    async def get_workflow(self, workflow_id: UUID | str) -> WorkflowState | None:
        """The workflow with its newest checkpoints, oldest first, or None."""
        row = await self._row(workflow_id)
        if row is None:
            return None
        store = await self._store()
        kept = await store.list_checkpoints(row.workflow_id, limit=MAX_CHECKPOINTS, newest=True)
        return state_of(row, kept)

    async def list_workflows(
        self,
        session_id: UUID | None = None,
        status: WorkflowStatus | None = None,
        *,
        before: WorkflowState | None = None,
        limit: int = 100,
    ) -> list[WorkflowState]:
        """Those that match, newest first; with `before`, those behind it."""
        cursor = None
        if before is not None:
            cursor = (round(before.created_at.timestamp() * 1000), str(before.workflow_id))
        query = WorkflowQuery(
            subject=self._subject,
            session_id=None if session_id is None else str(session_id),
            status=None if status is None else WorkflowStatus(status).value,
            before=cursor,
            limit=limit,
        )
        rows = await (await self._store()).list_workflows(query)
        return [state_of(await self._whole(row)) for row in rows]

    async def _whole(self, row: WorkflowRecord) -> WorkflowRecord:
        if row.state_data is not None and row.agent_states is not None:
            return row
        return await self._row(row.workflow_id) or row

    async def update(self, workflow_id: UUID | str, change: WorkflowStateUpdate) -> bool:
        """Change what is given of it; no checkpoint is made."""
        patch = {name: value for name, value in dict(change).items() if value is not None}
        return await self._change(workflow_id, lambda row: updated(self._ours(row), patch))

    async def update_workflow_step(
        self, workflow_id: UUID | str, new_step: str, state_updates: Mapping[str, Any] | None = None
    ) -> bool:
        """Go to a step, its state merged (RFC 7396); a checkpoint keeps the state at the end of the step before."""
        checkpoint_id = self._clock.new_ordered_id()

        def decide(row: WorkflowRecord) -> WorkflowChange:
            patch = {"current_step": new_step, "state_data": state_updates or {}}
            change = updated(self._ours(row), patch)
            left = _kept(checkpoint_id, row.current_step, None, row.state_data, {"next_step": new_step})
            return dataclasses.replace(change, checkpoint=left)

        return await self._change(workflow_id, decide)

    # --- checkpoints --------------------------------------------------------------------------------------

    async def create_agent_checkpoint(
        self, workflow_id: UUID | str, agent_name: str, agent_state: Mapping[str, Any]
    ) -> str | None:
        """Keep an agent's state, in the workflow and as a checkpoint of its own; the checkpoint's id, or None."""
        checkpoint_id = self._clock.new_ordered_id()
        step = named(f"agent_{agent_name}_checkpoint")
        new = _kept(checkpoint_id, step, agent_name, agent_state, {})

        def decide(row: WorkflowRecord) -> WorkflowChange:
            updated(self._ours(row), {"agent_states": {}})  # raises where the workflow takes no change
            states = dict(row.agent_states or {}) | {agent_name: dict(agent_state)}
            return WorkflowChange({"agent_states": states}, new)

        return checkpoint_id if await self._change(workflow_id, decide) else None

    async def recover_workflow(
        self,
        workflow_id: UUID | str,
        target_step: str | None = None,
        *,
        checkpoint_id: str | None = None,
        state: Mapping[str, Any] | None = None,
    ) -> bool:
        """Go back to a checkpoint: that of the id, the newest of a step, or the newest of all; it begins no task.

        What was at the time is put in place: the workflow's state, or the agent's, with `state` merged over it.
        False where there is no such. Raises `GatewayError` `invalid_state` while a task of the workflow runs.
        """
        row = await self._row(workflow_id)
        if row is None:
            return False
        found = await self._checkpoint(row.workflow_id, target_step, checkpoint_id)
        if found is None:
            return False
        recover = partial(restored, checkpoint=found, data=merged(found.checkpoint_data, state or {}))

        def decide(row: WorkflowRecord) -> WorkflowChange:
            after = recover(row)
            names = ("status", "current_step", "step_history", "state_data", "agent_states")
            return WorkflowChange({name: getattr(after, name) for name in names})

        return await self._change(row.workflow_id, decide)

    async def _checkpoint(
        self, workflow_id: str, step: str | None, checkpoint_id: str | None
    ) -> Checkpoint | None:
        store = await self._store()
        if checkpoint_id is None:
            return await store.last_checkpoint(workflow_id, step)
        found = await store.get_checkpoint(checkpoint_id)
        fits = found is not None and found.workflow_id == workflow_id and step in {None, found.step_name}
        return found if fits else None

    # --- what they stand on -------------------------------------------------------------------------------

    async def _row(self, workflow_id: UUID | str) -> WorkflowRecord | None:
        row = await (await self._store()).get_workflow(str(workflow_id))
        return row if row is not None and row.subject == self._subject else None

    async def _change(self, workflow_id: UUID | str, decide: DecideWorkflow) -> bool:
        """Whether the workflow is there, and has been changed so."""
        try:
            await (await self._store()).change_workflow(str(workflow_id), decide)
        except GatewayError as error:
            if error.code != "workflow_not_found":
                raise
            return False
        return True

    def _ours(self, row: WorkflowRecord) -> WorkflowRecord:
        if row.subject != self._subject:
            raise GatewayError("workflow_not_found")
        return row


def _kept(
    checkpoint_id: str,
    step: str,
    agent: str | None,
    data: Mapping[str, Any] | None,
    metadata: Mapping[str, Any],
) -> NewCheckpoint:
    try:
        return new_checkpoint(checkpoint_id, step, agent, data or {}, metadata)
    except CheckpointTooLargeError as error:
        raise GatewayError("too_large", str(error)) from None
