"""Tasks' rows as every store that has tables writes them."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from gateway.tasks import COLUMNS, Desire, Outcome, TaskRecord, TaskStatus, Wished

TASK_COLUMNS: Final = ", ".join(COLUMNS)
WISHES_MORE: Final = "NOT (desire = 'run' AND inputs = 0 AND tty IS NULL)"
"""In SQL: of whom something else is wanted than `TO_RUN`."""
_JSON: Final = frozenset({"labels", "progress", "waiting_for", "tty", "place", "watchers"})
_BOOLS: Final = ("detached", "watched", "takes_input")


def encode(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Column values as a database takes them; what is JSON already may be given as that."""
    return {name: _encoded(name, value) for name, value in fields.items()}


def encode_column(name: str, values: Sequence[Any]) -> Sequence[Any]:
    """The values of one column in many rows."""
    return [_encoded(name, value) for value in values] if name in _JSON else values


def _encoded(name: str, value: Any) -> Any:
    if name not in _JSON or value is None:
        return value
    return (value if isinstance(value, bytes) else orjson.dumps(value)).decode()


def encode_task(task: TaskRecord) -> dict[str, Any]:
    """All columns of a row."""
    return encode({name: getattr(task, name) for name in COLUMNS})


def decode(row: Sequence[Any]) -> TaskRecord:
    """A row of `TASK_COLUMNS`."""
    fields = dict(zip(COLUMNS, row, strict=True))
    for name in _JSON:
        if fields[name] is not None:
            fields[name] = orjson.loads(fields[name])
    for name in _BOOLS:
        fields[name] = bool(fields[name])
    fields["status"] = TaskStatus(fields["status"])
    fields["desire"] = Desire(fields["desire"])
    return TaskRecord(**fields)


def decode_wished(desire: str, inputs: int, tty: str | None) -> Wished:
    """The columns that say what is wanted of a task."""
    return desire, inputs, None if tty is None else orjson.loads(tty)


def encode_outcome(outcome: Outcome) -> tuple[bytes | None, bytes | None]:
    """The columns `result` and `error`."""
    return _json(outcome.result), _json(outcome.error)


def decode_outcome(result: bytes | None, error: bytes | None) -> Outcome:
    """What `encode_outcome` was given."""
    return Outcome(_value(result), _value(error))


def _json(value: Any) -> bytes | None:
    return None if value is None else orjson.dumps(value)


def _value(json: bytes | None) -> Any:
    return None if json is None else orjson.loads(json)
