"""What every state store must do with what a task is sent while it runs."""

import asyncio
from functools import partial

from gateway.state.base import StateStore
from gateway.state.values import NewInput, StoredInput
from gateway.task_changes import Change, completed
from gateway.tasks import TaskRecord
from gateway.wishes import send_input, watcher_came
from tests.support.records import NOW_MS, new_task, record
from tests.support.stores import AMPLE, Backend, Published, code_of, run


def three_bytes(task: TaskRecord) -> Change:
    """What a decision says that counts three bytes."""
    return send_input(task, 3)


async def send(store: StateStore, task_id: str, text: str, *, key: str | None = None) -> TaskRecord:
    """Send the task text of three bytes."""
    return await store.add_input(task_id, NewInput(f'"{text}"'.encode(), key=key), three_bytes)


async def sent(store: StateStore, task_id: str, after_n: int = 0, max_bytes: int = AMPLE) -> list[bytes]:
    """What the task was sent."""
    return [item.data for item in await store.read_input(task_id, after_n, max_bytes=max_bytes)]


async def test_input_is_kept_in_order_and_rings_the_owner(store: StateStore) -> None:
    """Each has the next number; who owns the task hears that there is something, and no event tells of it."""
    task = await run(store, takes_input=True)
    published = Published(store)
    await send(store, task.task_id, "abc")
    row = await store.add_input(task.task_id, NewInput(b"null", eof=True), three_bytes)
    assert (row.inputs, row.input_bytes, row.last_seq) == (2, 6, task.last_seq)
    assert await store.read_input(task.task_id, 0, max_bytes=AMPLE) == [
        StoredInput(1, b'"abc"'),
        StoredInput(2, b"null", eof=True),
    ]
    changed = [changed for commit in published.commits for changed in commit.changed]
    assert [one.ring for one in changed] == ["instance-1", "instance-1"]
    assert published.seqs == []


async def test_input_of_a_known_key_is_kept_once(store: StateStore) -> None:
    """A repeat is a no-op, also at once, also after the task has ended; another task's key is its own."""
    task = await run(store, takes_input=True)
    await asyncio.gather(*(send(store, task.task_id, "abc", key="k") for _ in range(5)))
    other = await run(store, takes_input=True)
    await send(store, other.task_id, "abc", key="k")
    await store.change_task(task.task_id, lambda row: completed(row, {}, now_ms=NOW_MS))
    assert (await send(store, task.task_id, "xyz", key="k")).inputs == 1
    assert await code_of(send(store, task.task_id, "xyz", key="other")) == "invalid_state"
    assert await sent(store, task.task_id) == await sent(store, other.task_id) == [b'"abc"']


async def test_input_that_is_refused_leaves_nothing(store: StateStore) -> None:
    """Neither the input nor its key; a task that is not there is not found."""
    task = (await store.create_task(new_task())).task
    assert await code_of(send(store, task.task_id, "abc", key="k")) == "invalid_state"
    assert await code_of(send(store, "nobody", "abc")) == "task_not_found"
    assert await sent(store, task.task_id) == []
    assert await store.get_task(task.task_id) == task


async def test_input_is_read_in_pieces(store: StateStore) -> None:
    """From after a number, within so many bytes, one at least."""
    task = await run(store, takes_input=True)
    for text in ("abc", "def", "ghi"):
        await send(store, task.task_id, text)
    assert await sent(store, task.task_id, max_bytes=10) == [b'"abc"', b'"def"']
    assert await sent(store, task.task_id, 2, max_bytes=1) == [b'"ghi"']
    assert await sent(store, task.task_id, 3) == []


async def test_input_is_there_after_a_restart(backend: Backend) -> None:
    """Whoever was answered has not to send it again."""
    async with backend.opened() as store:
        task = await run(store, takes_input=True)
        await send(store, task.task_id, "abc", key="k")
    async with backend.opened() as store:
        assert await sent(store, task.task_id) == [b'"abc"']
        assert (await send(store, task.task_id, "abc", key="k")).inputs == 1


async def test_watched_tasks_are_those_whose_policy_minds(store: StateStore) -> None:
    """Until they end."""
    await store.create_task(new_task(record(detach="cancel")))
    task = await run(store, detach="cancel")
    watched = await store.change_task(task.task_id, partial(watcher_came, instance="\0a"))
    assert watched.watchers == {"\0a": None}
    assert await store.watched_tasks() == [watched]
    await store.change_task(task.task_id, lambda row: completed(row, {}, now_ms=NOW_MS))
    assert await store.watched_tasks() == []
