"""What is SQLite's own: durability settings, group commit on disk, schemas, full disks."""

import asyncio
import dataclasses
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from gateway.checkpoints import new_checkpoint
from gateway.errors import GatewayError, LeaseLostError, StoreUnavailableError
from gateway.state.base import StateStore
from gateway.state.schema import migrations
from gateway.state.sqlite import newest
from gateway.state.sqlite.store import SqliteStore
from gateway.state.tables import Tables
from gateway.state.values import Append, Created, TaskQuery
from gateway.task_changes import completed, told_of
from tests.support.inline import InlineExecutor
from tests.support.records import NOW_MS, FakeTime, fence_of, new_task, output, record
from tests.support.stores import Published, SqliteBackend, claim, inline, run, seqs


@pytest.fixture
def backend(tmp_path: Path) -> SqliteBackend:
    """A file of its own, written in this thread."""
    return SqliteBackend(tmp_path, executors=inline)


@pytest.fixture
async def store(backend: SqliteBackend) -> AsyncIterator[StateStore]:
    """An open store without tasks."""
    async with backend.opened() as store:
        yield store


def writer_of(store: StateStore) -> sqlite3.Connection:
    """The connection that the store writes by."""
    assert isinstance(store, SqliteStore)
    assert store._writing._connection is not None
    return store._writing._connection


async def test_commits_are_synced(store: StateStore) -> None:
    """The writer syncs the write-ahead log before a commit returns: WAL with synchronous=FULL (2)."""
    connection = writer_of(store)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)


async def test_concurrent_writes_share_commits(tmp_path: Path) -> None:
    """A hundred submits at once are a handful of transactions, each published in one go."""
    async with SqliteBackend(tmp_path).opened() as store:
        published = Published(store)
        statements: list[str] = []
        writer_of(store).set_trace_callback(statements.append)
        await asyncio.gather(*(store.create_task(new_task()) for _ in range(100)))
        commits = statements.count("COMMIT")
        assert commits == len(published.commits)
        assert 1 <= commits <= 5
        assert len(published.seqs) == 100


async def test_appends_of_many_owners_are_a_few_statements(tmp_path: Path) -> None:
    """What owners say at once is written by a few statements, however many they are, and each row is its own task's."""
    async with SqliteBackend(tmp_path).opened() as store:
        tasks = await asyncio.gather(*(run(store) for _ in range(87)))
        said = [Append([output(str(n))] * 2, {"progress": {"n": n}} if n % 2 else {}) for n in range(87)]
        statements: list[str] = []
        writer_of(store).set_trace_callback(statements.append)
        fences = await asyncio.gather(*map(store.append, map(fence_of, tasks), said))
        assert len(statements) < 40
        rows = await asyncio.gather(*(store.get_task(task.task_id) for task in tasks))
        assert [row and (row.progress, row.last_seq) for row in rows] == [
            ({"n": n} if n % 2 else None, fences[n].last_seq) for n in range(87)
        ]
        assert [await seqs(store, task.task_id) for task in tasks] == [[1, 2, 3, 4]] * 87


