"""What every state store must do with what ended tasks leave behind."""

import random
from typing import Any

import orjson
import pytest

from gateway.errors import GatewayError
from gateway.files import Batch, FileInfo, Piece
from gateway.sites import Site
from gateway.state.base import StateStore
from gateway.state.values import (
    Append,
    NewInput,
    NewTask,
    Retained,
    Retention,
    Usage,
)
from gateway.task_changes import cancelled, completed
from gateway.tasks import Changed, TaskRecord
from gateway.wishes import send_input
from gateway.workflow_record import WorkflowChange
from tests.support.records import NOW_MS, fence_of, new_task, output, record
from tests.support.stores import AMPLE, Backend, Published, claim, code_of, run, seqs

KNOWS_ITS_ROOM = pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
"""A server of its own has its own ways with free space, and says nothing of it: there, tasks go by their age alone."""
LOGS = Retention(logs_since_ms=NOW_MS + 1)
ALL = Retention(logs_since_ms=0, tasks_since_ms=NOW_MS + 1)


async def ended(store: StateStore, *, events: int = 3, **asked: Any) -> TaskRecord:
    """A task that has ended now, with so many events of output."""
    created = await store.create_task(new_task(record(takes_input=True), **asked))
    task = await claim(store, created.task.task_id)
    await store.add_input(task.task_id, NewInput(b'"x"', key="k"), lambda row: send_input(row, 1))
    await store.append(fence_of(task), Append([output(f"{n}") for n in range(events)]))
    return await store.change_task(task.task_id, lambda row: completed(row, {"r": 1}, now_ms=NOW_MS))


async def weighty(store: StateStore, set_id: str, **asked: Any) -> TaskRecord:
    """A task with a file of 200 KiB that has ended now."""
    await store.add_files(set_id, Batch([Piece(0, 0, bytes(200 << 10))], []))
    return await ended(store, files=set_id, **asked)


async def ids(store: StateStore, *tasks: TaskRecord) -> list[bool]:
    """Which of the tasks are there."""
    return [await store.get_task(task.task_id) is not None for task in tasks]


async def test_trimmed_log_is_its_last_event(store: StateStore) -> None:
    """Numbers stay what they were, the row says where the log begins, and nobody is told of anything."""
    task = await ended(store)
    published = Published(store)
    assert await store.retain(LOGS) == Retained(trimmed=1, forgotten=0)
    row = await store.get_task(task.task_id)
    assert row is not None
    assert (row.first_seq, row.last_seq) == (task.last_seq, task.last_seq)
    page = await store.read_events(task.task_id, 0, max_events=10, max_bytes=AMPLE)
    assert [event.seq for event in page.events] == [task.last_seq]
    assert orjson.loads(page.events[0].frame)["data"]["result"] == {"r": 1}
    assert (page.at_end, page.complete) == (True, True)
    assert (await store.get_outcome(task.task_id)).result == {"r": 1}
    assert await store.read_input(task.task_id, 0, max_bytes=AMPLE) == []
    assert published.commits == [] or all(not commit.events for commit in published.commits)


async def test_trim_leaves_what_is_younger_or_goes_on(store: StateStore, backend: Backend) -> None:
    """Only logs of tasks that ended before then are trimmed, and those once."""
    old = await ended(store)
    backend.time.pass_s(0.01)
    young = await ended(store)
    goes_on = await run(store)
    rule = Retention(logs_since_ms=NOW_MS + 10)
    assert await store.retain(rule) == Retained(trimmed=1, forgotten=0)
    assert await store.retain(rule) == Retained(trimmed=0, forgotten=0)
    assert await seqs(store, old.task_id) == [old.last_seq]
    assert await seqs(store, young.task_id) == list(range(1, young.last_seq + 1))
    assert await seqs(store, goes_on.task_id) == [1, 2]


