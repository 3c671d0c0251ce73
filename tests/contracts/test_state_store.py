"""What every state store must do; each is put in as one more parameter of `backend`."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.errors import GatewayError, LeaseLostError
from gateway.events import Draft
from gateway.state.base import Append, StateStore, TaskQuery
from gateway.tasks import (
    Change,
    Changed,
    Desire,
    Fence,
    Outcome,
    TaskRecord,
    TaskStatus,
    claimed,
    completed,
    failed,
    lost,
    wish_cancel,
)
from tests.support.records import NOW_MS, fence_of, new_task, output, record
from tests.support.stores import Published, SqliteBackend

AMPLE = 1 << 30


@pytest.fixture(params=["sqlite"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> SqliteBackend:
    """Data of its own for each store."""
    return SqliteBackend(tmp_path)


@pytest.fixture
async def store(backend: SqliteBackend) -> AsyncIterator[StateStore]:
    """An open store without tasks."""
    async with backend.opened() as store:
        yield store


async def claim(store: StateStore, task_id: str, *, owner: str = "instance-1") -> TaskRecord:
    """The task, run by `owner` from now on."""
    return await store.change_task(
        task_id, lambda task: claimed(task, owner=owner, sandbox_id="sandbox-1", now_ms=NOW_MS)
    )


async def running(store: StateStore, **fields: Any) -> TaskRecord:
    """A new task that instance-1 runs."""
    created = await store.create_task(new_task(record(**fields)))
    return await claim(store, created.task.task_id)


async def seqs(store: StateStore, task_id: str, after_seq: int = 0) -> list[int]:
    """The numbers of a log."""
    page = await store.read_events(task_id, after_seq, max_events=10_000, max_bytes=AMPLE)
    return [event.seq for event in page.events]


async def code_of(asked: Any) -> str:
    """The code of the refusal of what was asked."""
    with pytest.raises(GatewayError) as caught:
        await asked
    return caught.value.code


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


async def test_create_forgets_a_key_after_a_day(store: StateStore, backend: SqliteBackend) -> None:
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


# --- change ---------------------------------------------------------------------------------------------


async def test_change_writes_fields_events_and_outcome_together(
    store: StateStore, backend: SqliteBackend
) -> None:
    """What a decision says is in row, log and outcome, and the row that is answered is that."""
    task = await running(store)
    backend.time.pass_s(1)
    done = await store.change_task(task.task_id, lambda row: completed(row, {"exit_code": 0}, now_ms=NOW_MS))
    assert done.status is TaskStatus.COMPLETED
    assert (done.last_seq, done.updated_at, done.owner) == (3, NOW_MS + 1000, None)
    assert await store.get_task(task.task_id) == done
    assert await store.get_outcome(task.task_id) == Outcome(result={"exit_code": 0})
    assert await seqs(store, task.task_id) == [1, 2, 3]


async def test_change_keeps_an_error_as_outcome(store: StateStore) -> None:
    """A failed task has an error and no result."""
    task = await running(store)
    await store.change_task(
        task.task_id, lambda row: failed(row, "timeout", "late", now_ms=NOW_MS, details={"reason": None})
    )
    error = {"code": "timeout", "message": "late", "details": {"reason": None}}
    assert await store.get_outcome(task.task_id) == Outcome(error=error)


async def test_change_that_raises_writes_nothing(store: StateStore) -> None:
    """What `decide` raises reaches its asker; row and log are as they were, nothing is published."""
    task = await running(store)
    published = Published(store)

    def decide(_row: TaskRecord) -> Change:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await store.change_task(task.task_id, decide)
    assert await store.get_task(task.task_id) == task
    assert await seqs(store, task.task_id) == [1, 2]
    assert published.seqs == []


async def test_change_to_nothing_is_no_write(store: StateStore, backend: SqliteBackend) -> None:
    """A decision that there is nothing to do leaves no trace."""
    task = await running(store)
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
    task = await running(store)
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
    task = await running(store)
    published = Published(store)
    await store.change_task(task.task_id, lambda row: lost(row, "sandbox_lost", now_ms=NOW_MS))
    assert [change.queued for commit in published.commits for change in commit.changed] == [True]


async def test_workflow_is_active_until_its_last_task_has_ended(store: StateStore) -> None:
    """An ended task lets the next one join its workflow again."""
    task = await running(store)
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
    task = await running(store)
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
    task = await running(store)
    published = Published(store)
    for fence in stale(fence_of(task)):
        with pytest.raises(LeaseLostError):
            await store.append(fence, Append([output("zombie")], {"progress": {"z": 1}}))
    assert await store.get_task(task.task_id) == task
    assert await seqs(store, task.task_id) == [1, 2]
    assert published.seqs == []


async def test_change_with_a_stale_fence_writes_nothing(store: StateStore) -> None:
    """The same holds for a fenced decision; it is not even asked."""
    task = await running(store)
    for fence in stale(fence_of(task)):
        if fence.task_id == task.task_id:
            with pytest.raises(LeaseLostError):
                await store.change_task(task.task_id, lambda _row: pytest.fail("was asked"), fence=fence)
    assert await store.get_task(task.task_id) == task


async def test_an_earlier_owner_can_write_no_more(store: StateStore) -> None:
    """After a takeover by the very same instance the old fence is worth nothing."""
    task = await running(store)
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


# --- the log --------------------------------------------------------------------------------------------


async def test_read_events_keeps_to_both_bounds(store: StateStore) -> None:
    """A page has no more events nor bytes than asked for, but one event; it says if it is the end."""
    task = await running(store)
    await store.append(fence_of(task), Append([output("x" * 100) for _ in range(6)]))
    whole = await store.read_events(task.task_id, 2, max_events=100, max_bytes=AMPLE)
    size = len(whole.events[0].frame)
    assert [len(event.frame) for event in whole.events] == [size] * 6

    async def read(after_seq: int, events: int, size_bytes: int) -> tuple[list[int], bool]:
        page = await store.read_events(task.task_id, after_seq, max_events=events, max_bytes=size_bytes)
        return [event.seq for event in page.events], page.at_end

    assert await read(2, 100, AMPLE) == ([3, 4, 5, 6, 7, 8], True)
    assert await read(2, 2, AMPLE) == ([3, 4], False)
    assert await read(2, 100, 3 * size) == ([3, 4, 5], False)
    assert await read(2, 100, 3 * size - 1) == ([3, 4], False)
    assert await read(2, 100, 0) == ([3], False)
    assert await read(8, 100, AMPLE) == ([], True)
    assert await read(99, 100, AMPLE) == ([], True)


async def test_read_events_says_when_a_log_is_complete(store: StateStore) -> None:
    """`complete` is said with an ended task's last event, or after it, and not before."""
    task = await running(store)

    async def complete(after_seq: int, events: int = 100) -> bool:
        page = await store.read_events(task.task_id, after_seq, max_events=events, max_bytes=AMPLE)
        return page.complete

    assert not await complete(0)
    assert not await complete(2)
    await store.change_task(task.task_id, lambda row: completed(row, {}, now_ms=NOW_MS))
    assert [await complete(after) for after in (0, 2, 3)] == [True, True, True]
    assert not await complete(0, events=2)
    page = await store.read_events("nobody", 0, max_events=1, max_bytes=1)
    assert (page.events, page.complete) == ([], False)


