"""SurrealDB's own ways to fail: hidden errors, conflicts, no lock, no sync. See the contracts."""

import asyncio
import errno
import sys
from pathlib import Path

import pytest

from gateway.errors import StoreUnavailableError
from gateway.state.surrealdb.database import TRIES, Database, Statements, record
from gateway.state.surrealdb.store import SurrealStore
from gateway.state.values import Append, TaskQuery
from gateway.task_changes import Change
from gateway.tasks import TaskRecord
from tests.support.faulty_disk import FaultyDisk
from tests.support.records import FakeTime, fence_of, new_task, output
from tests.support.stores import Published, SurrealBackend, run, seqs
from tests.support.surreal_server import surreal_server

DEADLINE_S = 60


@pytest.fixture
def backend(tmp_path: Path) -> SurrealBackend:
    """A folder of the test's own."""
    return SurrealBackend(tmp_path)


def database_of(store: object) -> Database:
    """What a store asks."""
    assert isinstance(store, SurrealStore)
    return store._database


async def test_error_of_a_later_statement_undoes_them_all(backend: SurrealBackend) -> None:
    """An answer whose first statement is fine hides no error of another: it is raised, and nothing is written."""
    async with backend.opened() as store:
        database = database_of(store)
        statements = Statements()
        statements.add("CREATE $_.id SET value = 1", id=record("meta", "first"))
        statements.add("THROW 'no'")
        with pytest.raises(StoreUnavailableError, match="no"):
            await database.commit(statements)
        assert await database.ask("SELECT * FROM ONLY $id", id=record("meta", "first")) is None


async def test_write_is_made_anew_where_another_came_first(backend: SurrealBackend) -> None:
    """What was decided on a row that another has changed meanwhile is decided again, on what is there now."""
    async with backend.opened() as store:
        database, row = database_of(store), record("meta", "row")
        seen = list[int | None]()

        async def write(statements: Statements) -> None:
            number = await database.ask("SELECT VALUE number FROM ONLY $id", id=row)
            seen.append(number)
            statements.check(row, "number", number)
            statements.add("UPSERT $_.id SET number = $_.number", id=row, number=(number or 0) + 10)
            if len(seen) == 1:
                await database.ask("UPSERT $id SET number = 1", id=row)

        await database.transact(write)
        assert seen == [None, 1]
        assert await database.ask("SELECT VALUE number FROM ONLY $id", id=row) == 11


async def test_write_that_others_always_come_before_is_given_up(backend: SurrealBackend) -> None:
    """It is tried a bounded number of times, and then it is the store that is unavailable."""
    async with backend.opened() as store:
        database, row = database_of(store), record("meta", "row")
        tries = 0

        async def write(statements: Statements) -> None:
            nonlocal tries
            tries += 1
            statements.check(row, "number", -1)

        with pytest.raises(StoreUnavailableError, match="stood in the way"):
            await database.transact(write)
        assert tries == TRIES


async def test_writes_of_one_row_at_once_are_all_done(backend: SurrealBackend) -> None:
    """None is lost, though the engine would say of two at once that both are done, and keep one."""
    async with backend.opened() as store:
        task = await run(store)

        def decide(row: TaskRecord) -> Change:
            return Change({"input_bytes": row.input_bytes + 1})

        await asyncio.gather(*(store.change_task(task.task_id, decide) for _ in range(30)))
        found = await store.get_task(task.task_id)
        assert found is not None
        assert found.input_bytes == 30


async def test_values_are_no_part_of_a_query(backend: SurrealBackend) -> None:
    """What a client says is found as what it is, and does nothing."""
    evil = "'; DELETE task; $s0 ⟩ -- "
    async with backend.opened() as store:
        task = await run(store, subject=evil, labels={evil: evil})
        assert await store.list_tasks(TaskQuery(subject=evil, label=(evil, evil))) == [task]
        assert await store.list_tasks(TaskQuery(subject="' OR true")) == []
        assert await store.get_task("task:⟨x⟩") is None


async def test_second_store_is_kept_out_of_the_folder(backend: SurrealBackend) -> None:
    """The engine would let it in, and each would lose what the other writes."""
    async with backend.opened():
        with pytest.raises(StoreUnavailableError, match="another process uses"):
            async with backend.opened():
                pass
    async with backend.opened():
        pass


