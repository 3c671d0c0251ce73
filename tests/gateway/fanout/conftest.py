"""What these tests share."""

import asyncio
from collections.abc import Callable

import pytest
import uvloop

from tests.support.watchers import Test, serving


@pytest.fixture(params=[uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def run(request: pytest.FixtureRequest) -> Callable[[Test], None]:
    """Runs a test on each kind of loop: their transports differ in when they write, and when they close."""

    def on_loop(test: Test) -> None:
        async def served() -> None:
            async with serving() as net:
                await test(net)

        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(served())

    return on_loop
