"""The search of `tests/journeys/test_descriptions`, longer and from other beginnings."""

from pathlib import Path

import pytest

from tests.journeys.test_descriptions import fuzz


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [7, 8, 9])
async def test_schemathesis_finds_no_fault_in_many_requests(tmp_path: Path, seed: int) -> None:
    """Hundreds of requests to each operation are all answered as described."""
    await fuzz(tmp_path, examples=100, seed=seed)
