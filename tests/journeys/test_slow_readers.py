"""Clients that stop reading, in a process of their own, before a real gateway."""

from pathlib import Path

from tests.support.gateway import GatewayProcess
from tests.support.stuck_crowd import stuck_crowd

READERS = 100


async def test_stuck_readers_keep_their_place_and_hold_up_nobody(
    gateway: GatewayProcess, tmp_path: Path
) -> None:
    """While a hundred do not read, another reads to the end; they cost little, and then miss nothing themselves."""
    found = await stuck_crowd(gateway, tmp_path, readers=READERS, tasks=2, floods=20, over_s=1.0)
    found.check()
    assert len(found.reports) == READERS
    assert found.grown < 32
    assert len([queue for queue in found.queues if queue > 64 << 10]) >= READERS, "they were not stuck"
    assert max(found.queues) < 512 << 10, "the kernel holds too much for one of them"