async def test_long_log_is_trimmed_whole(store: StateStore) -> None:
    """However many transactions that takes, for the number of its events or for their size."""
    many = await ended(store, events=1200)
    large = await run(store)
    await store.append(fence_of(large), Append([output("x" * 60_000) for _ in range(200)]))
    large = await store.change_task(large.task_id, lambda row: completed(row, {}, now_ms=NOW_MS))
    published = Published(store)
    assert await store.retain(LOGS) == Retained(trimmed=2, forgotten=0)
    assert len(published.commits) > 5
    assert await seqs(store, many.task_id) == [many.last_seq]
    assert await seqs(store, large.task_id) == [large.last_seq]


async def test_old_task_goes_whole(store: StateStore, backend: Backend) -> None:
    """With its files, as if it had been deleted: whoever watches tasks is told, and its log is gone."""
    await store.add_files("set-1", Batch([Piece(0, 0, b"x")], []))
    old = await ended(store, files="set-1", idempotency_key="k", fingerprint=b"f")
    backend.time.pass_s(0.001)
    young, goes_on = await ended(store), await run(store)
    published = Published(store)
    assert await store.retain(ALL) == Retained(trimmed=0, forgotten=1)
    assert await ids(store, old, young, goes_on) == [False, True, True]
    assert Changed(old.task_id, "alice", removed=True) in [
        c for commit in published.commits for c in commit.changed
    ]
    page = await store.read_events(old.task_id, 2, max_events=10, max_bytes=10)
    assert (list(page.events), page.complete, page.gone) == ([], True, True)
    assert await store.find_files(old.task_id) is None
    assert await store.read_files("set-1", max_bytes=10) == []
    assert await store.get_input(old.task_id) == b"{}"
    again = new_task(idempotency_key="k", fingerprint=b"f")
    assert await code_of(store.create_task(again)) == "task_not_found"


async def test_workflow_goes_with_its_last_task(store: StateStore, backend: Backend) -> None:
    """One that has another task stays, and one that was changed since."""

    def join(task: TaskRecord) -> NewTask:
        return new_task(record(workflow_id=task.workflow_id), names_workflow=True)

    alone, shared, changed = [await ended(store) for _ in range(3)]
    await store.create_task(join(shared))
    backend.time.pass_s(1)
    await store.change_workflow(changed.workflow_id, lambda _row: WorkflowChange({"metadata": {"since": 1}}))
    await store.retain(Retention(0, tasks_since_ms=NOW_MS + 1000))
    assert await ids(store, alone, shared, changed) == [False, False, False]
    assert await code_of(store.create_task(join(alone))) == "workflow_not_found"
    await store.create_task(join(shared))
    await store.create_task(join(changed))


@KNOWS_ITS_ROOM
async def test_full_store_lets_go_of_the_oldest(store: StateStore, backend: Backend) -> None:
    """Only of as many as it must, of none that has just ended, and of none that goes on."""
    tasks: list[TaskRecord] = []
    for n in range(5):
        tasks.append(await weighty(store, f"set-{n}"))
        backend.time.pass_s(0.001)
    goes_on = await run(store)
    size = await store.size()
    rule = Retention(0, max_bytes=size.total - size.free - (300 << 10), settled_before_ms=NOW_MS + 4)
    assert await store.retain(rule) == Retained(trimmed=0, forgotten=2)
    assert await ids(store, *tasks, goes_on) == [False, False, True, True, True, True]
    assert await store.retain(rule) == Retained(trimmed=0, forgotten=0)
    everything = Retention(0, max_bytes=1, settled_before_ms=NOW_MS + 4)
    assert await store.retain(everything) == Retained(trimmed=0, forgotten=2)
    assert await ids(store, *tasks, goes_on) == [False, False, False, False, True, True]


@KNOWS_ITS_ROOM
async def test_full_store_keeps_the_row_that_a_key_still_names(store: StateStore) -> None:
    """Else a repeat of the submit would be run once more; it goes with its key."""
    key: dict[str, Any] = {"idempotency_key": "k", "fingerprint": b"f"}
    task = await weighty(store, "set-1", **key)
    rule = Retention(0, max_bytes=1, settled_before_ms=NOW_MS + 1)
    assert await store.retain(rule) == Retained(trimmed=1, forgotten=0)
    assert await seqs(store, task.task_id) == [task.last_seq]
    assert await store.read_files("set-1", max_bytes=10) == []
    assert (await store.create_task(new_task(**key))).task.task_id == task.task_id
    rule = Retention(0, max_bytes=1, settled_before_ms=NOW_MS + 1, keys_since_ms=NOW_MS + 1)
    await store.retain(rule)
    assert await store.retain(rule) == Retained(trimmed=0, forgotten=0)
    assert await store.get_task(task.task_id) is None


