"""The store that work is tried on."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.work import Bench, bench


@pytest.fixture(name="bench")
async def _bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path) as made:
        yield made
