"""Agents as they were written before there was an event loop."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gateway.agents.migration import AsyncMigrationWrapper
from gateway.tasks import Task


class Old:
    """Does what its task's text says."""

    name = "old"

    def execute_task(self, task: Task, progress: Callable[..., None]) -> dict[str, Any]:
        """Synchronous, and slow where it is told to be."""
        progress(phase="begin", progress=10)
        match task.task:
            case "fail":
                raise LookupError("secret")
            case "StopIteration":
                next(iter(()))
            case "SystemExit":
                raise SystemExit(3)
            case "die":
                os._exit(3)
            case "hang":
                Path(task.input["pid"]).write_text(str(os.getpid()))
                threading.Event().wait()
            case "talk":
                while True:
                    progress(phase="talk")
        return {"pid": os.getpid(), "thread": threading.current_thread() is threading.main_thread()}


class OldInProcess(AsyncMigrationWrapper):
    """As somebody registers it."""

    def __init__(self) -> None:
        super().__init__(Old(), worker="process")
