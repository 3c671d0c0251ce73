"""What every state store must do: submits, changes, fences. See `test_state_store_log` for the rest."""

import asyncio
import dataclasses

import orjson
import pytest

from gateway.errors import GatewayError, LeaseLostError
from gateway.state.base import StateStore
from gateway.state.values import Append, NewInput, TaskQuery
from gateway.task_changes import (
    Change,
    completed,
    failed,
    lost,
)
from gateway.tasks import (
    Changed,
    Fence,
    Outcome,
    TaskRecord,
    TaskStatus,
)
from gateway.wishes import wish_cancel
from tests.support.records import NOW_MS, fence_of, new_task, output, record
from tests.support.stores import AMPLE, Backend, Published, claim, code_of, run, seqs

# --- create ---------------------------------------------------------------------------------------------


async def test_create_writes_the_row_the_input_and_seq_1(store: StateStore) -> None:
    """A submit is a row, its input, and the first event of its log, in one commit that is published."""
    published = Published(store)
    task = record(labels={"k": "v"}, priority=-3)
    created = await store.create_task(new_task(task, input=b'{"commands":["x"]}'))
    assert created.task == dataclasses.replace(task, last_seq=1)
    assert not created.replayed
    assert await store.get_task(task.task_id) == created.task
    assert await store.get_input(task.task_id) == b'{"commands":["x"]}'
    assert await store.get_outcome(task.task_id) == Outcome()
    page = await store.read_events(task.task_id, 0, max_events=10, max_bytes=AMPLE)
    (event,) = page.events
    assert orjson.loads(event.frame)["data"] == {"status": "pending", "previous": None, "attempt": 0}
    (commit,) = published.commits
    assert commit.changed == (Changed(task.task_id, "alice", queued=True),)
    assert [batch.events[0].frame for batch in commit.events] == [event.frame]


async def test_create_with_a_known_key_gives_the_same_task(store: StateStore) -> None:
    """A repeat of a submit makes nothing, publishes nothing, and answers with the task as it is now."""
    first = new_task(idempotency_key="k", fingerprint=b"f")
    created = await store.create_task(first)
    now = await claim(store, created.task.task_id)
    published = Published(store)
    again = await store.create_task(new_task(idempotency_key="k", fingerprint=b"f"))
    assert again.replayed
    assert again.task == now
    assert published.seqs == []
    assert len(await store.list_tasks(TaskQuery())) == 1


async def test_create_with_a_known_key_and_another_body_is_a_conflict(store: StateStore) -> None:
    """One key is for one body."""
    await store.create_task(new_task(idempotency_key="k", fingerprint=b"f"))
    other = new_task(idempotency_key="k", fingerprint=b"g")
    assert await code_of(store.create_task(other)) == "idempotency_conflict"
    assert len(await store.list_tasks(TaskQuery())) == 1


async def test_create_keeps_the_keys_of_subjects_apart(store: StateStore) -> None:
    """A key belongs to its subject."""
    await store.create_task(new_task(idempotency_key="k", fingerprint=b"f"))
    bobs = await store.create_task(new_task(record(subject="bob"), idempotency_key="k", fingerprint=b"g"))
    assert not bobs.replayed


async def test_create_forgets_a_key_after_a_day(store: StateStore, backend: Backend) -> None:
    """Keys are kept 24 h, not less, and then they are free."""
    await store.create_task(new_task(idempotency_key="k", fingerprint=b"f"))
    backend.time.pass_s(24 * 3600)
    assert (await store.create_task(new_task(idempotency_key="k", fingerprint=b"f"))).replayed
    backend.time.pass_s(1)
    assert not (await store.create_task(new_task(idempotency_key="k", fingerprint=b"f"))).replayed


async def test_create_of_the_same_key_at_once_makes_one_task(store: StateStore) -> None:
    """However many submits race with one key, one begins a task and the others get it."""
    asked = [store.create_task(new_task(idempotency_key="k", fingerprint=b"f")) for _ in range(20)]
    created = await asyncio.gather(*asked)
    assert sorted(one.replayed for one in created) == [False] + [True] * 19
    assert len({one.task.task_id for one in created}) == 1


async def test_create_in_a_named_workflow_needs_one_of_the_subjects(store: StateStore) -> None:
    """A named workflow must exist and be the subject's own; a refused submit leaves its key unused."""
    first = await store.create_task(new_task())
    flow = first.task.workflow_id
    joined = await store.create_task(new_task(record(workflow_id=flow), names_workflow=True))
    assert joined.task.workflow_id == flow
    for task in (record(workflow_id="nowhere"), record(subject="bob", workflow_id=flow)):
        refused = new_task(task, names_workflow=True, idempotency_key="k", fingerprint=b"f")
        assert await code_of(store.create_task(refused)) == "workflow_not_found"
        assert await store.get_task(task.task_id) is None
        assert await seqs(store, task.task_id) == []
    assert not (await store.create_task(new_task(idempotency_key="k", fingerprint=b"f"))).replayed


