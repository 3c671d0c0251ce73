"""Ten thousand sessions of the client library come back after their gateway was killed. `make chaos` runs it."""

import resource
from pathlib import Path

import pytest

from tests.support.postgres import free_port
from tests.support.returning_crowd import returning_crowd

SESSIONS = 10_000
TASKS = 300
PROCESSES = 6
WITHIN_S = 60.0
FILES = SESSIONS + 1000


@pytest.mark.timeout(900)
async def test_ten_thousand_sessions_are_at_their_heads_within_a_minute(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each of 30,000 subscriptions goes on where it was, within 60 s of the restart, and misses nothing."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < FILES:
        pytest.skip(
            f"this needs {FILES} open files, and {hard} are allowed: raise the hard limit (ulimit -Hn)"
        )
    found = await returning_crowd(
        tmp_path / "data",
        free_port(),
        sessions=SESSIONS,
        tasks=TASKS,
        processes=PROCESSES,
        idle_s=30.0,
        within_s=WITHIN_S,
    )
    with capsys.disabled():
        print(f"\n{found.spoken()}")  # noqa: T201 - the figures are what the run is for
    found.check(sessions=SESSIONS, tasks=TASKS)
    assert max(found.at_head_s) <= WITHIN_S
