"""Checkpoints: what an agent wants to have again, should it have to go on from here.

A checkpoint is the state after the event that tells of it. Its data is kept in parts, one a key: of what has not
changed since an earlier checkpoint of the same workflow nothing is written again.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
from pydantic_core import to_jsonable_python

from gateway.clock import rfc3339

MAX_DATA_BYTES: Final = 8 << 20
"""Of a checkpoint's data, as JSON."""
PART_BYTES: Final = 1 << 10
"""A value smaller than this stays in the checkpoint's own row."""
SHOWN_BYTES: Final = 16 << 10
"""Data that lists show; what is larger is asked for alone."""


class CheckpointTooLargeError(ValueError):
    """Data of more than `MAX_DATA_BYTES`."""


@dataclass(frozen=True, slots=True)
class NewCheckpoint:
    """One to be kept: `row` is its data as JSON but for its `parts`, by the SHA-256 of each one's JSON."""

    checkpoint_id: str
    step_name: str
    agent_name: str | None
    row: bytes
    parts: Mapping[bytes, bytes]
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One that is kept; `created_at` is in ms since 1970 UTC, and `seq` the event that tells of it.

    One that no task has made has the workflow's version as `seq`. `checkpoint_data` is None where it was left out.
    """

    checkpoint_id: str
    workflow_id: str
    task_id: str | None
    seq: int
    step_name: str
    agent_name: str | None
    checkpoint_data: dict[str, Any] | None
    metadata: dict[str, Any]
    created_at: int


def encoded(value: Any) -> bytes:
    """As JSON, also what JSON has no word for and pydantic has: models, sets, paths. Raises TypeError for the rest."""
    return orjson.dumps(value, default=to_jsonable_python, option=orjson.OPT_NON_STR_KEYS)


class Kept:
    """The large texts of a run's last checkpoint: to compare with one costs a tenth of hashing it again."""

    def __init__(self) -> None:
        self._texts: dict[str, tuple[str, bytes, int]] = {}

    def find(self, key: str, value: Any) -> tuple[bytes, int] | None:
        """Its SHA-256 and size as JSON, where it was kept."""
        text, digest, size = self._texts.get(key, (None, b"", 0))
        return (digest, size) if isinstance(value, str) and value == text else None

    def learn(self, data: Mapping[str, Any], new: "NewCheckpoint") -> None:
        """What `data` has is on disk now, as `new` has it."""
        texts = {}
        for key, name in orjson.loads(new.row)[1].items():
            digest = bytes.fromhex(name)
            known = self.find(key, data.get(key))
            size = len(new.parts[digest]) if digest in new.parts else known[1] if known else 0
            if isinstance(data.get(key), str) and size:
                texts[key] = (data[key], digest, size)
        self._texts = texts


def taken_apart(data: Mapping[str, Any], kept: Kept | None = None) -> tuple[bytes, dict[bytes, bytes]]:
    """Data as a row's JSON and those of its parts that `kept` has not.

    Raises `CheckpointTooLargeError`, and TypeError for what JSON can't say.
    """
    small: dict[str, Any] = {}
    names: dict[str, str] = {}
    parts: dict[bytes, bytes] = {}
    size = 0
    for name, value in data.items():
        key = str(name)
        known = kept.find(key, value) if kept is not None else None
        written = encoded(value) if known is None else b""
        size += len(key) + (known[1] if known is not None else len(written))
        if size > MAX_DATA_BYTES:
            raise CheckpointTooLargeError(f"a checkpoint holds at most {MAX_DATA_BYTES} bytes")
        if known is not None:
            names[key] = known[0].hex()
        elif len(written) < PART_BYTES:
            small[key] = value
        else:
            digest = hashlib.sha256(written).digest()
            parts[digest] = written
            names[key] = digest.hex()
    return encoded([[*map(str, data)], names, small]), parts


def new_checkpoint(
    checkpoint_id: str,
    step_name: str,
    agent_name: str | None,
    data: Mapping[str, Any],
    metadata: Mapping[str, Any] | None = None,
    *,
    kept: Kept | None = None,
) -> NewCheckpoint:
    """One of `data` as it is now. Raises as `taken_apart`."""
    row, parts = taken_apart(data, kept)
    return NewCheckpoint(checkpoint_id, step_name, agent_name, row, parts, metadata or {})


def named_parts(row: bytes) -> list[bytes]:
    """The SHA-256 of each part that a row needs."""
    return [bytes.fromhex(name) for name in orjson.loads(row)[1].values()]


def put_together(row: bytes, parts: Mapping[bytes, bytes]) -> dict[str, Any]:
    """What `taken_apart` was given."""
    order, names, small = orjson.loads(row)
    return {
        key: orjson.loads(parts[bytes.fromhex(names[key])]) if key in names else small[key] for key in order
    }


def to_wire(checkpoint: Checkpoint) -> dict[str, Any]:
    """The contract's Checkpoint."""
    return {
        "checkpoint_id": checkpoint.checkpoint_id,
        "workflow_id": checkpoint.workflow_id,
        "task_id": checkpoint.task_id,
        "seq": checkpoint.seq,
        "step_name": checkpoint.step_name,
        "agent_name": checkpoint.agent_name,
        "checkpoint_data": checkpoint.checkpoint_data,
        "is_recoverable": True,
        "metadata": checkpoint.metadata,
        "created_at": rfc3339(checkpoint.created_at),
    }
