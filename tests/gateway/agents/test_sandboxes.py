"""Sandboxes as people are told of them, over real bridges."""

from gateway.agents.sandboxes import Sandboxes
from sandbox_bridge.pool import Pool
from tests.support.bridges import running, until
from tests.support.fake_sandbox import CAPABILITIES, FakeSandbox


async def test_sandbox_is_described_before_while_and_after_it_is_there() -> None:
    """By its address until it has said its name, which it keeps; why it is away is told."""
    async with FakeSandbox(sandbox_id="s1", max_sessions=3) as sandbox, running(sandbox.dial) as bridge:
        pool = Pool()
        pool.add(bridge)
        sandboxes = Sandboxes(pool, instance="i")
        before = sandboxes.described()["test", "test"].item
        assert (before["connected"], before["problem"]) == (False, "not connected yet")
        await until(lambda: bridge.info is not None)
        one = sandboxes.described()["test", "s1"]
        assert one.subject is None
        assert one.item == {
            "sandbox_id": "s1",
            "instance": "i",
            "connected": True,
            "problem": None,
            "runtime": "local",
            "trust": "server",
            "subject": None,
            "labels": {},
            "capabilities": sorted(CAPABILITIES),
            "active": 0,
            "max_sessions": 3,
            "isolation": {"tier": "none", "network": False},
        }
        sandbox.hello = "close"
        sandbox.drop()
        await until(lambda: bridge.info is None)
        assert sandboxes.described()["test", "s1"].item["connected"] is False
