"""Workflows over HTTP: the same commands as on the socket, and two more, in the same words."""

from typing import Any, Final

from aiohttp import web
from pydantic import Field

from gateway.frames import CheckpointListBody, RecoverBody, WorkflowListBody
from gateway.server.http.routes import JSON, Answer, Asked, Headers, Route, json_answer
from gateway.sessions.commands import Services
from gateway.sessions.pace import in_turn
from gateway.sessions.problems import PROBLEM_JSON, problem
from gateway.shapes.service import Problem
from gateway.shapes.workflows import CheckpointPage, Recovered, WorkflowAnswer, WorkflowPage
from gateway.work.workflow_bodies import WorkflowBody, WorkflowPatchBody
from gateway.workflow_record import VersionConflictError, WorkflowRecord, to_wire

_ETAG: Final = {"ETag": "Its version, in quotes."}


class PatchHeaders(Headers):
    """What a change may say beside its body."""

    if_match: str | None = Field(default=None, alias="If-Match")
    """The version that the change is meant for, as the `ETag` has it."""


class WorkflowApi:
    """The handlers of `/v1/workflows` and below."""

    def __init__(self, services: Services) -> None:
        self._workflows = services.workflows
        self._control = services.control

    def routes(self) -> list[Route]:
        """What is served here."""
        return [*self._rows(), *self._histories()]

    def _rows(self) -> list[Route]:
        one = Answer("The workflow.", {JSON: WorkflowAnswer}, _ETAG)
        return [
            Route(
                name="list_workflows",
                method="GET",
                path="/v1/workflows",
                handler=self.list,
                about="Workflows, newest first.",
                scope="tasks:read",
                query=WorkflowListBody,
                answers={200: Answer("A page of them.", {JSON: WorkflowPage})},
            ),
            Route(
                name="create_workflow",
                method="POST",
                path="/v1/workflows",
                handler=self.create,
                about="Begin a workflow without a task.",
                scope="tasks:write",
                body=WorkflowBody,
                body_is_optional=True,
                answers={
                    201: Answer(
                        "A new workflow.", {JSON: WorkflowAnswer}, {"Location": "Where it is."} | _ETAG
                    )
                },
            ),
            Route(
                name="get_workflow",
                method="GET",
                path="/v1/workflows/{workflow_id}",
                handler=self.get,
                about="One workflow, whole.",
                scope="tasks:read",
                answers={200: one},
                errors=("workflow_not_found",),
            ),
            Route(
                name="update_workflow",
                method="PATCH",
                path="/v1/workflows/{workflow_id}",
                handler=self.update,
                about="Change a workflow: objects are merged (RFC 7396), anything else replaced.",
                scope="tasks:write",
                headers=PatchHeaders,
                body=WorkflowPatchBody,
                answers={
                    200: one,
                    412: Answer("It has another version than `If-Match` says.", {PROBLEM_JSON: Problem}),
                },
                errors=("workflow_not_found", "invalid_state"),
            ),
        ]

    def _histories(self) -> list[Route]:
        return [
            Route(
                name="list_checkpoints",
                method="GET",
                path="/v1/workflows/{workflow_id}/checkpoints",
                handler=self.checkpoints,
                about="A workflow's checkpoints, oldest first.",
                scope="tasks:read",
                query=CheckpointListBody,
                answers={200: Answer("A page of them.", {JSON: CheckpointPage})},
                errors=("workflow_not_found",),
            ),
            Route(
                name="recover_workflow",
                method="POST",
                path="/v1/workflows/{workflow_id}/recover",
                handler=self.recover,
                about="Go on from a checkpoint, in place or in a fork: a new task runs on from there.",
                scope="tasks:write",
                body=RecoverBody,
                body_is_optional=True,
                answers={
                    201: Answer(
                        "The workflow that goes on, and the task that does it.",
                        {JSON: Recovered},
                        {"Location": "Where the task is."},
                    )
                },
                errors=("workflow_not_found", "checkpoint_not_found", "invalid_state", "unknown_agent"),
            ),
        ]

    # --- what they do -------------------------------------------------------------------------------------

    async def list(self, asked: Asked) -> web.StreamResponse:
        """A page, newest first."""
        async with in_turn(asked.pace):
            return json_answer(await self._workflows.list(asked.principal, asked.query))

    async def create(self, asked: Asked) -> web.StreamResponse:
        """A new one, of the session that it names, or of none."""
        body: WorkflowBody = await asked.body()
        row = await self._workflows.create(asked.principal, body)
        return _answered(row, status=201, headers={"Location": f"/v1/workflows/{row.workflow_id}"})

    async def get(self, asked: Asked) -> web.StreamResponse:
        """The workflow, however large its state is."""
        async with in_turn(asked.pace):
            return _answered(await self._workflows.get(asked.principal, _workflow_id(asked)))

    async def update(self, asked: Asked) -> web.StreamResponse:
        """The workflow after the change."""
        given = asked.headers.if_match
        versions = None if given is None or given.strip() == "*" else _versions(given)
        body, workflow_id = await asked.body(), _workflow_id(asked)
        try:
            async with in_turn(asked.pace):
                row = await self._workflows.update(asked.principal, workflow_id, body, versions=versions)
                return _answered(row)
        except VersionConflictError as error:
            return problem(error, status=412)

    async def checkpoints(self, asked: Asked) -> web.StreamResponse:
        """A page, oldest first, with all data."""
        workflow_id = _workflow_id(asked)
        async with in_turn(asked.pace):
            page = await self._workflows.whole_checkpoints(asked.principal, workflow_id, asked.query)
            return json_answer(page)

    async def recover(self, asked: Asked) -> web.StreamResponse:
        """The workflow and its new task."""
        body, workflow_id = await asked.body(), _workflow_id(asked)
        async with in_turn(asked.pace):
            row, task = await self._workflows.recover(asked.principal, workflow_id, body)
            described = await self._control.describe(asked.principal, task)
            headers = {"Location": f"/v1/tasks/{task.task_id}"}
            return json_answer({"workflow": to_wire(row), "task": described}, status=201, headers=headers)


def _workflow_id(asked: Asked) -> str:
    return asked.request.match_info["workflow_id"]


def _versions(if_match: str) -> set[int]:
    """The versions that an `If-Match` names; what is none can't match."""
    named = {tag.strip().strip('"') for tag in if_match.split(",")}
    return {int(tag) for tag in named if tag.isascii() and tag.isdigit() and len(tag) < 19}


def _answered(
    row: WorkflowRecord, *, status: int = 200, headers: dict[str, Any] | None = None
) -> web.Response:
    return json_answer(
        {"workflow": to_wire(row)}, status=status, headers={"ETag": f'"{row.version}"', **(headers or {})}
    )
