"""A gateway in the test's own process, on real sockets and threads, to be looked at from inside."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import structlog

from gateway.clock import Clock
from gateway.server.app import Gateway
from gateway.server.world import World
from gateway.settings import Settings


@asynccontextmanager
async def serving(data_dir: Path, **more: Any) -> AsyncIterator[str]:
    """The URL of one without a sandbox, with `more` settings."""
    settings = Settings(_env_file=None, data_dir=data_dir, port=0, local_sandbox=False, drain_s=0, **more)
    ready, stop = asyncio.get_running_loop().create_future(), asyncio.Event()
    log = structlog.wrap_logger(structlog.testing.ReturnLogger(), processors=[])
    with ThreadPoolExecutor(1) as writer, ThreadPoolExecutor(2) as readers:
        gateway = Gateway(settings, World(Clock(), writer, readers), log=log)
        async with asyncio.TaskGroup() as group:
            group.create_task(gateway.serve(ready=ready.set_result, stop=stop))
            try:
                yield await ready
            finally:
                stop.set()