async def test_a_log_is_whole_wherever_its_events_are(
    backend: SqliteBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What many say at once is read in order before, while and after it moves to the logs, as is what comes between."""
    monkeypatch.setattr(newest, "CROWD", 8)
    monkeypatch.setattr(newest, "MOST", 24)
    monkeypatch.setattr(newest, "RUN", 10)
    async with backend.opened() as store:
        tasks = [await run(store) for _ in range(newest.CROWD)]
        fences = [fence_of(task) for task in tasks]
        places = set[tuple[bool, bool]]()
        for turn in range(30):
            texts = [str(turn) if n else "x" * newest.SMALL_BYTES for n in range(len(fences))]
            said = [Append([output(text)]) for text in texts]
            fences = list(await asyncio.gather(*map(store.append, fences, said)))
            fences[turn % 5] = await store.append(fences[turn % 5], Append([output("alone")]))
            assert [await seqs(store, fence.task_id, turn) for fence in fences] == [
                list(range(turn + 1, fence.last_seq + 1)) for fence in fences
            ]
            counted = [rows_of(store, f"newest_{n}") for n in (0, 1)]
            places.add((counted[0] > 0, counted[1] > 0))
        assert places == {(True, False), (False, True), (True, True)}


async def test_logs_of_a_file_without_runs_are_whole_when_it_has_them(
    backend: SqliteBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a gateway before migration 20 left half moved is read, goes on moving, and is whole."""
    monkeypatch.setattr(newest, "MOST", 24)
    async with backend.opened() as store:
        fences = [fence_of(await run(store)) for _ in range(newest.CROWD)]
        for _ in range(4):
            said = [store.append(fence, Append([output("x")])) for fence in fences]
            fences = list(await asyncio.gather(*said))
        assert all(rows_of(store, f"newest_{n}") for n in (0, 1))
        assert 0 < writer_of(store).execute("SELECT moved FROM newest").fetchone()[0] < 1 << 16
    with closing(sqlite3.connect(backend.path)) as db:
        _without_runs(db)
    async with backend.opened() as store:
        for _ in range(8):
            assert [await seqs(store, fence.task_id) for fence in fences] == [
                list(range(1, fence.last_seq + 1)) for fence in fences
            ]
            said = [store.append(fence, Append([output("y")])) for fence in fences]
            fences = list(await asyncio.gather(*said))


def _without_runs(db: sqlite3.Connection) -> None:
    """Make it what it was before migration 20."""
    of_newest = (
        "SELECT name, sql FROM sqlite_schema WHERE tbl_name LIKE 'newest%' AND sql NOT NULL ORDER BY name"
    )
    for n in (0, 1):
        db.execute(f"DROP TABLE newest_{n}_place")
        db.execute(f"CREATE INDEX newest_{n}_by_place ON newest_{n} (place)")
    db.execute("ALTER TABLE newest DROP COLUMN sorted")
    db.execute("ALTER TABLE task DROP COLUMN title")
    db.execute("DROP INDEX workflow_weight")
    db.execute("ALTER TABLE workflow DROP COLUMN stored_bytes")
    db.execute("PRAGMA user_version = 19")
    db.commit()
    with closing(sqlite3.connect(":memory:")) as before:
        for _, script in migrations("sqlite", 0)[:19]:
            before.executescript(script)
        assert db.execute(of_newest).fetchall() == before.execute(of_newest).fetchall()


async def test_who_has_ended_has_said_all_in_its_log(store: StateStore) -> None:
    """An end takes what many said at once to the log, and the task's weight counts it."""
    tasks = await asyncio.gather(*(run(store) for _ in range(newest.CROWD)))
    await asyncio.gather(*(store.append(fence_of(task), Append([output("x" * 500)])) for task in tasks))
    assert rows_of(store, "newest_0") == newest.CROWD
    await store.change_task(tasks[0].task_id, lambda row: completed(row, {}, now_ms=NOW_MS))
    assert rows_of(store, "newest_0") == newest.CROWD - 1
    assert await seqs(store, tasks[0].task_id) == [1, 2, 3, 4]
    weight = "SELECT stored_bytes FROM task WHERE task_id = ?"
    assert writer_of(store).execute(weight, (tasks[0].task_id,)).fetchone()[0] > 500


async def test_what_comes_after_an_end_is_found(store: StateStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest event may go to its log with all of its task's; what comes then is looked for behind it."""
    monkeypatch.setattr(newest, "RUN", newest.CROWD + 1)
    fences = [fence_of(await run(store)) for _ in range(newest.RUN)]
    fences = await asyncio.gather(*(store.append(fence, Append([output("x")])) for fence in fences))
    await store.change_task(fences[-1].task_id, lambda row: completed(row, {}, now_ms=NOW_MS))
    await asyncio.gather(*(store.append(fence, Append([output("y")])) for fence in fences[:-1]))
    assert [await seqs(store, fence.task_id) for fence in fences] == [[1, 2, 3, 4]] * newest.RUN


def rows_of(store: StateStore, table: str) -> int:
    """How many it has."""
    return int(writer_of(store).execute(f"SELECT count(*) FROM {table}").fetchone()[0])


async def test_newer_schema_is_refused(backend: SqliteBackend) -> None:
    """A file that a newer version wrote is left alone."""
    with closing(sqlite3.connect(backend.path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreUnavailableError, match="newer gateway"):
        async with backend.opened():
            pytest.fail("was opened")
    with closing(sqlite3.connect(backend.path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (99,)
        assert connection.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,)


async def test_file_that_is_no_database_is_refused(backend: SqliteBackend) -> None:
    """What is no SQLite file is an answer, not a crash."""
    await asyncio.to_thread(backend.path.write_bytes, b"no database" * 1000)
    with pytest.raises(StoreUnavailableError):
        async with backend.opened():
            pytest.fail("was opened")


async def test_full_disk_is_told_and_leaves_nothing(store: StateStore) -> None:
    """A write that can't commit is refused with all that share its transaction; later ones may work."""
    published = Published(store)
    before = (await store.create_task(new_task())).task
    connection = writer_of(store)
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 4}")
    large = new_task(input=b'"' + b"x" * (1 << 20) + b'"')
    small = new_task()
    results = await asyncio.gather(store.create_task(small), store.create_task(large), return_exceptions=True)
    assert isinstance(results[1], StoreUnavailableError)
    connection.execute("PRAGMA max_page_count = 1000000")
    listed = [task.task_id for task in await store.list_tasks(TaskQuery())]
    stored = [task.task_id for task in (before, small.task) if task.task_id in listed]
    assert sorted(listed) == sorted(stored)
    assert (small.task.task_id in listed) == (not isinstance(results[0], StoreUnavailableError))
    assert sorted(published.seqs) == sorted((task_id, 1) for task_id in listed)
    assert await store.get_input(large.task.task_id) == b"{}"
    await store.create_task(large)
    assert len(await store.get_input(large.task.task_id)) == (1 << 20) + 2


async def test_check_after_a_refusal_wants_room_for_the_largest_write(store: StateStore) -> None:
    """On a full disk a small write may still fit, which is no reason to say that all is well."""
    connection = writer_of(store)
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 8}")
    await store.check()
    with pytest.raises(StoreUnavailableError, match="the disk is full"):
        await store.create_task(new_task(input=b'"' + b"x" * (1 << 20) + b'"'))
    with pytest.raises(StoreUnavailableError):
        await store.check()
    connection.execute("PRAGMA max_page_count = 1000000")
    await store.check()


async def test_write_that_waits_too_long_for_another_process_is_refused(
    store: StateStore, backend: SqliteBackend
) -> None:
    """While another holds the file, a write is `unavailable` and not done; then it can be."""
    writer_of(store).execute("PRAGMA busy_timeout = 1")
    with closing(sqlite3.connect(backend.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailableError):
            await store.create_task(new_task())
        other.execute("ROLLBACK")
    assert await store.list_tasks(TaskQuery()) == []
    await store.create_task(new_task())


async def test_readers_cannot_write(store: StateStore) -> None:
    """The connections that reads go by refuse to change anything."""
    assert isinstance(store, SqliteStore)
    with pytest.raises(StoreUnavailableError, match="readonly"):
        await store._read(lambda tables: tables.remove_site(b"any"))


async def test_store_that_is_not_open_is_unavailable(tmp_path: Path) -> None:
    """Before `open` and after `aclose` a write is refused, and never hangs."""
    store = SqliteStore(
        tmp_path / "x.db", clock=FakeTime().clock, writer=InlineExecutor(), readers=InlineExecutor()
    )
    with pytest.raises(StoreUnavailableError):
        await store.create_task(new_task())
    await store.open()
    await store.create_task(new_task())
    await store.aclose()
    with pytest.raises(StoreUnavailableError):
        await store.create_task(new_task())


async def test_refused_append_leaves_those_beside_it(store: StateStore) -> None:
    """Of many appends in one transaction those whose fences hold are written whole, and nothing of the others."""
    tasks = [await run(store) for _ in range(6)]
    published = Published(store)
    fences = [dataclasses.replace(fence_of(task), epoch=n % 2) for n, task in enumerate(tasks)]
    asked = [store.append(fence, Append([output("x")], {"progress": {"n": 1}})) for fence in fences]
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert [isinstance(result, LeaseLostError) for result in results] == [True, False] * 3
    assert len(published.commits) <= 2
    for n, task in enumerate(tasks):
        row = await store.get_task(task.task_id)
        assert row is not None
        assert (row.last_seq, row.progress) == ((3, {"n": 1}) if n % 2 else (2, None))
        assert await seqs(store, task.task_id) == list(range(1, row.last_seq + 1))


async def test_pending_tasks_come_without_a_scan(store: StateStore) -> None:
    """Looking for waiting tasks costs a step of the index per subject, not one per task."""
    for number in range(20):
        await store.create_task(new_task(record(subject=f"s{number % 2}")))
    plan = writer_of(store).execute(
        "EXPLAIN QUERY PLAN SELECT * FROM task WHERE status = 'pending' AND subject = ?"
        " ORDER BY priority DESC, task_id LIMIT 1",
        ("s1",),
    )
    assert [row[3] for row in plan] == ["SEARCH task USING INDEX task_pending (subject=?)"]


async def test_closing_waits_for_a_read_that_nobody_waits_for(tmp_path: Path) -> None:
    """A thread goes on when its asker is cancelled; a connection closed under it would end the process."""
    begun, may_end = threading.Event(), threading.Event()

    async def slow(_tables: Tables) -> None:
        begun.set()
        may_end.wait(10)

    async with SqliteBackend(tmp_path).opened() as store:
        assert isinstance(store, SqliteStore)
        reading = asyncio.ensure_future(store._read(slow))
        await asyncio.to_thread(begun.wait, 10)
        reading.cancel()
        await asyncio.wait([reading])
        closing = asyncio.ensure_future(store.aclose())
        for _ in range(3):  # what it asked of the writer by then is done
            await store._in(store._writer, lambda: None)
        assert store._connections
        may_end.set()
        await closing


async def test_unchanged_value_is_written_once(store: StateStore) -> None:
    """However many checkpoints of a workflow have a large value, the file holds it once."""
    created = await store.create_task(new_task(record()))
    task = await claim(store, created.task.task_id)
    right = fence_of(task)
    for number in range(5):
        new = new_checkpoint(f"checkpoint-{number}", "step", "a", {"n": number, "html": "x" * 20_000})
        right = await store.append(right, Append([told_of(new)], checkpoint=(task.workflow_id, new)))
    assert writer_of(store).execute("SELECT count(*) FROM checkpoint_part").fetchone() == (1,)
    assert writer_of(store).execute("SELECT count(*) FROM checkpoint").fetchone() == (5,)


async def test_asker_that_goes_away_undoes_nothing(tmp_path: Path) -> None:
    """What it asked is written all the same, and so is what shares the transaction with it."""
    async with SqliteBackend(tmp_path).opened() as store:
        first, second = new_task(), new_task()
        asked = [asyncio.ensure_future(store.create_task(new)) for new in (first, second)]
        await asyncio.wait(asked, timeout=0)  # both have asked
        asked[0].cancel()
        assert (await asked[1]).task == await store.get_task(second.task.task_id)
        assert await store.get_task(first.task.task_id) is not None
        assert asked[0].cancelled()


async def test_write_that_fails_halfway_undoes_itself_alone(tmp_path: Path) -> None:
    """Whoever shares its transaction is on disk, told of once, and nothing of it is there."""
    async with SqliteBackend(tmp_path).opened() as store:
        published = Published(store)
        before, broken, after = (new_task() for _ in range(3))
        broken = dataclasses.replace(broken, files="nowhere")
        writes = (store.create_task(new) for new in (before, broken, after))
        first, failed, last = await asyncio.gather(*writes, return_exceptions=True)
        assert isinstance(failed, GatewayError)
        assert [one.replayed for one in (first, last) if isinstance(one, Created)] == [False, False]
        found = [await store.get_task(new.task.task_id) for new in (before, broken, after)]
        assert [row is not None for row in found] == [True, False, True]
        assert await store.get_workflow(broken.task.workflow_id) is None
        assert {task_id for task_id, _ in published.seqs} == {before.task.task_id, after.task.task_id}
