"""Frames of the client socket that a client sends: its requests, as types. `server_frames` makes what it is sent.

A request that does not fit its type is a `bad_frame` that says where; JSON types are exact.
"""

import re
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal, get_args

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter
from pydantic_core import ValidationError

from gateway.errors import wrong_field
from gateway.strict_json import MAX_INT, check_json, is_text, leniently, parse_object
from gateway.validation import bad_frame

DEFAULT_TIMEOUT_S: Final = 300
MAX_SENT_BYTES: Final = 64 << 10
"""What a running task is sent at once."""


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("contains NUL")
    return text


def input_bytes(data: Any) -> int:
    """What an input to a running task counts: text as UTF-8, anything else as JSON."""
    return len(data.encode() if isinstance(data, str) else orjson.dumps(data))


def _small_json(data: Any) -> Any:
    if input_bytes(check_json(data)) > MAX_SENT_BYTES:
        raise ValueError(f"more than {MAX_SENT_BYTES} bytes")
    return data


WITHOUT_NUL: Final = Field(json_schema_extra={"pattern": r"^[^\x00]*$"})
"""How a JSON Schema says it."""
Json = Annotated[dict[str, Any], AfterValidator(check_json)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_no_nul), WITHOUT_NUL]
Text = Annotated[str, StringConstraints(max_length=4096), AfterValidator(_no_nul), WITHOUT_NUL]
TaskId = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Status = Literal["pending", "running", "paused", "completed", "failed", "cancelled"]


Topic = Literal["tasks", "sandboxes", "instances"]


class Strict(BaseModel):
    """Of what is taken: types are exact, and nothing else is in it."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


class SubmitBody(Strict):
    """What a submit says, by socket or by HTTP."""

    agent: Name = "sandbox"
    input: Json = {}
    mode: Literal["blocking", "streaming", "background"] = "streaming"
    idempotency_key: Name | None = None
    workflow_id: TaskId | None = None
    timeout_s: int = Field(default=DEFAULT_TIMEOUT_S, ge=1, le=86_400)
    # Its schema has the keys' pattern, and would else let others pass.
    labels: dict[Name, Text] = Field(
        default={}, max_length=32, json_schema_extra={"additionalProperties": False}
    )
    max_attempts: int = Field(default=3, ge=1, le=1000)
    priority: int = Field(default=0, ge=-10, le=10)
    detach: Literal["continue", "pause", "cancel"] = "continue"
    detach_after_s: int = Field(default=30, ge=1, le=86_400)
    # The trace that it belongs to (W3C Trace Context); one that is not valid is as none.
    traceparent: str | None = None


class _Request(Strict):
    id: str = Field(min_length=1, max_length=64)

    @property
    def about(self) -> str | None:
        """The thing that it is about, where the order of requests about it matters: a task, or a topic."""
        return None


class _TaskRequest(_Request):
    task_id: TaskId

    @property
    def about(self) -> str:
        return self.task_id


class _TopicRequest(_Request):
    topic: Topic

    @property
    def about(self) -> str:
        return self.topic


class SubmitTask(SubmitBody, _Request):
    """Begin a task."""

    type: Literal["submit_task"]

    @property
    def about(self) -> str | None:
        """The task that is to be, unless its end is waited for: no other request is about that."""
        return None if self.mode == "blocking" else f"submit {self.id}"


class Subscribe(_TaskRequest):
    """Follow a task's events after a seq."""

    type: Literal["subscribe"]
    after_seq: int = Field(default=0, ge=0, le=MAX_INT)


class Unsubscribe(_TaskRequest):
    """Follow a task no more."""

    type: Literal["unsubscribe"]


class WishBody(Strict):
    """Why something is wished of a task, by socket or by HTTP."""

    reason: Text | None = None


class CancelTask(WishBody, _TaskRequest):
    """Wish a task cancelled."""

    type: Literal["cancel_task"]


class PauseTask(WishBody, _TaskRequest):
    """Wish a task paused."""

    type: Literal["pause_task"]


class ResumeTask(WishBody, _TaskRequest):
    """Wish that a task go on."""

    type: Literal["resume_task"]


class InputBody(Strict):
    """What is sent to a task while it runs, by socket or by HTTP."""

    data: Annotated[Any, AfterValidator(_small_json)]
    eof: bool = False
    key: Name | None = None


class SendInput(InputBody, _TaskRequest):
    """Send a running task something."""

    type: Literal["send_input"]


class Resize(_TaskRequest):
    """Tell how large a task's terminal is to be."""

    type: Literal["resize"]
    cols: int = Field(ge=1, le=1000)
    rows: int = Field(ge=1, le=1000)


class GetTask(_TaskRequest):
    """Ask for one task."""

    type: Literal["get_task"]
    include_input: bool = False


class DeleteTask(_TaskRequest):
    """Have an ended task forgotten."""

    type: Literal["delete_task"]


UUID: Final = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


