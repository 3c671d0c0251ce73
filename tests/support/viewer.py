"""Somebody who watches a list, and may have no room."""

from typing import Any

import orjson

from gateway.principal import SCOPES, Principal


class Viewer:
    """A watcher that keeps its frames while it has room."""

    def __init__(self, subject: str = "alice", *scopes: str) -> None:
        self.principal = Principal(subject, frozenset(scopes or SCOPES - {"admin"}))
        self.space = 1 << 20
        self.frames: list[dict[str, Any]] = []

    def room(self) -> int:
        """See `Watcher.room`."""
        return self.space

    def send(self, payload: bytes) -> None:
        """See `Watcher.send`."""
        self.frames.append(orjson.loads(payload))

    @property
    def tasks(self) -> list[tuple[str, str]]:
        """Task and status of each update."""
        return [
            (frame["item"]["task_id"], frame["item"]["status"]) for frame in self.frames if "item" in frame
        ]
