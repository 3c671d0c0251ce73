"""Frames of the client socket: what a client may ask, as types, and what it is sent, as bytes.

A request that does not fit its type is a `bad_frame` that says where; JSON types are exact.
"""

import gc
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import from_json

from gateway.errors import GatewayError
from gateway.events import cut_text

MAX_DEPTH: Final = 64
"""How deep a client's JSON may nest: well below what every parser and encoder we use can take."""
MAX_PAGE_BYTES: Final = 768 << 10
"""Items in one answer: a page of a list ends early rather than exceed a frame."""
MAX_VALUES: Final = 100_000
"""Values in a client's JSON, however small each is: looking at them takes time that others wait for."""
LARGE_BYTES: Final = 64 << 10
"""Requests larger than this are looked over before they are parsed."""
MAX_KEYS: Final = 100
"""Keys of a request: what is unknown is told one by one."""
MAX_ERROR_BYTES: Final = 500
"""An error's text, which may repeat what was sent."""
MAX_INT: Final = 2**63 - 1
"""The largest integer that every store and encoder we use keeps exactly."""


def check_json(value: Any) -> Any:
    """`value`, parsed JSON, if it can be stored and sent as it is. Raises ValueError for what can't."""
    if (problem := _problem_of(value)) is not None:
        raise ValueError(problem)
    return value


def _problem_of(value: Any) -> str | None:
    level, count = [value], 0
    for _depth in range(MAX_DEPTH):
        count += len(level)
        if not level:
            return None
        if count > MAX_VALUES:
            return f"more than {MAX_VALUES} values"
        try:
            level = [child for item in level for child in _children(item)]
        except ValueError as error:
            return str(error)
    return f"nested deeper than {MAX_DEPTH}" if level else None


def _children(item: Any) -> Sequence[Any]:
    if isinstance(item, dict):
        return list(item.values())
    if isinstance(item, list):
        return item
    if isinstance(item, float) and not math.isfinite(item):
        raise ValueError("not a finite number")
    if isinstance(item, int) and abs(item) > MAX_INT:
        raise ValueError("an integer of more than 64 bits")
    return ()


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("contains NUL")
    return text


Json = Annotated[dict[str, Any], AfterValidator(check_json)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_no_nul)]
Text = Annotated[str, StringConstraints(max_length=4096), AfterValidator(_no_nul)]
TaskId = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Status = Literal["pending", "running", "paused", "completed", "failed", "cancelled"]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


class SubmitBody(_Strict):
    """What a submit says, by socket or by HTTP."""

    agent: Name = "sandbox"
    input: Json = {}
    mode: Literal["blocking", "streaming", "background"] = "streaming"
    idempotency_key: Name | None = None
    workflow_id: TaskId | None = None
    timeout_s: int = Field(default=300, ge=1, le=86_400)
    labels: dict[Name, Text] = Field(default={}, max_length=32)
    max_attempts: int = Field(default=3, ge=1, le=1000)
    priority: int = Field(default=0, ge=-10, le=10)
    detach: Literal["continue", "pause", "cancel"] = "continue"
    detach_after_s: int = Field(default=30, ge=1, le=86_400)


class _Request(_Strict):
    id: str = Field(min_length=1, max_length=64)


class SubmitTask(SubmitBody, _Request):
    """Begin a task."""

    type: Literal["submit_task"]


class Subscribe(_Request):
    """Follow a task's events after a seq."""

    type: Literal["subscribe"]
    task_id: TaskId
    after_seq: int = Field(default=0, ge=0, le=MAX_INT)


class Unsubscribe(_Request):
    """Follow a task no more."""

    type: Literal["unsubscribe"]
    task_id: TaskId


class CancelTask(_Request):
    """Wish a task cancelled."""

    type: Literal["cancel_task"]
    task_id: TaskId
    reason: Text | None = None


class GetTask(_Request):
    """Ask for one task."""

    type: Literal["get_task"]
    task_id: TaskId
    include_input: bool = False


class ListBody(_Strict):
    """Which tasks to list, by socket or by HTTP."""

    status: Status | None = None
    agent: Name | None = None
    session_id: TaskId | None = None
    workflow_id: TaskId | None = None
    label: Annotated[str, StringConstraints(pattern=r"^[^=]+=")] | None = None
    limit: int = Field(default=50, ge=1, le=500)
    cursor: (
        Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")] | None
    ) = None


class ListTasks(ListBody, _Request):
    """Ask for tasks, newest first."""

    type: Literal["list_tasks"]


Topic = Literal["tasks", "sandboxes"]


class Watch(_Request):
    """Follow a topic's items."""

    type: Literal["watch"]
    topic: Topic


