"""The audit log: who changed what, or was not let, one JSON object a line, only ever appended.

Written where a request is answered, from its route or its type, so that no new one can be forgotten.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import orjson
from structlog.typing import FilteringBoundLogger

from gateway.clock import rfc3339
from gateway.principal import Principal

READING: Final = frozenset(
    {
        *("subscribe", "unsubscribe", "get_task", "list_tasks", "get_workflow", "list_workflows"),
        *("list_checkpoints", "watch", "unwatch", "ping"),
    }
)
"""Requests of the socket that change nothing; any other is noted."""


class Audit:
    """Appends to the file at `path`; without one it notes nothing. Whoever rotates it may move it away."""

    def __init__(
        self, path: Path | None, now_ms: Callable[[], int], *, instance: str, log: FilteringBoundLogger
    ) -> None:
        self._path = path
        self._now_ms = now_ms
        self._instance = instance
        self._log = log

    def __repr__(self) -> str:
        return f"<Audit {self._path}>"

    def note(self, principal: Principal, action: str, outcome: str, **about: Any) -> None:
        """One line: who did `action`, by which token, to what, and `outcome`, `ok` or an error's code."""
        if self._path is None:
            return
        said = {
            "time": rfc3339(self._now_ms()),
            "instance": self._instance,
            "subject": principal.subject,
            "token_id": principal.token_id,
            "narrow": principal.tasks is not None,
            "action": action,
            "outcome": outcome,
            **{name: value for name, value in about.items() if value is not None},
        }
        # Opened anew each time: a file that was moved away is followed by a new one, and a line is one write.
        try:
            with self._path.open("ab", buffering=0) as file:
                file.write(orjson.dumps(said) + b"\n")
        except OSError as error:
            # What was done is done, and its answer is owed.
            self._log.error("the audit log can't be written", error=str(error), **said)