async def test_read_events_gives_the_published_bytes(store: StateStore) -> None:
    """What is read later is byte for byte what was published, kinds and the end mark included."""
    published = Published(store)
    task = await running(store)
    drafts = [output("ä\0\u2028"), Draft("progress", {"phase": "x", "status": "x", "progress": None})]
    await store.append(fence_of(task), Append(drafts))
    await store.change_task(task.task_id, lambda row: completed(row, {"a": 1}, now_ms=NOW_MS))
    live = [event for commit in published.commits for batch in commit.events for event in batch.events]
    page = await store.read_events(task.task_id, 0, max_events=100, max_bytes=AMPLE)
    assert list(page.events) == live
    assert [event.final for event in live] == [False, False, False, False, True]


# --- lists ----------------------------------------------------------------------------------------------


async def test_list_tasks_filters_by_every_field(store: StateStore) -> None:
    """Each condition narrows, several together narrow further, and none of them gives all."""
    one = await running(store, agent="a", session_id="s1", labels={"k": "v", "x": "y"})
    two = (await store.create_task(new_task(record(subject="bob", labels={"k": "w"})))).task
    three = (await store.create_task(new_task(record(labels={"v": "k"})))).task

    async def found(**query: Any) -> list[str]:
        return [task.task_id for task in await store.list_tasks(TaskQuery(**query))]

    assert await found() == [three.task_id, two.task_id, one.task_id]
    assert await found(subject="alice") == [three.task_id, one.task_id]
    assert await found(status="running") == [one.task_id]
    assert await found(agent="a") == [one.task_id]
    assert await found(session_id="s1") == [one.task_id]
    assert await found(workflow_id=two.workflow_id) == [two.task_id]
    assert await found(label=("k", "v")) == [one.task_id]
    assert await found(label=("k", "w"), subject="alice") == []
    assert await found(task_ids=frozenset([one.task_id, two.task_id, "nobody"])) == [two.task_id, one.task_id]
    assert await found(task_ids=frozenset()) == []


