"""The guide's public names are ours: each is there, and is called as the guide's reader would call it."""

import asyncio
import inspect
from collections.abc import Callable
from enum import StrEnum
from typing import Any
from uuid import uuid4

import pytest
from pydantic import BaseModel

from gateway import workflows
from gateway.agents import base, frontend_developer, migration
from gateway.agents.base import AsyncBaseAgent as Agent
from gateway.state.manager import WorkflowStateManager
from gateway.tasks import Task
from sandbox_bridge.tool import AsyncWebContainerTool, WebContainerToolInput

REQUIRED = inspect.Parameter.empty
BLOCKING = base.TaskExecutionMode.BLOCKING
Tool, Wrapper = AsyncWebContainerTool, migration.AsyncMigrationWrapper

CALLS: list[tuple[Callable[..., Any], dict[str, Any], str]] = [
    (Agent.__init__, {"name": REQUIRED, "sandbox_tool": None}, "plain"),
    (Agent.execute_task, {"task": REQUIRED, "mode": BLOCKING}, "coroutine"),
    (Agent.stream_execution, {"task": REQUIRED}, "stream"),
    (Agent.cancel_execution, {}, "coroutine"),
    (Agent.pause_execution, {}, "coroutine"),
    (Agent.resume_execution, {}, "coroutine"),
    (Agent.create_checkpoint, {"checkpoint_data": REQUIRED}, "coroutine"),
    (Agent.restore_from_checkpoint, {"checkpoint_id": REQUIRED}, "coroutine"),
    (Agent.execution_context, {"task": REQUIRED}, "context"),
    (Agent._check_cancellation, {}, "coroutine"),
    (Agent._check_pause, {}, "coroutine"),
    (Agent._persist_checkpoint, {"checkpoint": REQUIRED}, "coroutine"),
    (Agent._load_checkpoint, {"checkpoint_id": REQUIRED}, "coroutine"),
    (Agent.log, {"message": REQUIRED, "level": "info"}, "plain"),
    (frontend_developer.AsyncFrontendDeveloperAgent.__init__, {"sandbox_tool": None}, "plain"),
    (Wrapper.__init__, {"sync_agent": REQUIRED}, "plain"),
    (Wrapper.execute_task, {"task": REQUIRED, "mode": None}, "coroutine"),
    (migration.async_compatible, {"sync_func": REQUIRED}, "plain"),
    (Tool.__init__, {"websocket_url": ...}, "plain"),
    (Tool.run_async, {"inputs": REQUIRED}, "coroutine"),
    (Tool.stream_execution, {"inputs": REQUIRED}, "stream"),
    (Tool.cancel_task, {"session_id": REQUIRED}, "coroutine"),
    (Tool.health_check, {}, "coroutine"),
    (WorkflowStateManager.__init__, {}, "plain"),
    (WorkflowStateManager.initialize, {}, "coroutine"),
    (WorkflowStateManager.shutdown, {}, "coroutine"),
    (WorkflowStateManager.create_workflow, {"initial_state": REQUIRED, "session_id": None}, "coroutine"),
    (WorkflowStateManager.get_workflow, {"workflow_id": REQUIRED}, "coroutine"),
    (
        WorkflowStateManager.update_workflow_step,
        {"workflow_id": REQUIRED, "new_step": REQUIRED, "state_updates": None},
        "coroutine",
    ),
    (
        WorkflowStateManager.create_agent_checkpoint,
        {"workflow_id": REQUIRED, "agent_name": REQUIRED, "agent_state": REQUIRED},
        "coroutine",
    ),
    (WorkflowStateManager.recover_workflow, {"workflow_id": REQUIRED, "target_step": None}, "coroutine"),
    (WorkflowStateManager.list_workflows, {"session_id": None, "status": None}, "coroutine"),
]
"""What the guide calls: its parameters with their defaults (`...` for any), and what a call gives."""

