"""Sessions of the client library, in processes of their own, whose gateway is killed and comes back."""

import resource
from pathlib import Path

from tests.support.gateway import running_gateway
from tests.support.postgres import free_port
from tests.support.returning_crowd import returning_crowd


async def test_crowd_comes_back_to_its_heads_and_misses_nothing(tmp_path: Path) -> None:
    """A hundred sessions of three subscriptions each go on where they were, by themselves."""
    found = await returning_crowd(
        tmp_path / "data", free_port(), sessions=100, tasks=30, processes=2, idle_s=0.1, within_s=30.0
    )
    found.check(sessions=100, tasks=30)
    assert found.received["welcome"] == 100


async def test_gateway_raises_its_limit_of_open_files(tmp_path: Path) -> None:
    """The usual soft limit of 1024 does not keep the 1025th client out."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    try:
        env = {"GATEWAY_MAX_CONNECTIONS": "3000"}
        async with running_gateway(tmp_path / "data", "--no-local-sandbox", env=env) as gateway:
            allowed, _ = resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert allowed == 4000