async def test_text_of_every_character_is_kept_as_it_is(store: StateStore) -> None:
    """Whatever JSON can say in a field that a client fills is kept and found, U+0000 included."""
    odd = "a\0b\uf8ff\uf8ff0\\0\u2028é\U0001f600"
    task = record(subject=odd, session_id=odd, agent=odd, labels={odd: odd, "k": "a"})
    new = new_task(task, input=orjson.dumps({"task": odd}), idempotency_key=odd, fingerprint=b"\0f")
    created = (await store.create_task(new)).task
    assert (await store.create_task(new)).replayed
    assert created == await store.get_task(task.task_id)
    await store.add_input(
        task.task_id, NewInput(orjson.dumps(odd), key=odd), lambda _row: Change({"inputs": 1})
    )
    (sent,) = await store.read_input(task.task_id, 0, max_bytes=AMPLE)
    assert (orjson.loads(sent.data), sent.key) == (odd, odd)
    owned = await claim(store, task.task_id, owner=odd)
    await store.append(fence_of(owned), Append([output(odd)], {"progress": {odd: odd}}))
    wished = await store.change_task(
        task.task_id, lambda row: wish_cancel(row, now_ms=NOW_MS, by=odd, reason=odd)
    )
    assert (wished.wish_by, wished.wish_reason, wished.progress) == (odd, odd, {odd: odd})
    asked = TaskQuery(subject=odd, session_id=odd, agent=odd, label=(odd, odd))
    assert await store.list_tasks(asked) == [wished]
    assert await store.list_tasks(TaskQuery(label=(odd, odd.replace("\0", "")))) == []


# --- change ---------------------------------------------------------------------------------------------


async def test_change_writes_fields_events_and_outcome_together(store: StateStore, backend: Backend) -> None:
    """What a decision says is in row, log and outcome, all of one moment, and the row that is answered is that."""
    task = await run(store)
    backend.time.pass_s(1)
    done = await store.change_task(task.task_id, lambda row: completed(row, {"exit_code": 0}, now_ms=NOW_MS))
    assert done.status is TaskStatus.COMPLETED
    assert (done.last_seq, done.updated_at, done.owner) == (3, NOW_MS + 1000, None)
    assert (done.started_at, done.ended_at) == (task.started_at, done.updated_at)
    assert await store.get_task(task.task_id) == done
    assert await store.get_outcome(task.task_id) == Outcome(result={"exit_code": 0})
    assert await seqs(store, task.task_id) == [1, 2, 3]


async def test_change_keeps_an_error_as_outcome(store: StateStore) -> None:
    """A failed task has an error and no result."""
    task = await run(store)
    await store.change_task(
        task.task_id, lambda row: failed(row, "timeout", "late", now_ms=NOW_MS, details={"reason": None})
    )
    error = {"code": "timeout", "message": "late", "details": {"reason": None}}
    assert await store.get_outcome(task.task_id) == Outcome(error=error)


async def test_change_that_raises_writes_nothing(store: StateStore) -> None:
    """What `decide` raises reaches its asker; row and log are as they were, nothing is published."""
    task = await run(store)
    published = Published(store)

    def decide(_row: TaskRecord) -> Change:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await store.change_task(task.task_id, decide)
    assert await store.get_task(task.task_id) == task
    assert await seqs(store, task.task_id) == [1, 2]
    assert published.seqs == []


async def test_change_to_nothing_is_no_write(store: StateStore, backend: Backend) -> None:
    """A decision that there is nothing to do leaves no trace."""
    task = await run(store)
    published = Published(store)
    backend.time.pass_s(1)
    assert await store.change_task(task.task_id, lambda _row: Change()) == task
    assert published.seqs == []
    assert all(not commit.changed for commit in published.commits)


async def test_change_of_an_unknown_task_is_not_found(store: StateStore) -> None:
    """There is nothing to decide on."""
    assert await code_of(store.change_task("nobody", lambda _row: Change())) == "task_not_found"
    assert await store.get_task("nobody") is None
    assert await store.get_outcome("nobody") == Outcome()


async def test_change_by_others_rings_the_owner(store: StateStore) -> None:
    """A wish on an owned task tells whom to ring; the owner's own writes ring nobody."""
    task = await run(store)
    published = Published(store)
    await store.change_task(task.task_id, lambda row: wish_cancel(row, now_ms=NOW_MS, by="alice"))
    await store.change_task(
        task.task_id, lambda _row: Change({"progress": {"phase": "x"}}), fence=fence_of(task)
    )
    changed = [change for commit in published.commits for change in commit.changed]
    assert [change.ring for change in changed] == ["instance-1", None]
    assert not any(change.queued for change in changed)


