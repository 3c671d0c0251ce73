"""What every state store must do: the log, lists, commits, restarts. See `test_state_store` for writes."""

import asyncio
import dataclasses
from functools import partial
from typing import Any

from gateway.errors import GatewayError
from gateway.events import Draft
from gateway.state.base import StateStore
from gateway.state.values import Append, TaskQuery
from gateway.task_changes import Change, completed, lost
from gateway.tasks import (
    TO_RUN,
    Desire,
    Outcome,
    TaskRecord,
    TaskStatus,
)
from gateway.wishes import wish_cancel
from tests.support.records import NOW_MS, fence_of, new_task, output, record
from tests.support.stores import AMPLE, Backend, Published, run, seqs

# --- the log --------------------------------------------------------------------------------------------


async def test_read_events_keeps_to_both_bounds(store: StateStore) -> None:
    """A page has no more events nor bytes than asked for, but one event; it says if it is the end."""
    task = await run(store)
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


async def test_heads_are_those_of_the_tasks_that_are_there(store: StateStore) -> None:
    """The last seq of each, and nothing of what isn't asked for or isn't there."""
    one, other, _ = [await run(store) for _ in range(3)]
    await store.append(fence_of(other), Append([output("x")]))
    asked = [one.task_id, other.task_id, "nobody", "no\0body"]
    assert await store.heads(asked) == {one.task_id: 2, other.task_id: 3}
    assert await store.heads([]) == {}


def _changed(change: Change, _task: TaskRecord) -> Change:
    return change


async def test_what_is_wished_is_what_the_rows_say(store: StateStore) -> None:
    """Desire, inputs and terminal of each of an owner's of which more is wanted than to run."""
    tty = {"rows": 24, "cols": 80}
    wishes: list[tuple[Desire, int, dict[str, Any] | None]] = [
        (Desire.RUN, 0, None),
        (Desire.PAUSE, 2, tty),
        (Desire.CANCEL, 0, None),
        (Desire.RUN, 1, None),
        (Desire.RUN, 0, tty),
    ]
    tasks = [await run(store) for _ in wishes]
    others = await run(store)
    for task, (desire, inputs, size) in zip([*tasks, others], [*wishes, wishes[1]], strict=True):
        owner = "no\0body" if task is others else task.owner
        change = Change({"desire": desire, "inputs": inputs, "tty": size, "owner": owner}, [])
        await store.change_task(task.task_id, partial(_changed, change))
    more = {task.task_id: wish for task, wish in zip(tasks, wishes, strict=True) if wish != TO_RUN}
    assert len(more) == 4
    assert await store.wished(tasks[0].owner or "") == more
    assert await store.wished("no\0body") == {others.task_id: wishes[1]}
    assert await store.wished("nobody") == {}


async def test_read_events_says_when_a_log_is_complete(store: StateStore) -> None:
    """`complete` is said with an ended task's last event, or after it, and not before; and of what is not there."""
    task = await run(store)

    async def complete(after_seq: int, events: int = 100) -> bool:
        page = await store.read_events(task.task_id, after_seq, max_events=events, max_bytes=AMPLE)
        return page.complete

    assert not await complete(0)
    assert not await complete(2)
    await store.change_task(task.task_id, lambda row: completed(row, {}, now_ms=NOW_MS))
    assert [await complete(after) for after in (0, 2, 3)] == [True, True, True]
    assert not await complete(0, events=2)
    page = await store.read_events("nobody", 0, max_events=1, max_bytes=1)
    assert (page.events, page.complete) == ([], True)


async def test_read_events_gives_the_published_bytes(store: StateStore) -> None:
    """What is read later is byte for byte what was published, kinds and the end mark included."""
    published = Published(store)
    task = await run(store)
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
    one = await run(store, agent="a", session_id="s1", labels={"k": "v", "x": "y"})
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
    await run(store)
    found = await store.pending_tasks(per_subject=4)
    assert [task for task in found if task.subject == "few"] == [lonely]
    many = [task for task in found if task.subject == "many"]
    assert len(found) == 5
    assert [task.priority for task in many] == [2] * 4
    assert [task.task_id for task in many] == sorted(task.task_id for task in many)


async def test_owned_tasks_are_those_that_run(store: StateStore) -> None:
    """Whoever takes up orphans sees every task with an owner, and no other."""
    first, second = await run(store), await run(store)
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
    tasks = await asyncio.gather(*(run(store) for _ in range(10)))

    async def speak(task: TaskRecord) -> None:
        fence = fence_of(task)
        for number in range(10):
            fence = await store.append(fence, Append([output(str(number))]))

    await asyncio.gather(*map(speak, tasks))
    for task in tasks:
        assert [seq for task_id, seq in published.seqs if task_id == task.task_id] == list(range(1, 13))


async def test_failing_writes_leave_their_neighbours_alone(store: StateStore) -> None:
    """Of writes that may share a transaction each one stands or falls by itself."""
    task = await run(store)
    published = Published(store)

    def refuse(row: TaskRecord) -> Change:
        raise GatewayError("invalid_state", status=row.status)

    def broken(_row: TaskRecord) -> Change:
        return Change({}, [Draft("log", {"message": object()})])

    def broken_late(_row: TaskRecord) -> Change:
        return Change({}, [output("half")], Outcome(result={"x": object()}))

    results = await asyncio.gather(
        store.create_task(new_task()),
        store.change_task(task.task_id, broken_late),
        store.change_task(task.task_id, refuse),
        store.append(dataclasses.replace(fence_of(task), epoch=7), Append([output("zombie")])),
        store.change_task(task.task_id, broken),
        store.append(fence_of(task), Append([output("good")])),
        store.create_task(new_task()),
        return_exceptions=True,
    )
    kinds = [type(result).__name__ for result in results]
    assert kinds == [
        "Created",
        "TypeError",
        "GatewayError",
        "LeaseLostError",
        "TypeError",
        "Fence",
        "Created",
    ]
    assert await seqs(store, task.task_id) == [1, 2, 3]
    assert sorted(seq for _, seq in published.seqs) == [1, 1, 3]


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


async def test_reopening_keeps_everything(backend: Backend) -> None:
    """Rows, inputs, outcomes, logs, keys and the secret are there after a restart."""
    async with backend.opened() as store:
        done = await run(store)
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
    task = await run(store)
    await store.change_task(task.task_id, lambda row: wish_cancel(row, now_ms=NOW_MS, by="bob", reason="why"))
    row = await store.get_task(task.task_id)
    assert row is not None
    assert (row.desire, row.wish_by, row.wish_reason) == (Desire.CANCEL, "bob", "why")
    ended = await store.change_task(task.task_id, lambda found: lost(found, "instance_lost", now_ms=NOW_MS))
    assert ended.status is TaskStatus.CANCELLED
