"""One service for all tests that only talk to it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import closing

import pytest

from sandbox_bridge.local.jail.cages.finder import find_cages
from sandbox_bridge.local.jail.profile import Profile
from sandbox_bridge.local.probe import find_profile
from sandbox_bridge.local.watchdog import watchdog
from tests.sandbox_bridge.local.service import Peer, Service, running_service

# looptime asks for the loop of tests that have none; asyncio would make one then, which nobody closes.
asyncio.set_event_loop(None)


@pytest.fixture(scope="session")
def service() -> Iterator[Service]:
    """A service with its defaults, but that a session ends with its socket: tests use the same ids."""
    with running_service(SANDBOX_RESUME_S="0") as running:
        yield running


@pytest.fixture
async def peer(service: Service) -> AsyncIterator[Peer]:
    """A client that has said nothing yet."""
    async with Peer(service.url) as client:
        yield client


@pytest.fixture
async def bridge(service: Service) -> AsyncIterator[Peer]:
    """A client that has said hello."""
    async with Peer(service.url) as client:
        await client.hello()
        yield client


@pytest.fixture(scope="session")
def profile() -> Iterator[Profile]:
    """What jails are made of here."""
    cages = asyncio.run(find_cages(counts_processes=True))
    with closing(cages), watchdog() as group:
        yield find_profile(group, 4096, cages)