async def test_change_back_to_pending_rings_the_queue(store: StateStore) -> None:
    """A task that waits again is announced as such."""
    task = await run(store)
    published = Published(store)
    await store.change_task(task.task_id, lambda row: lost(row, "sandbox_lost", now_ms=NOW_MS))
    assert [change.queued for commit in published.commits for change in commit.changed] == [True]


async def test_workflow_is_active_until_its_last_task_has_ended(store: StateStore) -> None:
    """An ended task lets the next one join its workflow again."""
    task = await run(store)
    await store.change_task(task.task_id, lambda row: completed(row, {}, now_ms=NOW_MS))
    again = await store.create_task(new_task(record(workflow_id=task.workflow_id), names_workflow=True))
    assert [found.task_id for found in await store.list_tasks(TaskQuery(workflow_id=task.workflow_id))] == [
        again.task.task_id,
        task.task_id,
    ]


# --- fences ---------------------------------------------------------------------------------------------


def stale(fence: Fence) -> list[Fence]:
    """Fences that differ from a good one in what must hold."""
    return [
        dataclasses.replace(fence, owner="instance-2"),
        dataclasses.replace(fence, epoch=fence.epoch - 1),
        dataclasses.replace(fence, epoch=fence.epoch + 1),
        dataclasses.replace(fence, last_seq=fence.last_seq - 1),
        dataclasses.replace(fence, last_seq=fence.last_seq + 1),
        dataclasses.replace(fence, task_id="nobody"),
    ]


async def test_append_numbers_on_and_gives_the_next_fence(store: StateStore) -> None:
    """Appended events follow the log; the fence that comes back is good for the next append."""
    published = Published(store)
    task = await run(store)
    fence = await store.append(fence_of(task), Append([output("a"), output("b")], {"progress": {"p": 1}}))
    assert fence == dataclasses.replace(fence_of(task), last_seq=4)
    fence = await store.append(fence, Append([output("c")]))
    row = await store.get_task(task.task_id)
    assert row is not None
    assert (row.last_seq, row.progress) == (5, {"p": 1})
    assert await seqs(store, task.task_id) == [1, 2, 3, 4, 5]
    assert published.seqs == [(task.task_id, seq) for seq in range(1, 6)]


async def test_append_with_a_stale_fence_writes_nothing(store: StateStore) -> None:
    """Another owner, epoch or last seq: the write is refused, whole."""
    task = await run(store)
    published = Published(store)
    for fence in stale(fence_of(task)):
        with pytest.raises(LeaseLostError):
            await store.append(fence, Append([output("zombie")], {"progress": {"z": 1}}))
    assert await store.get_task(task.task_id) == task
    assert await seqs(store, task.task_id) == [1, 2]
    assert published.seqs == []


async def test_change_with_a_stale_fence_writes_nothing(store: StateStore) -> None:
    """The same holds for a fenced decision; it is not even asked."""
    task = await run(store)
    for fence in stale(fence_of(task)):
        if fence.task_id == task.task_id:
            with pytest.raises(LeaseLostError):
                await store.change_task(task.task_id, lambda _row: pytest.fail("was asked"), fence=fence)
    assert await store.get_task(task.task_id) == task


async def test_an_earlier_owner_can_write_no_more(store: StateStore) -> None:
    """After a takeover by the very same instance the old fence is worth nothing."""
    task = await run(store)
    await store.change_task(task.task_id, lambda row: lost(row, "sandbox_lost", now_ms=NOW_MS))
    with pytest.raises(LeaseLostError):
        await store.append(fence_of(task), Append([output("zombie")]))
    second = await claim(store, task.task_id)
    old = dataclasses.replace(fence_of(second), epoch=task.epoch)
    with pytest.raises(LeaseLostError):
        await store.append(old, Append([output("zombie")]))
    assert (await store.append(fence_of(second), Append([output("x")]))).last_seq == 5


async def test_only_one_of_many_claims_gets_the_task(store: StateStore) -> None:
    """However many instances reach for a task at once, one has it."""
    created = await store.create_task(new_task())
    asked = [claim(store, created.task.task_id, owner=f"instance-{n}") for n in range(10)]
    results = await asyncio.gather(*asked, return_exceptions=True)
    (owned,) = [result for result in results if isinstance(result, TaskRecord)]
    refusals = [result for result in results if isinstance(result, GatewayError)]
    assert [refusal.code for refusal in refusals] == ["invalid_state"] * 9
    assert (await store.get_task(owned.task_id)) == owned


async def test_check_is_a_write_like_any_other(store: StateStore) -> None:
    """It publishes nothing, changes no task, and can be made again and again."""
    published = Published(store)
    task = (await store.create_task(new_task())).task
    await store.check()
    await store.check()
    assert published.seqs == [(task.task_id, 1)]
    assert await store.get_task(task.task_id) == task
