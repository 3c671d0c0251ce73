"""What every state store must do with logs that need not be kept whole any more."""

import orjson

from gateway.state.base import Append, NewInput, StateStore
from gateway.tasks import TaskRecord, completed
from gateway.wishes import send_input
from tests.support.records import NOW_MS, fence_of, output
from tests.support.stores import AMPLE, Published, run, seqs


async def ended(store: StateStore, *, at_ms: int, events: int = 3) -> TaskRecord:
    """A task that ended then, with so many events of output."""
    task = await run(store, takes_input=True)
    await store.add_input(task.task_id, NewInput(b'"x"', key="k"), lambda row: send_input(row, 1))
    await store.append(fence_of(task), Append([output(f"{n}") for n in range(events)]))
    return await store.change_task(task.task_id, lambda row: completed(row, {"r": 1}, now_ms=at_ms))


async def test_trimmed_log_is_its_last_event(store: StateStore) -> None:
    """Numbers stay what they were, the row says where the log begins, and nobody is told of anything."""
    task = await ended(store, at_ms=NOW_MS)
    published = Published(store)
    assert await store.trim_logs(ended_before_ms=NOW_MS + 1) == 1
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


async def test_trim_leaves_what_is_younger_or_goes_on(store: StateStore) -> None:
    """Only logs of tasks that ended before then are trimmed, and those once."""
    old, young = await ended(store, at_ms=NOW_MS), await ended(store, at_ms=NOW_MS + 10)
    goes_on = await run(store)
    assert await store.trim_logs(ended_before_ms=NOW_MS + 10) == 1
    assert await store.trim_logs(ended_before_ms=NOW_MS + 10) == 0
    assert await seqs(store, old.task_id) == [old.last_seq]
    assert await seqs(store, young.task_id) == list(range(1, young.last_seq + 1))
    assert await seqs(store, goes_on.task_id) == [1, 2]


async def test_long_log_is_trimmed_whole(store: StateStore) -> None:
    """However many transactions that takes."""
    task = await ended(store, at_ms=NOW_MS, events=1200)
    assert await store.trim_logs(ended_before_ms=NOW_MS + 1) == 1
    assert await seqs(store, task.task_id) == [task.last_seq]


async def test_size_grows_with_what_is_kept(store: StateStore) -> None:
    """It is told in bytes."""
    before = await store.size_bytes()
    task = await run(store)
    await store.append(fence_of(task), Append([output("x" * 60_000) for _ in range(10)]))
    assert await store.size_bytes() > before + 500_000 > 500_000
