"""What an instance sees of the others, on virtual time over a real store."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.work.fleet_view import FleetView
from tests.support.waiting import let_pass
from tests.support.work import LOG, Bench

pytestmark = pytest.mark.looptime

MINUTE_MS = 60_000
SCHEMA = {"properties": {"task": {"type": "string"}}}


def about(*agents: str, connected: bool | None = None) -> dict[str, Any]:
    """What an instance tells of itself; `connected` is of its one sandbox."""
    item: dict[str, Any] = {
        "sandbox_id": "s",
        "connected": connected,
        "runtime": "local",
        "max_sessions": 1,
        "capabilities": [],
        "labels": {},
        "trust": "server",
        "subject": None,
    }
    sandbox = {"address": "a", "extended": True, "subject": None, "item": item}
    return {"instance": {"agents": list(agents)}, "sandboxes": [sandbox] if connected is not None else []}


@asynccontextmanager
async def looking(bench: Bench) -> AsyncIterator[FleetView]:
    """The view of an instance that has the agent `mine`, with a look behind it."""
    view = FleetView(bench.store, "me", lambda: about("mine"), log=LOG)
    running = asyncio.get_running_loop().create_task(view.run())
    await let_pass(0.1)
    yield view
    running.cancel()
    await asyncio.wait([running])


async def test_what_the_others_agents_take_is_learnt_and_forgotten_with_them(bench: Bench) -> None:
    """Within a look; of one that was told of by name alone nothing is known, and it is there all the same."""
    leases = bench.store.leases
    await leases.begin("one", MINUTE_MS, about("gardener"), {"gardener": SCHEMA})
    await leases.begin("old", MINUTE_MS, about("baker"))
    async with looking(bench) as view:
        assert view.schemas() == {"gardener": SCHEMA, "baker": {}}
        await leases.end("one")
        await leases.begin("new", MINUTE_MS, about("miller"), {"miller": SCHEMA})
        await let_pass(1.5)
        assert view.schemas() == {"miller": SCHEMA, "baker": {}}


async def test_what_many_tell_alike_is_kept_once(bench: Bench) -> None:
    """A fleet of a hundred of one build costs no more memory than one of two."""
    for name in ("one", "two"):
        await bench.store.leases.begin(name, MINUTE_MS, about("gardener"), {"gardener": SCHEMA})
    async with looking(bench) as view:
        one, two = view._told.values()
        assert one is two


async def test_others_are_looked_at_without_what_they_told_once(bench: Bench) -> None:
    """What agents take is read once of each instance, however often it is looked at."""
    await bench.store.leases.begin("one", MINUTE_MS, about("gardener"), {"gardener": SCHEMA})
    async with looking(bench) as view:
        first = view._told["one"]
        await let_pass(5)
        assert view._told["one"] is first


async def test_sandbox_of_an_instance_without_the_agent_fits_nobody(bench: Bench) -> None:
    """A task waits for a place where both are; a busy one counts."""
    leases = bench.store.leases
    await leases.begin("able", MINUTE_MS, about("gardener", connected=False), {})
    await leases.begin("placed", MINUTE_MS, about("baker", connected=True), {})
    async with looking(bench) as view:
        assert not view.others_fit(None, "gardener")
        assert view.others_fit(None, "baker")
        await leases.renew("able", MINUTE_MS, about("gardener", connected=True))
        await let_pass(1.5)
        assert view.others_fit(None, "gardener")