async def test_list_tasks_pages_without_gap_or_repeat(store: StateStore) -> None:
    """`before` goes on where a page ended, also while new tasks come."""
    for _ in range(7):
        await store.create_task(new_task())
    every = [task.task_id for task in await store.list_tasks(TaskQuery())]
    seen: list[str] = []
    while page := await store.list_tasks(TaskQuery(limit=3, before=seen[-1] if seen else None)):
        seen += [task.task_id for task in page]
        await store.create_task(new_task())
    assert seen == every
    assert every == sorted(every, reverse=True)


async def test_pending_tasks_are_each_subjects_first_few(store: StateStore) -> None:
    """Of every subject the same number, by priority, then age; what does not wait is not there."""
    for number in range(30):
        await store.create_task(new_task(record(subject="many", priority=number % 3)))
    lonely = (await store.create_task(new_task(record(subject="few")))).task
    await running(store)
    found = await store.pending_tasks(per_subject=4)
    assert [task for task in found if task.subject == "few"] == [lonely]
    many = [task for task in found if task.subject == "many"]
    assert len(found) == 5
    assert [task.priority for task in many] == [2] * 4
    assert [task.task_id for task in many] == sorted(task.task_id for task in many)


async def test_owned_tasks_are_those_that_run(store: StateStore) -> None:
    """Whoever takes up orphans sees every task with an owner, and no other."""
    first, second = await running(store), await running(store)
    await store.create_task(new_task())
    await store.change_task(first.task_id, lambda row: completed(row, {}, now_ms=NOW_MS))
    assert await store.owned_tasks() == [second]


# --- commits --------------------------------------------------------------------------------------------


async def test_commit_is_published_before_its_asker_is_answered(store: StateStore) -> None:
    """Persist, then publish, then answer."""
    order: list[str] = []
    store.on_commit = lambda commit: order.append("published")
    await store.create_task(new_task())
    order.append("answered")
    assert order == ["published", "answered"]


async def test_commits_publish_each_task_in_order(store: StateStore) -> None:
    """However writes gather, a task's events are published in the order of their numbers, each once."""
    published = Published(store)
    tasks = await asyncio.gather(*(running(store) for _ in range(10)))

    async def speak(task: TaskRecord) -> None:
        fence = fence_of(task)
        for number in range(10):
            fence = await store.append(fence, Append([output(str(number))]))

    await asyncio.gather(*map(speak, tasks))
    for task in tasks:
        assert [seq for task_id, seq in published.seqs if task_id == task.task_id] == list(range(1, 13))


