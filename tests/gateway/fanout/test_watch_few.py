"""Watching the sandboxes, on virtual time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.agents.sandboxes import Described
from gateway.fanout.watch import ROUND_S
from gateway.fanout.watch_few import LOOK_S, FewWatch
from tests.support.viewer import Viewer
from tests.support.waiting import let_pass

pytestmark = pytest.mark.looptime


class Fleet:
    """Sandboxes that the test makes up, and their watch."""

    def __init__(self) -> None:
        self.now: dict[tuple[str, str], Described] = {}
        self.watch = FewWatch("sandboxes", "sandbox_id", lambda: dict(self.now))

    def put(self, sandbox_id: str, active: int = 0, *, subject: str | None = None) -> None:
        """There is such a sandbox now."""
        self.now["somewhere", sandbox_id] = Described(subject, {"sandbox_id": sandbox_id, "active": active})
        self.watch.ring()


@asynccontextmanager
async def fleet() -> AsyncIterator[Fleet]:
    """A watch that runs inside the block."""
    made = Fleet()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(made.watch.run())
        yield made
        running.cancel()


async def test_watcher_is_told_of_who_comes_changes_and_goes() -> None:
    """Each in its newest state; who went is told as removed; who is no watcher any more is told nothing."""
    async with fleet() as on:
        on.put("a")
        viewer = Viewer("root", "admin")
        assert await on.watch.add(viewer) == [{"sandbox_id": "a", "active": 0}]
        on.put("a", 1)
        on.put("b")
        await let_pass(1)
        del on.now["somewhere", "a"]
        on.watch.ring()
        await let_pass(1)
        on.watch.remove(viewer)
        on.put("b", 5)
        await let_pass(1)
    assert [frame["item"] for frame in viewer.frames] == [
        {"sandbox_id": "a", "active": 1},
        {"sandbox_id": "b", "active": 0},
        {"sandbox_id": "a", "removed": True},
    ]
    assert {frame["topic"] for frame in viewer.frames} == {"sandboxes"}


async def test_one_sandbox_is_told_at_most_five_times_a_second() -> None:
    """However fast it changes, and its last state is told."""
    async with fleet() as on:
        on.put("a")
        viewer = Viewer("root", "admin")
        await on.watch.add(viewer)
        for active in range(1, 101):
            on.put("a", active)
            await let_pass(0.02)
        await let_pass(1)
        assert len(viewer.frames) <= 2 / ROUND_S + 2
        assert viewer.frames[-1]["item"]["active"] == 100


async def test_sandbox_is_seen_by_its_subject_and_admins() -> None:
    """Those that nobody brought in are the operator's."""
    async with fleet() as on:
        alice, admin = Viewer("alice"), Viewer("root", "admin")
        for viewer in (alice, admin):
            await on.watch.add(viewer)
        on.put("hers", subject="alice")
        on.put("his", subject="bob")
        on.put("ours")
        await let_pass(1)
        assert [frame["item"]["sandbox_id"] for frame in alice.frames] == ["hers"]
        assert [frame["item"]["sandbox_id"] for frame in admin.frames] == ["hers", "his", "ours"]
        assert [item["sandbox_id"] for item in await on.watch.add(alice)] == ["hers"]


async def test_full_watcher_is_told_everything_anew_when_it_has_room() -> None:
    """Nothing is queued for it; the reset comes without another change."""
    async with fleet() as on:
        viewer = Viewer("root", "admin")
        await on.watch.add(viewer)
        viewer.space = 0
        on.put("a")
        on.put("b")
        await let_pass(2)
        assert viewer.frames == []
        viewer.space = 1 << 20
        await let_pass(LOOK_S + ROUND_S)
        (reset,) = viewer.frames
        assert [item["sandbox_id"] for item in reset["items"]] == ["a", "b"]
        assert reset["reset"] is True


async def test_change_without_a_sound_is_found() -> None:
    """Why a sandbox is away may change while nothing rings."""
    async with fleet() as on:
        viewer = Viewer("root", "admin")
        await on.watch.add(viewer)
        await let_pass(1)
        on.now["somewhere", "a"] = Described(None, {"sandbox_id": "a"})
        await let_pass(LOOK_S + ROUND_S)
        assert len(viewer.frames) == 1
