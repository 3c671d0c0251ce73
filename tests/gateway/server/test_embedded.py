"""The local sandbox that comes with the gateway: a child that does not come up is not waited for forever."""

import asyncio
import os
import signal

import structlog

from gateway.server.embedded import EmbeddedSandbox
from tests.support.processes import own_children_of
from tests.support.waiting import eventually


async def test_child_that_does_not_get_ready_is_replaced() -> None:
    """A start that takes too long is said, ended, and made again with more time; the next child is met."""
    sandbox = EmbeddedSandbox(log=structlog.get_logger(), start_s=(0.2, 60.0))
    before = set(own_children_of(os.getpid()))
    born: set[int] = set()

    async def is_born() -> bool:
        born.update(set(own_children_of(os.getpid())) - before)
        return bool(born)

    async def is_ready() -> bool:
        return sandbox.problem is None

    running = asyncio.create_task(sandbox.run())
    try:
        await eventually(is_born)
        (stuck,) = born
        os.kill(stuck, signal.SIGSTOP)
        await sandbox.tried.wait()
        assert sandbox.problem == "the local sandbox was not ready within 0.2 s"
        await eventually(is_ready)
        await (await sandbox.dial()).aclose()
        assert stuck not in own_children_of(os.getpid())
    finally:
        running.cancel()
        await asyncio.wait([running])
