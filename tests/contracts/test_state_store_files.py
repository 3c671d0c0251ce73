"""What every state store must do with files: sets that grow, belong to tasks and runs, and go."""

import dataclasses

import pytest

from gateway.errors import GatewayError, LeaseLostError
from gateway.files import PIECE_BYTES, Batch, Piece
from gateway.state.base import StateStore
from gateway.state.values import TaskQuery
from gateway.task_changes import cancelled, completed, lost
from gateway.tasks import Changed, Outcome, TaskRecord
from tests.support.files import add, info, noise, tree_of
from tests.support.records import NOW_MS, fence_of, new_task, record
from tests.support.stores import Backend, Published, claim, code_of, run

TREE = {
    "a.txt": b"alpha",
    "folder/empty": b"",
    "folder/\u00fc \u2028": b"\0\xff",
    "large": noise(2 * PIECE_BYTES + 1),
    "exact": noise(PIECE_BYTES, seed=2),
}


async def test_files_come_back_as_they_went_in(store: StateStore) -> None:
    """A set has every byte of every file, in the order they came, however little is read at once."""
    await add(store, "set-1", TREE)
    for max_bytes in (1, 100_000, 1 << 30):
        assert await tree_of(store, "set-1", max_bytes=max_bytes) == TREE
    infos = [info(path, data, number) for number, (path, data) in enumerate(TREE.items())]
    assert await store.list_files("set-1") == infos
    assert await store.list_files("set-1", path="large") == [infos[3]]
    assert await store.list_files("set-1", path="absent") == []


async def test_files_are_read_from_any_one_on(store: StateStore) -> None:
    """Reading begins right before a file where its number says so."""
    await add(store, "set-1", TREE)
    (piece, *_) = await store.read_files("set-1", after=(4, -1), max_bytes=1)
    assert (piece.path, piece.data, piece.last, piece.at) == ("exact", TREE["exact"], True, (4, 0))


async def test_files_that_are_not_whole_are_not_there(store: StateStore) -> None:
    """Of a file whose end has not come nothing is listed, and nothing is read."""
    await add(store, "set-1", {"whole": b"x"})
    await store.add_files("set-1", Batch([Piece(1, 0, b"part")], []))
    assert await tree_of(store, "set-1") == {"whole": b"x"}
    assert [file.path for file in await store.list_files("set-1")] == ["whole"]


async def test_files_that_were_uploaded_become_the_tasks(store: StateStore) -> None:
    """A submit that names a set has it from then on; it can't be dropped, swept, or named again."""
    await add(store, "set-1", TREE)
    task = (await store.create_task(dataclasses.replace(new_task(), files="set-1"))).task
    assert await store.find_files(task.task_id) == "set-1"
    await store.drop_files("set-1")
    await store.sweep_files(idle_s=-1)
    assert await tree_of(store, "set-1") == TREE
    assert await code_of(store.create_task(dataclasses.replace(new_task(), files="set-1"))) == "unavailable"


async def test_files_of_a_submit_that_is_refused_stay_nobodys(store: StateStore) -> None:
    """What was uploaded for a submit that made no task can be dropped."""
    await add(store, "set-1", TREE)
    refused = dataclasses.replace(new_task(record(workflow_id="nowhere"), names_workflow=True), files="set-1")
    assert await code_of(store.create_task(refused)) == "workflow_not_found"
    await store.drop_files("set-1")
    assert await store.list_files("set-1") == []


async def test_files_of_a_repeated_submit_stay_nobodys(store: StateStore) -> None:
    """The task that a key began keeps the files that came with it."""
    await add(store, "set-1", {"a": b"1"})
    await add(store, "set-2", {"a": b"1"})
    asked = new_task(idempotency_key="k", fingerprint=b"f")
    first = await store.create_task(dataclasses.replace(asked, files="set-1"))
    again = new_task(idempotency_key="k", fingerprint=b"f")
    assert (await store.create_task(dataclasses.replace(again, files="set-2"))).replayed
    assert await store.find_files(first.task.task_id) == "set-1"
    await store.drop_files("set-2")
    assert await store.list_files("set-2") == []


async def test_files_survive_a_restart(backend: Backend) -> None:
    """What was added is on disk when that is answered."""
    async with backend.opened() as store:
        await add(store, "set-1", TREE)
    async with backend.opened() as again:
        assert await tree_of(again, "set-1") == TREE


async def test_files_given_back_need_the_run_to_hold_the_task(store: StateStore) -> None:
    """Who has lost a task adds nothing to it; events of the run in between don't matter."""
    task = await run(store)
    fence = dataclasses.replace(fence_of(task), last_seq=99)
    await add(store, "set-1", {"a": b"1"}, fence=fence)
    assert await store.find_files(task.task_id, task.epoch) == "set-1"
    for other in (dataclasses.replace(fence, owner="zombie"), dataclasses.replace(fence, epoch=7)):
        with pytest.raises(LeaseLostError):
            await add(store, "set-2", {"b": b"2"}, fence=other)
        assert await store.list_files("set-2") == []


