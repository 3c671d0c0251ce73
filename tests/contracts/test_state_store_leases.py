"""What every state store must do with instances: leases by its own clock, and decisions on who owns a task.

A store's clock may be a server's, which no test can set: so leases here are of a minute, or over at once.
"""

import asyncio

import pytest

from gateway.errors import GatewayError
from gateway.fleet import Standing, is_orphan, lives, may_claim
from gateway.state.base import StateStore
from gateway.state.leases import FORGET_INSTANCES_MS, DecideOwner
from gateway.task_changes import Change, claimed, completed
from gateway.tasks import TaskRecord, TaskStatus
from tests.support.records import NOW_MS, new_task, record
from tests.support.stores import Backend, code_of, run

MINUTE_MS = 60_000


async def pending(store: StateStore, **fields: object) -> str:
    """The id of a task that waits."""
    return (await store.create_task(new_task(record(**fields)))).task.task_id


def claim_by(instance: str, *, limit: int = 0) -> DecideOwner:
    """A claim as the dispatcher makes it."""

    def decide(row: TaskRecord, standing: Standing) -> Change:
        if not may_claim(standing, limit=limit, is_leased=True):
            return Change()
        return claimed(row, owner=instance, sandbox_id=None, now_ms=NOW_MS)

    return decide


async def standing_of(store: StateStore, task_id: str, instance: str) -> Standing:
    """How it stands to the task."""
    seen: list[Standing] = []

    def look(_row: TaskRecord, standing: Standing) -> Change:
        seen.append(standing)
        return Change()

    await store.leases.assign(task_id, instance, look)
    return seen[-1]


async def test_lease_lives_until_it_is_over_and_is_then_begun_anew(backend: Backend) -> None:
    """It is renewed while it lives; one that is over, or was never begun, is not. What was told is kept with it."""
    async with backend.opened() as store:
        assert not await store.leases.renew("a", MINUTE_MS, {})
        assert (await store.leases.fleet()).instances == []
        await store.leases.begin("a", MINUTE_MS, {"n": [1, "\0"]})
        await store.leases.begin("b", MINUTE_MS, {})
        assert await store.leases.renew("a", MINUTE_MS, {"n": 2})
        assert await store.leases.renew("b", 0, {})
        assert not await store.leases.renew("b", MINUTE_MS, {})
    async with backend.opened() as store:
        fleet = await store.leases.fleet()
        assert [(one.instance, one.about) for one in fleet.instances] == [("a", {"n": 2}), ("b", {})]
        assert [one.instance for one in fleet.living] == ["a"]
        assert 0 < fleet.living[0].lease_until - fleet.now_ms <= MINUTE_MS
        await store.leases.begin("b", MINUTE_MS, {})
        assert [one.instance for one in (await store.leases.fleet()).living] == ["a", "b"]


async def test_lease_that_is_ended_is_forgotten(store: StateStore) -> None:
    """It can't be renewed; to end it twice does nothing."""
    await store.leases.begin("a", MINUTE_MS, {})
    await store.leases.end("a")
    await store.leases.end("a")
    assert not await store.leases.renew("a", MINUTE_MS, {})
    assert (await store.leases.fleet()).instances == []


async def test_what_agents_take_is_told_once_and_kept_with_the_instance(store: StateStore) -> None:
    """A renewal leaves it as it is, a new beginning tells it anew; with the instance it goes."""
    schema = {"properties": {"task": {"type": "string", "pattern": "^[^\\0]*$", "title": "\0"}}}
    await store.leases.begin("a", MINUTE_MS, {}, {"gardener": schema})
    await store.leases.begin("b", MINUTE_MS, {})
    assert await store.leases.renew("a", MINUTE_MS, {"n": 2})
    assert await store.leases.agents("a") == {"gardener": schema}
    assert await store.leases.agents("b") == await store.leases.agents("unknown") == {}
    await store.leases.begin("a", MINUTE_MS, {}, {"baker": {}})
    assert await store.leases.agents("a") == {"baker": {}}
    await store.leases.end("a")
    assert await store.leases.agents("a") == {}


async def test_lease_long_over_is_forgotten_by_who_comes(store: StateStore) -> None:
    """Every instance leaves a row, and rows don't pile up."""
    await store.leases.begin("old", -FORGET_INSTANCES_MS - MINUTE_MS, {}, {"gardener": {}})
    await store.leases.begin("dead", 0, {})
    await store.leases.begin("new", MINUTE_MS, {})
    assert [one.instance for one in (await store.leases.fleet()).instances] == ["dead", "new"]
    assert await store.leases.agents("old") == {}


async def test_decision_on_an_owner_is_told_of_both_leases(store: StateStore) -> None:
    """By the store's clock: whether they live, are over, or are not known."""
    await store.leases.begin("lives", MINUTE_MS, {})
    await store.leases.begin("over", 0, {})
    task = await run(store)
    for owner, mine in [("lives", "over"), ("over", "lives"), ("unknown", "lives"), ("lives", "unknown")]:
        await store.change_task(task.task_id, lambda _row, owner=owner: Change({"owner": owner}))  # type: ignore[misc]
        standing = await standing_of(store, task.task_id, mine)
        assert lives(standing.owners, standing.now_ms) == (owner == "lives")
        assert lives(standing.mine, standing.now_ms) == (mine == "lives")
        assert (standing.owners is None, standing.mine is None) == (owner == "unknown", mine == "unknown")


