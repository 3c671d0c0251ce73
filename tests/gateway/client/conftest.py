"""A gateway whose part the test plays, and a session with it."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.gateway.client.scripted_gateway import ScriptedGateway


@pytest_asyncio.fixture
async def scripted() -> AsyncIterator[ScriptedGateway]:
    """A scripted gateway."""
    async with ScriptedGateway.running() as gateway:
        yield gateway
