"""Checkpoints' rows as every store that has tables writes them."""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from gateway.checkpoints import Checkpoint, NewCheckpoint, put_together

Place = tuple[str, str, int]
"""Where a checkpoint is: its workflow, its task or "", and the event that tells of it or the workflow's version."""

NAMES: Final = (
    *("checkpoint_id", "workflow_id", "task_id", "seq", "step_name"),
    *("agent_name", "data", "metadata", "created_at"),
)
"""The columns of a checkpoint's row."""


def encoded(place: Place, new: NewCheckpoint, *, now_ms: int) -> tuple[Any, ...]:
    """The values of `NAMES`."""
    metadata = orjson.dumps(new.metadata).decode()
    return (new.checkpoint_id, *place, new.step_name, new.agent_name, new.row, metadata, now_ms)


def decoded(fields: Mapping[str, Any], parts: Mapping[bytes, bytes] | None) -> Checkpoint:
    """The checkpoint of a row; without `parts` its data is left out."""
    known = {name: fields[name] for name in NAMES if name != "data"}
    known["metadata"] = orjson.loads(fields["metadata"])
    known["task_id"] = fields["task_id"] or None
    data = None if parts is None else put_together(fields["data"], parts)
    return Checkpoint(checkpoint_data=data, **known)