async def test_failing_writes_leave_their_neighbours_alone(store: StateStore) -> None:
    """Of writes that may share a transaction each one stands or falls by itself."""
    task = await running(store)
    published = Published(store)

    def refuse(row: TaskRecord) -> Change:
        raise GatewayError("invalid_state", status=row.status)

    def broken(_row: TaskRecord) -> Change:
        return Change({}, [Draft("log", {"message": object()})])

    results = await asyncio.gather(
        store.create_task(new_task()),
        store.change_task(task.task_id, refuse),
        store.append(dataclasses.replace(fence_of(task), epoch=7), Append([output("zombie")])),
        store.change_task(task.task_id, broken),
        store.append(fence_of(task), Append([output("good")])),
        store.create_task(new_task()),
        return_exceptions=True,
    )
    kinds = [type(result).__name__ for result in results]
    assert kinds == ["Created", "GatewayError", "LeaseLostError", "TypeError", "Fence", "Created"]
    assert await seqs(store, task.task_id) == [1, 2, 3]
    assert sorted(published.seqs)[-1] == (published.seqs[-1][0], 1)
    assert len(published.seqs) == 3


async def test_write_of_an_asker_that_went_away_is_done_all_the_same(store: StateStore) -> None:
    """A cancelled asker neither undoes its write nor hurts those that share its transaction."""
    task = record()
    gone = asyncio.ensure_future(store.create_task(new_task(task)))
    stays = asyncio.ensure_future(store.create_task(new_task()))
    await asyncio.wait([gone], timeout=0)
    gone.cancel()
    await stays
    await store.create_task(new_task())
    assert gone.cancelled()
    assert await store.get_task(task.task_id) is not None


# --- over restarts --------------------------------------------------------------------------------------


async def test_reopening_keeps_everything(backend: SqliteBackend) -> None:
    """Rows, inputs, outcomes, logs, keys and the secret are there after a restart."""
    async with backend.opened() as store:
        done = await running(store)
        await store.append(fence_of(done), Append([output("x")], {"progress": {"p": 1}}))
        done = await store.change_task(done.task_id, lambda row: completed(row, {"r": 1}, now_ms=NOW_MS))
        waits = new_task(idempotency_key="k", fingerprint=b"f", input=b'{"i":1}')
        await store.create_task(waits)
        secret = await store.secret()
        log = await store.read_events(done.task_id, 0, max_events=100, max_bytes=AMPLE)
    async with backend.opened() as store:
        assert await store.get_task(done.task_id) == done
        assert await store.get_outcome(done.task_id) == Outcome(result={"r": 1})
        assert await store.read_events(done.task_id, 0, max_events=100, max_bytes=AMPLE) == log
        assert await store.get_input(waits.task.task_id) == b'{"i":1}'
        assert (await store.create_task(new_task(idempotency_key="k", fingerprint=b"f"))).replayed
        assert await store.secret() == secret


async def test_secret_is_one_per_store(store: StateStore) -> None:
    """32 bytes, the same however often and by however many it is asked for."""
    found = set(await asyncio.gather(*(store.secret() for _ in range(5))))
    assert [len(secret) for secret in found] == [32]


async def test_wish_stays_with_the_row(store: StateStore) -> None:
    """Who wished what and why is kept until it takes effect."""
    task = await running(store)
    await store.change_task(task.task_id, lambda row: wish_cancel(row, now_ms=NOW_MS, by="bob", reason="why"))
    row = await store.get_task(task.task_id)
    assert row is not None
    assert (row.desire, row.wish_by, row.wish_reason) == (Desire.CANCEL, "bob", "why")
    ended = await store.change_task(task.task_id, lambda found: lost(found, "instance_lost", now_ms=NOW_MS))
    assert ended.status is TaskStatus.CANCELLED