async def test_decision_is_made_as_any_other(store: StateStore) -> None:
    """What it raises is raised, and what it changes nothing of stays as it is."""
    await store.leases.begin("a", MINUTE_MS, {})
    task_id = await pending(store)
    owned = await store.leases.assign(task_id, "a", claim_by("a"))
    assert (owned.status, owned.owner, owned.epoch, owned.last_seq) == (TaskStatus.RUNNING, "a", 1, 2)
    assert await code_of(store.leases.assign(task_id, "a", claim_by("a"))) == "invalid_state"
    assert await code_of(store.leases.assign("none", "a", claim_by("a"))) == "task_not_found"
    assert await store.get_task(task_id) == owned


async def test_instance_without_a_lease_claims_nothing(store: StateStore) -> None:
    """Neither one whose lease is over nor one that nobody knows."""
    await store.leases.begin("over", 0, {})
    task_id = await pending(store)
    for instance in ("over", "unknown"):
        assert (await store.leases.assign(task_id, instance, claim_by(instance))).owner is None


async def test_subject_runs_no_more_than_its_limit_whoever_claims_at_once(store: StateStore) -> None:
    """Counted in the store, of all instances; paused tasks and those of others don't count."""
    await store.leases.begin("a", MINUTE_MS, {})
    await store.leases.begin("b", MINUTE_MS, {})
    paused = await run(store)
    await store.change_task(paused.task_id, lambda _row: Change({"status": TaskStatus.PAUSED}))
    await run(store, subject="bob")
    mine = [await pending(store) for _ in range(8)]
    claims = [
        store.leases.assign(task_id, instance, claim_by(instance, limit=3))
        for task_id, instance in zip(mine, "abababab", strict=True)
    ]
    claimed_by = [row.owner for row in await asyncio.gather(*claims)]
    assert sum(owner is not None for owner in claimed_by) == 3
    assert await store.leases.running_tasks() == {"alice": 3, "bob": 1}


async def test_one_of_two_who_claim_a_task_gets_it(store: StateStore) -> None:
    """The other is refused, and nothing of its claim is written."""
    await store.leases.begin("a", MINUTE_MS, {})
    await store.leases.begin("b", MINUTE_MS, {})
    task_id = await pending(store)
    claims = [store.leases.assign(task_id, instance, claim_by(instance)) for instance in "ab"]
    won, lost = sorted(
        await asyncio.gather(*claims, return_exceptions=True), key=lambda one: isinstance(one, Exception)
    )
    assert isinstance(lost, GatewayError)
    assert isinstance(won, TaskRecord)
    assert await store.get_task(task_id) == won


async def test_orphans_are_those_of_lost_owners_and_ones_own(store: StateStore) -> None:
    """Lost is an owner whose lease has been over for the grace, or that nobody knows; as `is_orphan` has it."""
    leases = {"lives": MINUTE_MS, "over": 0, "long-over": -MINUTE_MS}
    for instance, lease_ms in leases.items():
        await store.leases.begin(instance, lease_ms, {})
    owned = {}
    for owner in (*leases, "unknown"):
        task = await run(store)
        await store.change_task(task.task_id, lambda _row, owner=owner: Change({"owner": owner}))  # type: ignore[misc]
        owned[owner] = task.task_id
    ended = await run(store)
    await store.change_task(ended.task_id, lambda row: completed(row, {}, now_ms=NOW_MS))
    for grace_ms, lost in [(0, {"over", "long-over", "unknown"}), (MINUTE_MS // 2, {"long-over", "unknown"})]:
        expected = {owned[owner]: owner for owner in lost}
        assert await store.leases.orphans("me", grace_ms=grace_ms) == expected
        assert await store.leases.orphans("lives", grace_ms=grace_ms) == expected | {owned["lives"]: "lives"}
        for owner, task_id in owned.items():
            row, standing = await store.get_task(task_id), await standing_of(store, task_id, "me")
            assert row is not None
            assert is_orphan(row, standing, grace_ms=grace_ms) == (owner in lost)


@pytest.mark.parametrize("limit", [0, 1])
async def test_alone_no_lease_is_asked_for(store: StateStore, limit: int) -> None:
    """Who holds the store's lock claims without one; a limit holds all the same."""
    first, second = await pending(store), await pending(store)

    def claim(row: TaskRecord, standing: Standing) -> Change:
        may = may_claim(standing, limit=limit, is_leased=False)
        return claimed(row, owner="me", sandbox_id=None, now_ms=NOW_MS) if may else Change()

    assert (await store.leases.assign(first, "me", claim)).owner == "me"
    assert (await store.leases.assign(second, "me", claim)).owner == (None if limit else "me")
