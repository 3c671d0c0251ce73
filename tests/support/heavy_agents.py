"""An agent that computes, for Celery's processes."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gateway.tasks import Task


class Sieve:
    """Says which process it is in, and is busy until the file that its task names is gone."""

    name = "sieve"

    def execute_task(self, task: Task, progress: Callable[..., None]) -> dict[str, Any]:
        """Synchronous; each attempt leaves a line in the file `runs`."""
        with Path(task.input["runs"]).open("a") as runs:
            runs.write(f"{os.getpid()}\n")
        progress(phase="sieve", progress=1, pid=os.getpid(), traceparent=task.traceparent)
        deadline = time.monotonic() + 60
        while Path(task.input["busy"]).exists() and time.monotonic() < deadline:
            sum(range(1000))
        return {"pid": os.getpid()}
