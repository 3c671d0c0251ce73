"""What the contract suites run against: stores (another parameter of `backend`) and sandbox services (of `url`)."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from gateway.state.base import StateStore
from tests.support.bare_client import DEADLINE_S, client
from tests.support.fake_sandbox import FakeSandbox
from tests.support.postgres import Server, fresh_database, postgres_server
from tests.support.sandbox_process import SANDBOX_SESSIONS, sandbox_service
from tests.support.stores import Backend, PostgresqlBackend, SqliteBackend, SurrealBackend


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    """A server for all databases of the suite."""
    with postgres_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql", "surrealdb"])
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Backend]:
    """Data of its own for each test."""
    if request.param == "sqlite":
        yield SqliteBackend(tmp_path)
    elif request.param == "surrealdb":
        yield SurrealBackend(tmp_path)
    else:
        server: Server = request.getfixturevalue("postgresql")
        async with fresh_database(server) as dsn:
            yield PostgresqlBackend(dsn)


@pytest.fixture
async def store(backend: Backend) -> AsyncIterator[StateStore]:
    """An open store without tasks."""
    async with backend.opened() as store:
        yield store


@pytest.fixture(scope="package")
def real_url() -> Iterator[str]:
    """The real service."""
    with sandbox_service(max_sessions=str(SANDBOX_SESSIONS)) as url:
        yield url


@pytest.fixture(params=["fake", "real"])
async def url(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """A service with room for two sessions and none open."""
    if request.param == "fake":
        async with FakeSandbox(max_sessions=SANDBOX_SESSIONS) as fake:
            yield fake.url
    else:
        service: str = request.getfixturevalue("real_url")
        yield service
        async with client(service) as after, asyncio.timeout(DEADLINE_S):
            while (await after.health())["active_sessions"]:
                """A test's connection has closed; what ran on it ends within moments."""
