"""Workflows as a client has them: begun, read, changed, and gone back to a checkpoint of.

flow = await gateway.workflows.create(initial_data={"colour": "red"})
async for checkpoint in gateway.workflows.checkpoints(flow["workflow_id"]):
    print(checkpoint["step_name"])
flow, task = await gateway.workflows.recover(flow["workflow_id"], fork=True, state={"colour": "blue"})
print(await task.result())
"""

from collections.abc import AsyncIterator, Mapping
from typing import Any, TypedDict, Unpack
from urllib.parse import quote

from gateway.client.connection import Frame
from gateway.client.errors import RequestError
from gateway.client.task import Asker, TaskHandle


class WorkflowChange(TypedDict, total=False):
    """What may be changed of a workflow: objects are merged (RFC 7396), the rest replaced."""

    current_step: str
    state_data: Mapping[str, Any]
    agent_states: Mapping[str, Mapping[str, Any] | None]
    status: str
    metadata: Mapping[str, Any]


class Workflows:
    """Those of a session's subject, as dicts of the contract's Workflow and Checkpoint. Raises as its session does."""

    def __init__(self, session: Asker) -> None:
        self._session = session

    async def create(
        self,
        *,
        initial_step: str = "initialized",
        initial_data: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Frame:
        """One without a task; tasks are begun in it by `workflow_id`."""
        body = {"initial_data": dict(initial_data or {}), "metadata": dict(metadata or {})}
        return await self._by_http("POST", "", {"initial_step": initial_step, **body})

    async def get(self, workflow_id: str) -> Frame:
        """The workflow, however large its state is."""
        try:
            answer = await self._session.request("get_workflow", {"workflow_id": workflow_id})
        except RequestError as error:
            if error.code != "too_large":
                raise
            return await self._by_http("GET", workflow_id)
        workflow: Frame = answer["workflow"]
        return workflow

    async def list(self, **filters: Any) -> Frame:
        """A page, newest first: `{"workflows": […], "cursor": str | None}`; filters as on the wire."""
        return await self._session.request("list_workflows", filters)

    async def update(
        self, workflow_id: str, *, version: int | None = None, **change: Unpack[WorkflowChange]
    ) -> Frame:
        """The workflow after the change. Raises RequestError `invalid_state` where it has another `version` by now."""
        headers = {} if version is None else {"If-Match": f'"{version}"'}
        return await self._by_http("PATCH", workflow_id, dict(change), headers)

    async def checkpoints(self, workflow_id: str) -> AsyncIterator[Frame]:
        """All of them, oldest first; `checkpoint_data` over 16 KiB is None."""
        cursor: str | None = None
        while True:
            fields = {"workflow_id": workflow_id, "cursor": cursor}
            page = await self._session.request("list_checkpoints", fields)
            for checkpoint in page["checkpoints"]:
                yield checkpoint
            if (cursor := page["cursor"]) is None:
                return

    async def recover(
        self,
        workflow_id: str,
        *,
        checkpoint_id: str | None = None,
        target_step: str | None = None,
        fork: bool = False,
        state: Mapping[str, Any] | None = None,
    ) -> tuple[Frame, TaskHandle]:
        """Go on from a checkpoint, the newest if none is named: the workflow or its fork, and the task that does it."""
        fields = {"workflow_id": workflow_id, "checkpoint_id": checkpoint_id, "target_step": target_step}
        given = {name: value for name, value in fields.items() if value is not None} | {"fork": fork}
        made = await self._session.request("recover_workflow", given | ({"state": state} if state else {}))
        return made["workflow"], TaskHandle(self._session, made["task"])

    async def _by_http(
        self,
        method: str,
        workflow_id: str,
        body: Frame | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Frame:
        below = f"/{quote(workflow_id, safe='')}" if workflow_id else ""
        answer = await self._session.http.ask(method, f"/v1/workflows{below}", body, headers)
        workflow: Frame = answer["workflow"]
        return workflow
