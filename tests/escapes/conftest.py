"""One service for each kind of operator, one host with bait for each, and the way in."""

import asyncio
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.escapes.host import Host, host_with_bait
from tests.escapes.operators import Operator, names, operator
from tests.escapes.range import Range
from tests.support.sandbox_process import sandbox_service

# looptime asks for the loop of tests that have none; asyncio would make one then, which nobody closes.
asyncio.set_event_loop(None)


@dataclass(frozen=True, slots=True)
class Ground:
    """An operator, his service, and the host that it must keep safe."""

    operator: Operator
    url: str
    host: Host


@pytest.fixture(scope="session", params=names())
def ground(request: pytest.FixtureRequest) -> Iterator[Ground]:
    """A service with its defaults, run by each kind of operator in turn, with a secret in its environment."""
    # Not below pytest's own folder, through which only its user may pass.
    with (
        tempfile.TemporaryDirectory(prefix="bait-", dir="/var/tmp") as folder,
        operator(request.param) as who,
        host_with_bait(who.guest_uid, Path(folder)) as host,
        # A soft limit as low as most systems have it: what a service must raise, it should be seen to raise.
        sandbox_service(*who.prefix, "prlimit", "--nofile=1024:", "env", _secret(host)) as url,
    ):
        yield Ground(who, url, host)


def _secret(host: Host) -> str:
    return f"DATABASE_PASSWORD={host.bait.marker}"


@pytest.fixture
def host(ground: Ground) -> Host:
    """The host and its bait."""
    return ground.host


@pytest.fixture
def attack(ground: Ground) -> Iterator[Range]:
    """The way in; afterwards the host must be untouched."""
    yield Range(ground.url, ground.host.bait)
    ground.host.assert_untouched()