@KNOWS_ITS_ROOM
async def test_full_store_keeps_a_task_whose_site_stands(store: StateStore) -> None:
    """Somebody may look at it."""
    task = await ended(store)
    where: dict[str, Any] = {"sandbox_id": "sandbox-1", "boot_id": "boot", "host": None, "port": 80}
    label = b"h" * 32
    await store.add_site(
        Site(label_hash=label, task_id=task.task_id, session_id="s", used_at=NOW_MS, **where)
    )
    rule = Retention(0, max_bytes=1, settled_before_ms=NOW_MS + 1)
    assert await store.retain(rule) == Retained(trimmed=0, forgotten=0)
    await store.remove_site(label)
    assert await store.retain(rule) == Retained(trimmed=0, forgotten=1)


async def test_long_log_is_deleted_whole(store: StateStore) -> None:
    """However many transactions that takes; what its check raises is raised before any."""
    task = await ended(store, events=1200)

    def refuse(_task: TaskRecord) -> None:
        raise GatewayError("invalid_state")

    assert await code_of(store.delete_task(task.task_id, refuse)) == "invalid_state"
    assert await seqs(store, task.task_id) == list(range(1, task.last_seq + 1))
    await store.delete_task(task.task_id, lambda _task: None)
    assert await ids(store, task) == [False]
    assert await seqs(store, task.task_id) == []


@KNOWS_ITS_ROOM
async def test_space_is_given_back(store: StateStore) -> None:
    """The store grows with what is kept, and is small again once it is not, but for some room for what comes."""
    before = await store.size()
    task = await run(store)
    fence = fence_of(task)
    for _ in range(30):
        texts = (random.Random(n).randbytes(30_000).hex() for n in range(20))  # that can't be made smaller
        fence = await store.append(fence, Append([output(text) for text in texts]))
    full = await store.size()
    assert full.total > before.total + (30 << 20)
    await store.change_task(task.task_id, lambda row: completed(row, {}, now_ms=NOW_MS))
    await store.retain(ALL)
    after = await store.size()
    assert after.total < before.total + (18 << 20)
    assert after.free < 17 << 20


async def test_what_a_subject_has_is_weighed(store: StateStore) -> None:
    """Its input counts from the submit, log, outcome, files and what was sent from the end; what is trimmed or deleted
    no more; nothing of another subject's. Of tasks, those that wait count."""
    assert await store.usage("alice") == Usage(0, 0)
    waits = await store.create_task(new_task(record(), input=b'"' + b"i" * 998 + b'"'))
    assert await store.usage("alice") == Usage(1, 1000)
    sha256 = "0" * 64
    await store.add_files("f", Batch([Piece(0, 0, bytes(50_000))], [FileInfo("a", 50_000, sha256, 0)]))
    await store.create_task(new_task(record(), input=b"{}", files="f"))
    queued, stored_bytes = 2, 1000 + 2 + 50_000
    seen = await store.usage("alice")
    assert seen.queued == queued
    assert stored_bytes <= seen.stored_bytes < stored_bytes + 1000  # its first event may count with its files
    whole = await ended(store, events=30)
    with_log = (await store.usage("alice")).stored_bytes
    assert with_log > seen.stored_bytes + 30 * 100
    await store.retain(LOGS)
    trimmed = (await store.usage("alice")).stored_bytes
    assert seen.stored_bytes < trimmed < with_log - 29 * 100
    await store.delete_task(whole.task_id, lambda _: None)
    assert await store.usage("alice") == seen
    await store.change_task(waits.task.task_id, lambda row: cancelled(row, now_ms=NOW_MS))
    assert (await store.usage("alice")).queued == 1
    assert await store.usage("bob") == Usage(0, 0)