STATUSES = ("completed", "failed", "cancelled", "paused")
ENUMS: dict[type[StrEnum], set[str]] = {
    base.TaskExecutionMode: {"blocking", "streaming", "background"},
    base.ExecutionStatus: {"pending", "running", *STATUSES},
    workflows.WorkflowStatus: {"active", *STATUSES},
}

FLOW = uuid4()
MODELS: list[tuple[type[BaseModel], dict[str, Any], dict[str, Any]]] = [
    (Task, {"task_id": uuid4(), "task": "a text"}, {"input": {}}),
    (WebContainerToolInput, {}, {"files": {}, "commands": []}),
    (
        workflows.StateCheckpoint,
        {"workflow_id": FLOW, "step_name": "s"},
        {"agent_name": None, "checkpoint_data": {}, "is_recoverable": True, "metadata": {}},
    ),
    (
        workflows.WorkflowState,
        {"current_step": "s"},
        {
            "session_id": None,
            "step_history": [],
            "state_data": {},
            "agent_states": {},
            "checkpoints": [],
            "metadata": {},
            "status": workflows.WorkflowStatus.ACTIVE,
        },
    ),
    (
        workflows.WorkflowStateCreate,
        {},
        {"session_id": None, "initial_step": "initialized", "initial_data": {}, "metadata": {}},
    ),
    (
        workflows.WorkflowStateUpdate,
        {},
        dict.fromkeys(("current_step", "state_data", "agent_states", "status", "metadata")),
    ),
]
"""A model, what must be given, and what the rest is then."""


def kind_of(call: Callable[..., Any]) -> str:
    """What calling it gives."""
    if hasattr(call, "__wrapped__") and inspect.isasyncgenfunction(call.__wrapped__):
        return "context"
    if inspect.isasyncgenfunction(call) or "AsyncGenerator" in str(inspect.signature(call).return_annotation):
        return "stream"
    return "coroutine" if inspect.iscoroutinefunction(call) else "plain"


@pytest.mark.parametrize(
    ("call", "guides", "gives"), CALLS, ids=lambda value: getattr(value, "__qualname__", "")
)
def test_each_call_of_the_guide_can_be_made(
    call: Callable[..., Any], guides: dict[str, Any], gives: str
) -> None:
    """By position and by keyword, with no more than the guide gives, to the same defaults; ours comes behind."""
    assert kind_of(call) == gives
    ours = {name: one for name, one in inspect.signature(call).parameters.items() if name != "self"}
    assert [*ours][: len(guides)] == [*guides]
    for name, default in guides.items():
        assert ours[name].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
        if default is not REQUIRED and default is not ...:
            assert ours[name].default == default
    assert all(ours[name].default is not REQUIRED for name in [*ours][len(guides) :])


@pytest.mark.parametrize(("enum", "values"), ENUMS.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_each_word_of_the_guide_is_a_text(enum: type[StrEnum], values: set[str]) -> None:
    """Its name is the value in capitals."""
    assert {member.value for member in enum} == values
    assert all(enum[value.upper()] == value for value in values)


@pytest.mark.parametrize(("model", "given", "rest"), MODELS, ids=lambda value: getattr(value, "__name__", ""))
def test_each_model_of_the_guide_needs_no_more(
    model: type[BaseModel], given: dict[str, Any], rest: dict[str, Any]
) -> None:
    """The fields that the guide leaves out have its defaults."""
    made = model(**given)
    assert {name: getattr(made, name) for name in rest} == rest


def test_an_agent_has_the_guides_attributes() -> None:
    """Also those with an underscore, which its agents' code may look at."""

    class Mine(Agent):
        async def stream_execution(self, task: Task) -> Any:
            yield {"task": task.task}

    mine = Mine(name="mine")
    assert (mine.name, mine.sandbox_tool, mine._execution_context) == ("mine", None, None)
    assert (mine._state_checkpoints, mine._current_status) == ([], base.ExecutionStatus.PENDING)
    assert isinstance(mine._cancellation_token, asyncio.Event)
    assert isinstance(mine._pause_token, asyncio.Event)
    assert Mine().name == "Mine"
