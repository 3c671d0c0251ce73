"""The stores that the contract suites run against; another one is another parameter of `backend`."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.state.base import StateStore
from tests.support.stores import SqliteBackend


@pytest.fixture(params=["sqlite"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> SqliteBackend:
    """Data of its own for each store."""
    return SqliteBackend(tmp_path)


@pytest.fixture
async def store(backend: SqliteBackend) -> AsyncIterator[StateStore]:
    """An open store without tasks."""
    async with backend.opened() as store:
        yield store
