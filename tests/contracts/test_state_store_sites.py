"""What every state store must do with sites: known by the hash of their label, over when their task is."""

import dataclasses

from gateway.sites import Site, hash_of
from gateway.state.base import StateStore
from gateway.task_changes import completed
from tests.support.records import NOW_MS, fence_of
from tests.support.stores import Backend, run


def site(label: str, task_id: str, **fields: object) -> Site:
    """A site of a task's, put up now."""
    made = Site(
        label_hash=hash_of(label),
        task_id=task_id,
        session_id="session",
        sandbox_id="sandbox",
        boot_id="boot",
        host="127.0.0.1",
        port=4000,
        used_at=NOW_MS,
    )
    return dataclasses.replace(made, **fields)  # type: ignore[arg-type]


async def test_site_is_found_by_its_label_also_after_a_restart(backend: Backend) -> None:
    """As it was put in; another label finds nothing, nor does a removed one."""
    here, nowhere = site("a", "t", holder="http://here:8080"), site("b", "t", host=None)
    async with backend.opened() as store:
        await store.add_site(here)
        await store.add_site(nowhere)
    async with backend.opened() as store:
        assert await store.find_site(hash_of("a")) == here
        assert await store.find_site(hash_of("b")) == nowhere
        assert await store.find_site(hash_of("c")) is None
        for _ in range(2):
            await store.remove_site(hash_of("a"))
        assert await store.find_site(hash_of("a")) is None


async def test_site_is_over_when_its_task_is_and_nobody_asks(store: StateStore) -> None:
    """Never while the task runs; then so long after its end or its last use; at once where there is no task."""
    task = await run(store)
    await store.add_site(site("kept", task.task_id, used_at=0))
    await store.add_site(site("orphan", "no task"))
    assert await labels_over(store, NOW_MS + 1000) == {"orphan"}
    await store.change_task(task.task_id, lambda row: completed(row, {}, now_ms=NOW_MS), fence=fence_of(task))
    assert await labels_over(store, NOW_MS) == {"orphan"}
    assert await labels_over(store, NOW_MS + 1) == {"orphan", "kept"}
    await store.use_sites({hash_of("kept"): NOW_MS + 500, hash_of("unknown"): NOW_MS})
    await store.use_sites({hash_of("kept"): NOW_MS + 10})
    assert await labels_over(store, NOW_MS + 500) == {"orphan"}
    assert await labels_over(store, NOW_MS + 501) == {"orphan", "kept"}
    assert len(await store.sites_over(NOW_MS + 501, limit=1)) == 1


async def labels_over(store: StateStore, before_ms: int) -> set[str]:
    """The labels, of those used here, whose sites are over."""
    hashes = {each.label_hash for each in await store.sites_over(before_ms, limit=10)}
    return {label for label in ("kept", "orphan") if hash_of(label) in hashes}
