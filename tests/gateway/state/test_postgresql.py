"""PostgreSQL's own ways to fail: crashes, cut connections, commits whose answer is lost, schemas. See the contracts."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import asyncpg
import pytest

from gateway.errors import StoreUnavailableError
from gateway.server import logs
from gateway.state.base import StateStore
from gateway.state.postgresql.pool import Connection, Database
from gateway.state.postgresql.store import PostgresqlStore
from gateway.state.schema import escape, unescape
from gateway.state.values import Append, NewTask
from gateway.tasks import Fence, TaskRecord
from gateway.work.journal import Journal
from gateway.work.run_memory import RunMemory
from tests.support.postgres import LIKE_A_SERVER, Server, fresh_database, postgres_server
from tests.support.processes import until
from tests.support.proxy import Proxy, proxy_to
from tests.support.records import FakeTime, fence_of, new_task, output
from tests.support.stores import PostgresqlBackend, Published, claim, run, seqs

DEADLINE_S = 60


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server that syncs."""
    with postgres_server(LIKE_A_SERVER) as server:
        yield server


@pytest.fixture
async def backend(server: Server) -> AsyncIterator[PostgresqlBackend]:
    """A database of the test's own."""
    async with fresh_database(server) as dsn:
        yield PostgresqlBackend(dsn)


@pytest.fixture
async def proxy(server: Server) -> AsyncIterator[Proxy]:
    """The network between store and server."""
    async with proxy_to("127.0.0.1", server.port) as proxy:
        yield proxy


def through(proxy: Proxy, backend: PostgresqlBackend, server: Server) -> PostgresqlBackend:
    """The same data, met through the proxy."""
    return PostgresqlBackend(backend.dsn.replace(f":{server.port}/", f":{proxy.port}/"), backend.time)


async def test_commits_are_synchronous_whatever_the_servers_default(backend: PostgresqlBackend) -> None:
    """An answer means "on disk", also on a server that is set up to be weaker."""
    async with backend.opened() as store:
        assert isinstance(store, PostgresqlStore)
        async with store._database.connection() as connection:
            assert await connection.fetchval("SHOW synchronous_commit") == "on"
    plain = await asyncpg.connect(backend.dsn)
    assert await plain.fetchval("SHOW synchronous_commit") == "off"
    await plain.close()


async def test_newer_schema_is_refused(backend: PostgresqlBackend) -> None:
    """A database that a newer gateway has migrated is left alone, with a word to the operator."""
    async with backend.opened():
        pass
    plain = await asyncpg.connect(backend.dsn)
    await plain.execute("INSERT INTO schema_version VALUES (999)")
    await plain.close()
    with pytest.raises(StoreUnavailableError, match="use a newer gateway"):
        async with backend.opened():
            pass


async def test_instances_that_start_at_once_migrate_once(backend: PostgresqlBackend) -> None:
    """However many open an empty database at the same time, all of them get one whole schema."""
    stores = [PostgresqlStore(backend.dsn, clock=FakeTime(n).clock, connections=2) for n in range(5)]
    await asyncio.gather(*(store.open() for store in stores))
    secrets = {await store.secret() for store in stores}
    await asyncio.gather(*(store.aclose() for store in stores))
    assert len(secrets) == 1


async def test_server_that_is_not_there_is_unavailable(
    backend: PostgresqlBackend, proxy: Proxy, server: Server
) -> None:
    """Every call says so, in time; when the server is back the same store goes on."""
    async with through(proxy, backend, server).opened() as store:
        task = await run(store)
        proxy.refuses = True
        proxy.cut_all()
        for asked in (store.get_task(task.task_id), store.create_task(new_task()), store.secret()):
            with pytest.raises(StoreUnavailableError):
                await asked
        proxy.refuses = False
        async with asyncio.timeout(DEADLINE_S):
            assert await store.get_task(task.task_id) == task
            await store.append(fence_of(task), Append([output("x")]))


async def test_lease_is_renewed_while_every_other_connection_is_busy(backend: PostgresqlBackend) -> None:
    """Slow statements of any number keep no instance from living on."""
    async with backend.opened() as store:
        assert isinstance(store, PostgresqlStore)
        await store.leases.begin("me", 60_000, {})
        slow = [asyncio.create_task(sleeping(store)) for _ in range(20)]
        try:
            await until(lambda: all_busy(store._database), within_s=DEADLINE_S, what="a pool that is busy")
            assert await store.leases.renew("me", 60_000, {})
        finally:
            for one in slow:
                one.cancel()
            await asyncio.wait(slow)


