"""The commands that go back in time: workflows, checkpoints, recover."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import typer

from gateway.client.connection import Frame
from gateway.client.session import Session, connect
from gateway.server.cli.door import Door, door
from gateway.server.cli.orders import json_or_text
from gateway.server.cli.output import printable
from gateway.server.cli.table import name_of
from gateway.server.cli.tasks import Command

__all__ = ["door"]
MAX_PAGES: Final = 100
"""Of a list that is printed."""
NAMED: Final = 500
"""Tasks that workflows are called by."""
FLOW: Final = ("workflow_id", "status", "current_step", "updated_at")
CHECKPOINT: Final = ("checkpoint_id", "created_at", "agent_name", "step_name")


def workflows(door: Door, status: str | None, *, as_json: bool) -> int:
    """Print the newest workflows; the exit code."""
    filters = {} if status is None else {"status": status}
    return _Workflows(door, as_json=as_json).run(lambda command: command.listed(filters))


def show(door: Door, workflow_id: str) -> int:
    """Print a workflow, whole; the exit code."""
    return _Workflows(door, as_json=True).run(lambda command: command.show(workflow_id))


def checkpoints(door: Door, workflow_id: str, *, as_json: bool) -> int:
    """Print a workflow's checkpoints; the exit code."""
    return _Workflows(door, as_json=as_json).run(lambda command: command.checkpoints(workflow_id))


def recover(door: Door, wanted: Mapping[str, Any], state: str | None, *, as_json: bool) -> int:
    """Have a workflow go on, and print the task's id; the exit code."""
    given = dict(wanted) | ({} if state is None else {"state": _changes(state)})
    return _Workflows(door, as_json=as_json).run(lambda command: command.recover(given))


def _changes(state: str) -> Any:
    changes = json_or_text(state)
    if not isinstance(changes, dict):
        raise typer.BadParameter(f"{state!r} is no JSON object", param_hint="--state")
    return changes


class _Workflows(Command):
    async def listed(self, filters: Mapping[str, Any]) -> int:
        cursor: str | None = None
        async with connect(self._door.url, token=self._door.token) as gateway:
            names = {} if self._as_json else await _names(gateway)
            for _page in range(MAX_PAGES):
                page = await gateway.workflows.list(**filters, cursor=cursor)
                for flow in page["workflows"]:
                    self._line(flow, FLOW, names.get(flow["workflow_id"], ""))
                if (cursor := page["cursor"]) is None:
                    break
        return 0

    async def show(self, workflow_id: str) -> int:
        async with connect(self._door.url, token=self._door.token) as gateway:
            self._line(await gateway.workflows.get(workflow_id), FLOW)
        return 0

    async def checkpoints(self, workflow_id: str) -> int:
        async with connect(self._door.url, token=self._door.token) as gateway:
            async for checkpoint in gateway.workflows.checkpoints(workflow_id):
                self._line(checkpoint, CHECKPOINT)
        return 0

    async def recover(self, wanted: Mapping[str, Any]) -> int:
        async with connect(self._door.url, token=self._door.token) as gateway:
            made = await gateway.request("recover_workflow", dict(wanted))
        self._print(json.dumps(made) if self._as_json else str(made["task"]["task_id"]))
        return 0

    def _line(self, item: Frame, names: Sequence[str], called: str = "") -> None:
        cells = [*(str(item[name] or "-") for name in names), called]
        text = printable("  ".join(cells)).rstrip()
        self._print(json.dumps(item, ensure_ascii=False) if self._as_json else text)


async def _names(gateway: Session) -> dict[str, str]:
    """What workflows go by: what the first task of each does, of those whose tasks are among the newest."""
    page = await gateway.list_tasks(limit=NAMED)
    return {task["workflow_id"]: name_of(task) for task in page["tasks"]}
