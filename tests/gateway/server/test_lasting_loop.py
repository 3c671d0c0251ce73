"""The event loop that a gateway runs in."""

import asyncio
import sys

import pytest

from gateway.server.lasting_loop import LastingLoop


async def leave() -> None:
    """End the process, it thinks."""
    sys.exit(3)


def test_loop_outlives_a_task_that_ends_the_process() -> None:
    """Nor does a callback end it; whoever waits for the task is told."""

    async def main() -> str:
        asyncio.get_running_loop().call_soon(sys.exit, 4)
        with pytest.raises(SystemExit):
            await asyncio.wait_for(leave(), 10)
        return "here"

    with asyncio.Runner(loop_factory=LastingLoop) as runner:
        assert runner.run(main()) == "here"
