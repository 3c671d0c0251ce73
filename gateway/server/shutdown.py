"""Ends a process in which agents ran, whatever tasks and threads they have left behind."""

import asyncio
import os
import sys
from typing import Final

from gateway.server import logs

LEFT_S: Final = 1.0
"""What an agent has left behind may take over its end, when all else has ended."""


async def leave_the_rest() -> None:
    """What agents have left behind, tasks that heed no cancel and threads, ends now or with the process."""
    loop = asyncio.get_running_loop()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    threads = loop.create_task(loop.shutdown_default_executor(), name="threads")
    _, deaf = await asyncio.wait({*left, threads}, timeout=LEFT_S)
    if deaf:
        names = sorted(task.get_name() for task in deaf)[:10]
        logs.get().warning("what agents have left behind does not end; the process does", left=names)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