async def test_renewal_behind_a_network_that_is_gone_holds_no_later_one_up(
    backend: PostgresqlBackend, proxy: Proxy, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fails soon, and once the network is back the next one is made over a new connection."""
    monkeypatch.setattr("gateway.state.postgresql.store.RENEW_S", 0.3)
    async with through(proxy, backend, server).opened() as store:
        await store.leases.begin("me", 600_000, {})
        proxy.stall()
        async with asyncio.timeout(DEADLINE_S / 3):
            with pytest.raises(StoreUnavailableError):
                await store.leases.renew("me", 600_000, {})
        proxy.flow()
        assert await store.leases.renew("me", 600_000, {})


def all_busy(database: Database) -> bool:
    """Whether all connections that there may be are made and in use."""
    pool = database._pool
    return pool is not None and (pool.get_size(), pool.get_idle_size()) == (pool.get_max_size(), 0)


async def sleeping(store: PostgresqlStore) -> None:
    """A statement that takes longer than anybody waits for a connection."""
    async with store._database.connection() as connection:
        await connection.execute("SELECT pg_sleep(25)")


async def test_commit_whose_answer_was_lost_counts(
    backend: PostgresqlBackend, proxy: Proxy, server: Server
) -> None:
    """A write that the server has made is answered and published once, though its connection broke at the commit."""
    async with through(proxy, backend, server).opened() as store:
        published = Published(store)
        cut_once(proxy, b"COMMIT")
        created = await store.create_task(new_task())
        assert proxy.cuts == 1
        cut_once(proxy, b"COMMIT")
        task = await claim(store, created.task.task_id)
        assert proxy.cuts == 2
        cut_once(proxy, b"COMMIT")
        fence = await store.append(fence_of(task), Append([output("x"), output("y")]))
        assert proxy.cuts == 3
        assert fence.last_seq == 4
        assert await seqs(store, task.task_id) == [1, 2, 3, 4]
        assert [seq for _, seq in published.seqs] == [1, 2, 3, 4]


async def test_write_that_was_cut_before_its_commit_is_undone(
    backend: PostgresqlBackend, proxy: Proxy, server: Server
) -> None:
    """It raises, is not published, leaves nothing, and can be made again with the same fence."""
    async with through(proxy, backend, server).opened() as store:
        task = await run(store)
        published = Published(store)
        cut_once(proxy, b"needle")
        with pytest.raises(StoreUnavailableError):
            await store.append(fence_of(task), Append([output("needle")]))
        assert proxy.cuts == 1
        assert published.seqs == []
        fence = await store.append(fence_of(task), Append([output("x")]))
        assert fence.last_seq == 3


async def test_connection_that_was_ended_but_is_not_closed_yet_is_unavailable(
    backend: PostgresqlBackend, proxy: Proxy, server: Server
) -> None:
    """The server's last word has come, the end of the connection has not: what is asked in between fails."""
    proxy.holds_ends = True
    # What is asked behind the last word waits for as long as any command may.
    database = Database(through(proxy, backend, server).dsn, connections=2, command_s=1)
    await database.open()

    async def ended(connection: Connection) -> None:
        pid = await connection.fetchval("SELECT pg_backend_pid()")
        plain = await asyncpg.connect(backend.dsn)
        await plain.execute("SELECT pg_terminate_backend($1)", pid)
        await plain.close()
        while True:
            await connection.execute("SELECT 1")

    for _ in range(3):
        with pytest.raises(StoreUnavailableError):
            await database.transact(ended)
    assert await database.transact(one) == 1
    proxy.holds_ends = False
    await database.aclose()


async def one(connection: Connection) -> int:
    """Asks the least there is to ask."""
    value: int = await connection.fetchval("SELECT 1")
    return value


async def test_commit_that_a_crash_has_lost_is_not_taken_for_anothers(
    backend: PostgresqlBackend, proxy: Proxy, server: Server
) -> None:
    """The server gives the lost transaction's number to another one, which commits: ours has not."""
    async with through(proxy, backend, server).opened() as store:
        task = await run(store)
        lose_at(proxy, b"COMMIT")
        asking = asyncio.create_task(store.append(fence_of(task), Append([output("lost")])))
        await until(lambda: proxy.hits["swallowed"] > 0, within_s=DEADLINE_S, what="a commit")
        plain = await asyncpg.connect(server.dsn())
        lost = await plain.fetchval("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
        await plain.close()
        proxy.refuses = True
        await asyncio.to_thread(server.stop, "immediate")
        await asyncio.to_thread(server.start)
        plain = await asyncpg.connect(server.dsn())
        while await plain.fetchval("SELECT pg_current_xact_id()::text::bigint") < lost:
            pass
        await plain.close()
        proxy.cut_at = lambda _sent: False
        proxy.flow()
        with pytest.raises(StoreUnavailableError):
            await asking
        assert await seqs(store, task.task_id) == [1, 2]


def lose_at(proxy: Proxy, words: bytes) -> None:
    """What says `words` and whatever comes after it goes nowhere."""

    def lose(sent: bytes) -> bool:
        if words in sent:
            proxy.swallow()
        return False

    proxy.cut_at = lose


async def test_run_asks_for_its_checkpoint_until_the_server_is_back(
    backend: PostgresqlBackend, proxy: Proxy, server: Server
) -> None:
    """It is not over because its store is away, and neither is its agent."""
    async with through(proxy, backend, server).opened() as store:
        task, clock = await run(store), backend.time.clock
        journal = Journal(store, fence_of(task), log=logs.get())
        memory = RunMemory(task, journal, store, clock, log=logs.get())
        proxy.refuses = True
        proxy.cut_all()
        asking = asyncio.create_task(memory.newest())
        await until(lambda: proxy.hits["refused"] > 1, within_s=DEADLINE_S, what="tries")
        assert not asking.done()
        proxy.refuses = False
        async with asyncio.timeout(DEADLINE_S):
            assert await asking is None


def cut_once(proxy: Proxy, words: bytes) -> None:
    """Cut the connection of whoever sends these, behind them."""

    def cut(sent: bytes) -> bool:
        if words not in sent:
            return False
        proxy.cut_at = lambda _sent: False
        return True

    proxy.cut_at = cut


async def test_crash_of_the_server_loses_nothing_that_was_answered() -> None:
    """Whatever was answered before the crash is there after it; what was not is there whole or not at all."""
    with postgres_server(LIKE_A_SERVER) as server:
        async with PostgresqlBackend(server.dsn()).opened() as store, asyncio.timeout(DEADLINE_S):
            tasks = [await run(store) for _ in range(5)]
            answered: dict[str, int] = {}
            stopped = asyncio.Event()
            speaking = asyncio.gather(*(speak(store, task, answered, stopped) for task in tasks))
            await until(lambda: sum(answered.values()) >= 200, within_s=DEADLINE_S, what="events written")
            await asyncio.to_thread(server.stop, "immediate")
            await asyncio.to_thread(server.start)
            stopped.set()
            assert server.recoveries == 1
            await speaking
            for task in tasks:
                await check_log(store, task.task_id, at_least=answered[task.task_id])


async def check_log(store: StateStore, task_id: str, *, at_least: int) -> None:
    """The log has no gap, what was answered is in it, and the row agrees."""
    kept = await seqs(store, task_id)
    assert kept == list(range(1, len(kept) + 1))
    assert len(kept) >= at_least
    row = await store.get_task(task_id)
    assert row is not None
    assert row.last_seq == len(kept)


async def speak(
    store: StateStore, task: TaskRecord, answered: dict[str, int], stopped: asyncio.Event
) -> None:
    """Append until stopped, again and again where the server is away."""
    fence: Fence = fence_of(task)
    while not stopped.is_set():
        with suppress(StoreUnavailableError):
            fence = await store.append(fence, Append([output("x" * 100)] * 2))
        answered[task.task_id] = fence.last_seq


async def test_writers_of_one_row_wait_for_each_other(backend: PostgresqlBackend) -> None:
    """Two instances that reach for the same tasks at once each get some, no task goes to both, and none is lost."""
    async with backend.opened() as one, backend.opened() as two:
        created = [(await one.create_task(new_task())).task.task_id for _ in range(20)]
        asked = [claim(store, task_id, owner=str(id(store))) for task_id in created for store in (one, two)]
        results = await asyncio.gather(*asked, return_exceptions=True)
        assert len([result for result in results if isinstance(result, TaskRecord)]) == 20


async def test_submits_of_one_key_on_two_instances_make_one_task(backend: PostgresqlBackend) -> None:
    """The key is the database's, not the process's."""

    def submit() -> NewTask:
        return new_task(idempotency_key="k", fingerprint=b"f")

    async with backend.opened() as one, backend.opened() as two:
        asked = [store.create_task(submit()) for _ in range(10) for store in (one, two)]
        created = await asyncio.gather(*asked)
    assert sorted(one.replayed for one in created) == [False] + [True] * 19
    assert len({one.task.task_id for one in created}) == 1


def test_escape_is_undone_by_unescape() -> None:
    """Any text comes back, and none that is stored has a U+0000."""
    for text in ("", "a", "\0", "\uf8ff", "\uf8ff0", "\uf8ff1\0", "\0\uf8ff0"):
        assert "\0" not in escape(text)
        assert unescape(escape(text)) == text
    assert len({escape(text) for text in ("\0", "\uf8ff0", "\uf8ff", "\uf8ff1")}) == 4