async def test_newer_schema_is_refused(backend: SurrealBackend) -> None:
    """A database that a newer gateway has migrated is left alone, with a word to the operator."""
    async with backend.opened() as store:
        await database_of(store).ask("UPDATE $id SET version = 999", id=record("meta", "schema"))
    for _ in range(2):  # and stays refused for that reason
        with pytest.raises(StoreUnavailableError, match="use a newer gateway"):
            await SurrealStore(f"surrealkv://{backend.folder / 'surrealdb'}", clock=backend.time.clock).open()


async def test_store_that_is_not_open_is_unavailable(backend: SurrealBackend) -> None:
    """Before `open` and after `aclose` a write is refused, and never hangs."""
    async with backend.opened() as store:
        pass
    with pytest.raises(StoreUnavailableError, match="not open"):
        await store.create_task(new_task())


async def test_appends_of_many_tasks_share_transactions(backend: SurrealBackend) -> None:
    """What many owners say at once is a handful of commits, each task's events in their order."""
    async with backend.opened() as store:
        tasks = [await run(store) for _ in range(20)]
        published = Published(store)
        await asyncio.gather(*(store.append(fence_of(task), Append([output("x")] * 3)) for task in tasks))
        assert 1 <= len(published.commits) <= 3
        assert all([await seqs(store, task.task_id) == [1, 2, 3, 4, 5] for task in tasks])


async def test_owner_that_asked_twice_at_once_has_both_or_is_told(backend: SurrealBackend) -> None:
    """Two appends of one task in one batch are made one after another; the second's fence must have known the first."""
    async with backend.opened() as store:
        task = await run(store)
        fence = fence_of(task)
        first, second = await asyncio.gather(
            *(store.append(fence, Append([output(text)])) for text in "ab"), return_exceptions=True
        )
        assert not isinstance(first, BaseException)
        assert type(second).__name__ == "LeaseLostError"
        assert await seqs(store, task.task_id) == [1, 2, 3]


async def test_process_killed_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """After SIGKILL in the midst of many writes, all that was answered is there, whole."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.surreal_work", str(tmp_path)), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    said = dict[str, int]()
    async with asyncio.timeout(DEADLINE_S):
        while sum(said.values()) < 300:
            name, number = (await process.stdout.readline()).decode().split()
            said[name] = int(number)
        process.kill()
        for line in (await process.stdout.read()).decode().splitlines():
            name, number = line.split()
            said[name] = int(number)
        await process.wait()
    async with SurrealBackend(tmp_path).opened() as store:
        for task_id, last_seq in said.items():
            found = await seqs(store, task_id)
            assert found == list(range(1, len(found) + 1))
            assert len(found) >= last_seq
            task = await store.get_task(task_id)
            assert task is not None
            assert task.last_seq == len(found)


async def test_commits_are_synced(tmp_path: Path) -> None:
    """A write is answered only after a sync of the engine's log: where syncs fail, none is."""
    disk = FaultyDisk(tmp_path / "disk")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.surreal_work", str(disk.root)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=disk.env,
    )
    assert process.stdout is not None
    async with asyncio.timeout(DEADLINE_S):
        await process.stdout.readline()
        disk.fail("sync", number=errno.EIO)
        await process.wait()
    assert disk.failed > 0
    assert process.returncode == 1


async def test_server_is_dialled_by_the_same_code() -> None:
    """What `STATE_DATABASE_URL` names is signed in at, and keeps what is written; a broken connection is made anew."""
    async with surreal_server() as server:
        store = SurrealStore(server.url, clock=FakeTime().clock)
        await store.open()
        task = await run(store)
        fence = await store.append(fence_of(task), Append([output("a")]))
        server.cut()
        with pytest.raises(StoreUnavailableError):
            await store.append(fence, Append([output("b")]))
        await store.append(fence, Append([output("b")]))
        assert await seqs(store, task.task_id) == [1, 2, 3, 4]
        assert server.signed_in[0] == [{"user": "me", "pass": "pass word"}]
        await store.aclose()