async def test_files_given_back_say_how_far_their_session_is(store: StateStore) -> None:
    """Column values of the task are written with the files that they go with, or not at all."""
    task = await run(store)
    fence = fence_of(task)
    await store.add_files(
        "set-1", Batch([Piece(0, 0, b"half")], [], {"place_seq": 7, "place_file": "a"}), fence=fence
    )
    row = await store.get_task(task.task_id)
    assert row is not None
    assert (row.place_seq, row.place_file, row.last_seq) == (7, "a", task.last_seq)
    zombie = dataclasses.replace(fence, owner="zombie")
    with pytest.raises(LeaseLostError):
        await store.add_files("set-1", Batch([], [], {"place_seq": 9}), fence=zombie)
    assert await store.get_task(task.task_id) == row


async def test_pieces_of_a_file_are_read_one_by_one(store: StateStore) -> None:
    """Also those of a file that is not whole yet; past the last there is none."""
    await store.add_files("set-1", Batch([Piece(1, 0, b"one"), Piece(1, 1, b"two")], []))
    assert [await store.read_piece("set-1", 1, part) for part in range(3)] == [b"one", b"two", None]
    assert await store.read_piece("set-1", 0, 0) is None
    assert await store.read_piece("set-2", 1, 0) is None


async def test_files_given_back_replace_those_of_earlier_runs(store: StateStore) -> None:
    """What a later run gives back takes the place of all before it, which is swept."""
    task = await run(store)
    await add(store, "set-1", {"a": b"1"}, fence=fence_of(task))
    await store.change_task(task.task_id, lambda row: lost(row, "sandbox_lost", now_ms=NOW_MS))
    task = await claim(store, task.task_id)
    await add(store, "set-2", {"a": b"2"}, fence=fence_of(task))
    assert await store.find_files(task.task_id, task.epoch) == "set-2"
    assert await store.find_files(task.task_id, task.epoch - 1) is None
    await store.sweep_files(idle_s=3600)
    assert await store.list_files("set-1") == []
    assert await tree_of(store, "set-2") == {"a": b"2"}


async def test_files_of_nobody_are_swept_once_they_are_left(store: StateStore, backend: Backend) -> None:
    """An upload that nobody ended goes when it has not grown for long enough, not before."""
    many = {f"file-{number}": b"x" for number in range(300)}
    await add(store, "set-1", TREE | many)
    backend.time.pass_s(10)
    await store.sweep_files(idle_s=60)
    assert await tree_of(store, "set-1") == TREE | many
    backend.time.pass_s(51)
    await store.sweep_files(idle_s=60)
    assert await store.list_files("set-1") == []
    assert await store.read_files("set-1", max_bytes=1) == []


async def test_files_are_published_to_nobody(store: StateStore) -> None:
    """Files tell no event."""
    published = Published(store)
    await add(store, "set-1", TREE)
    assert published.seqs == []


# --- deleting a task ------------------------------------------------------------------------------------


def may(_task: TaskRecord) -> None:
    """A check that lets everything be deleted."""


async def test_delete_leaves_nothing_of_the_task(store: StateStore) -> None:
    """Row, input, result, log and files are gone; its log is then complete, and whoever watches is told."""
    await add(store, "set-1", TREE)
    asked = new_task(idempotency_key="k", fingerprint=b"f", input=b'{"a":1}')
    task = (await store.create_task(dataclasses.replace(asked, files="set-1"))).task
    task = await claim(store, task.task_id)
    await add(store, "set-2", {"a": b"1"}, fence=fence_of(task))
    await store.change_task(task.task_id, lambda row: completed(row, {"x": 1}, now_ms=NOW_MS))
    published = Published(store)
    await store.delete_task(task.task_id, may)
    assert await store.get_task(task.task_id) is None
    assert await store.get_input(task.task_id) == b"{}"
    assert await store.get_outcome(task.task_id) == Outcome()
    assert await store.find_files(task.task_id) is None
    assert await store.find_files(task.task_id, task.epoch) is None
    page = await store.read_events(task.task_id, 2, max_events=10, max_bytes=10)
    assert (list(page.events), page.complete) == ([], True)
    await store.sweep_files(idle_s=3600)
    assert await store.list_files("set-1") == await store.list_files("set-2") == []
    deleted, *_ = published.commits
    assert deleted.changed == (Changed(task.task_id, "alice", removed=True),)


async def test_key_of_a_deleted_task_is_kept(store: StateStore, backend: Backend) -> None:
    """A late repeat does not run it once more, and is told that the task is gone; a day after its submit it is free."""
    asked = new_task(idempotency_key="k", fingerprint=b"f")
    task = (await store.create_task(asked)).task
    await store.change_task(task.task_id, lambda row: cancelled(row, now_ms=NOW_MS))
    await store.delete_task(task.task_id, may)
    assert (
        await code_of(store.create_task(new_task(idempotency_key="k", fingerprint=b"f"))) == "task_not_found"
    )
    other = new_task(idempotency_key="k", fingerprint=b"other")
    assert await code_of(store.create_task(other)) == "idempotency_conflict"
    assert await store.list_tasks(TaskQuery()) == []
    backend.time.pass_s(24 * 3600 + 1)
    assert not (await store.create_task(new_task(idempotency_key="k", fingerprint=b"f"))).replayed


async def test_delete_asks_whether_it_may(store: StateStore) -> None:
    """What the check raises is raised, and everything stays; a task that is not there is not found."""
    task = await run(store)

    def check(row: TaskRecord) -> None:
        assert row == task
        raise GatewayError("invalid_state", status=row.status)

    assert await code_of(store.delete_task(task.task_id, check)) == "invalid_state"
    assert await store.get_task(task.task_id) == task
    assert await code_of(store.delete_task("nobody", may)) == "task_not_found"