class ListBody(Strict):
    """Which tasks to list, by socket or by HTTP."""

    status: Status | None = None
    agent: Name | None = None
    session_id: TaskId | None = None
    workflow_id: TaskId | None = None
    label: Annotated[str, StringConstraints(pattern=r"^[^=]+=")] | None = None
    limit: int = Field(default=50, ge=1, le=500)
    cursor: Annotated[str, StringConstraints(pattern=rf"^{UUID}$")] | None = None


class ListTasks(ListBody, _Request):
    """Ask for tasks, newest first."""

    type: Literal["list_tasks"]


WorkflowStatus = Literal["active", "paused", "completed", "failed", "cancelled"]


class GetWorkflow(_Request):
    """Ask for one workflow."""

    type: Literal["get_workflow"]
    workflow_id: TaskId


class WorkflowListBody(Strict):
    """Which workflows to list, by socket or by HTTP."""

    session_id: TaskId | None = None
    status: WorkflowStatus | None = None
    limit: int = Field(default=50, ge=1, le=500)
    cursor: Annotated[str, StringConstraints(pattern=rf"^[0-9]{{1,15}}\.{UUID}$")] | None = None


class ListWorkflows(WorkflowListBody, _Request):
    """Ask for workflows, newest first."""

    type: Literal["list_workflows"]


class CheckpointListBody(Strict):
    """Which of a workflow's checkpoints to list, by socket or by HTTP."""

    limit: int = Field(default=50, ge=1, le=500)
    cursor: Annotated[str, StringConstraints(pattern=rf"^{UUID}$")] | None = None


class ListCheckpoints(CheckpointListBody, _Request):
    """Ask for a workflow's checkpoints, oldest first."""

    type: Literal["list_checkpoints"]
    workflow_id: TaskId


class RecoverBody(Strict):
    """From where a workflow is to go on, by socket or by HTTP: a checkpoint, a step's newest, or the newest of all."""

    checkpoint_id: TaskId | None = None
    target_step: Name | None = None
    fork: bool = False
    state: Json | None = None


class RecoverWorkflow(RecoverBody, _Request):
    """Have a workflow go on from a checkpoint."""

    type: Literal["recover_workflow"]
    workflow_id: TaskId


class Watch(_TopicRequest):
    """Follow a topic's items."""

    type: Literal["watch"]


class Unwatch(_TopicRequest):
    """Follow a topic no more."""

    type: Literal["unwatch"]


class Authenticate(_Request):
    """Renew the connection's token."""

    type: Literal["authenticate"]
    token: str = Field(min_length=1, max_length=16_384)


class Ping(_Request):
    """Ask for the time."""

    type: Literal["ping"]


Request = Annotated[
    SubmitTask
    | Subscribe
    | Unsubscribe
    | CancelTask
    | PauseTask
    | ResumeTask
    | SendInput
    | Resize
    | GetTask
    | DeleteTask
    | ListTasks
    | GetWorkflow
    | ListWorkflows
    | ListCheckpoints
    | RecoverWorkflow
    | Watch
    | Unwatch
    | Authenticate
    | Ping,
    Field(discriminator="type"),
]

_requests: Final[TypeAdapter[Request]] = TypeAdapter(Request)
_parse_short: Final[Callable[[str | bytes], Request]] = _requests.validator.validate_json
_TYPES: Final = [get_args(kind.model_fields["type"].annotation)[0] for kind in get_args(get_args(Request)[0])]
_PING_ID: Final = rb'"id": ?"([\w.:-]{1,64})"'
_IS_PING: Final = rb'"type": ?"ping"'
plain_ping: Final = re.compile(
    rb"\{(?:%b, ?%b|%b, ?%b)\}" % (_IS_PING, _PING_ID, _PING_ID, _IS_PING)
).fullmatch
"""Finds what surely is a `Ping`, as most clients write it, and its id: nothing is asked oftener."""
SHORT_CHARS: Final = 512
"""A text of so few can't have too much in it for one step to parse and check it; as almost all have."""


def parse_request(text: str | bytes) -> Request:
    """The request in `text`. Raises `GatewayError` `bad_frame`."""
    if len(text) <= SHORT_CHARS:
        try:
            return _parse_short(text)
        except ValidationError:
            pass  # what is wrong is told as of any other
    value = parse_object(text)
    try:
        return _requests.validate_python(value)
    except ValidationError as error:
        if value.get("type") not in _TYPES:
            raise wrong_field(["type"], f"Input should be one of {', '.join(_TYPES)}") from None
        # The first part of a place is the request's type, which its sender did not write as a key.
        raise bad_frame(error, skip=1) from None


def usable_id(text: str | bytes) -> str | None:
    """The `id` of a frame that is not a request, where one can be read: it is all that its sender waits for."""
    value = leniently(text)
    found = value.get("id") if isinstance(value, dict) else None
    return found if isinstance(found, str) and 1 <= len(found) <= 64 and is_text(found) else None