class Unwatch(_Request):
    """Follow a topic no more."""

    type: Literal["unwatch"]
    topic: Topic


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
    | GetTask
    | ListTasks
    | Watch
    | Unwatch
    | Authenticate
    | Ping,
    Field(discriminator="type"),
]

_requests: Final[TypeAdapter[Request]] = TypeAdapter(Request)


def parse_request(text: str | bytes) -> Request:
    """The request in `text`. Raises `GatewayError` `bad_frame`."""
    value = parse_object(text)
    try:
        return _requests.validate_python(value)
    except ValidationError as error:
        # The first part of a place is the request's type, which its sender did not write as a key.
        raise bad_frame(error, skip=1) from None


def parse_object(text: str | bytes) -> dict[str, Any]:
    """The JSON object in `text`, of no more than `MAX_KEYS` keys. Raises `GatewayError` `bad_frame`."""
    try:
        if len(text) > LARGE_BYTES:
            _look_over(text)
        value = from_json(text)
    except ValueError as error:
        raise _not_a_request(f"Invalid JSON: {error}") from None
    if not isinstance(value, dict):
        raise _not_a_request("Input should be an object")
    if len(value) > MAX_KEYS:
        raise _not_a_request(f"Input has more than {MAX_KEYS} keys")
    return value


def _look_over(text: str | bytes) -> None:
    """Refuse what is made of too many values before the exact parser, which is slow at them, gets to see it.

    Raises ValueError for what is not JSON, and `GatewayError` `bad_frame`.
    """
    with _collector_paused():
        # No exception may hold on to the value: freeing it is half the work.
        problem = _problem_of(orjson.loads(text))
    if problem is not None:
        raise GatewayError("bad_frame", f"input: {problem}", errors=[{"loc": ["input"], "msg": problem}])


@contextmanager
def _collector_paused() -> Iterator[None]:
    # Millions of small lists make the collector look at all of them again and again: 5 s for 25 MiB, not 0.7.
    paused = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if paused:
            gc.enable()


def _not_a_request(message: str) -> GatewayError:
    return GatewayError("bad_frame", message, errors=[{"loc": [], "msg": message}])


def bad_frame(error: ValidationError, *, skip: int = 0, within: Sequence[str] = ()) -> GatewayError:
    """The `bad_frame` that says what `error` found, and where, below `within`."""
    found = error.errors(include_url=False, include_input=False, include_context=False)[:20]
    places = [[*within, *item["loc"][skip:]] for item in found]
    messages = [cut_text(item["msg"].removeprefix("Value error, "), MAX_ERROR_BYTES) for item in found]
    errors = [{"loc": loc, "msg": message} for loc, message in zip(places, messages, strict=True)]
    where = ".".join(map(str, places[0]))
    return GatewayError("bad_frame", f"{where}: {messages[0]}" if where else messages[0], errors=errors)


def usable_id(text: str | bytes) -> str | None:
    """The `id` of a frame that is not a request, where one can be read."""
    try:
        value = from_json(text)
    except ValueError:
        return None
    found = value.get("id") if isinstance(value, dict) else None
    return found if isinstance(found, str) and 1 <= len(found) <= 64 else None


def welcome(**fields: Any) -> bytes:
    """The first frame of a connection."""
    return orjson.dumps({"type": "welcome", "protocol": "gateway.v1", **fields})


def result(request_id: str, body: Mapping[str, Any]) -> bytes:
    """The good answer to a request."""
    return orjson.dumps({"type": "result", "id": request_id, "result": body})


def error(request_id: str | None, problem: GatewayError) -> bytes:
    """The bad answer to a request."""
    return orjson.dumps({"type": "error", "id": request_id, **problem.body()})


def fitting(items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first of `items` that fit into one frame with room to spare; one at least where there is one."""
    size, fit = 0, list[dict[str, Any]]()
    for item in items:
        size += len(orjson.dumps(item)) + 1
        if fit and size > MAX_PAGE_BYTES:
            break
        fit.append(item)
    return fit


def update(topic: str, item: Mapping[str, Any]) -> bytes:
    """The newest state of a watched item."""
    return orjson.dumps({"type": "update", "topic": topic, "item": item})


def reset(topic: str, items: Sequence[Mapping[str, Any]]) -> bytes:
    """Everything watched of a topic, after doubt."""
    return orjson.dumps({"type": "update", "topic": topic, "items": items, "reset": True})


def goodbye(code: int, reason: str, *, reconnect: bool, reconnect_in_ms: int | None = None) -> bytes:
    """What is said before every close of our own."""
    return orjson.dumps(
        {
            "type": "goodbye",
            "code": code,
            "reason": reason,
            "reconnect": reconnect,
            "reconnect_in_ms": reconnect_in_ms,
        }
    )
