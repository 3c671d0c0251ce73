"""The flight recorder's notes: what befell a client, a run or an instance, for whoever asks later why."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.clock import rfc3339

OF_INSTANCES = ""
"""What a note is `about` that is about its instance itself."""


@dataclass(slots=True)
class Note:
    """One thing that befell `about` (a session's id, or a task's) at `at` (ms since 1970 UTC), as `instance` saw it.

    `note_id` sorts behind those of earlier times. `data` is small, and says what `what` needs.
    """

    note_id: str
    at: int
    instance: str
    about: str
    subject: str
    what: str
    data: Mapping[str, Any] = field(default_factory=dict)

    def to_wire(self) -> dict[str, Any]:
        """As it is answered."""
        return {"at": rfc3339(self.at), "instance": self.instance, "what": self.what, "data": dict(self.data)}
