"""The store's disk is full, held by another or failing, under a real gateway: nothing is promised, nothing is lost."""

import asyncio
import contextlib
import functools
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import orjson
import pytest

from tests.support.faulty_disk import FaultyDisk
from tests.support.gateway import Client, GatewayProcess, client, output_of, running_gateway
from tests.support.history import check_one
from tests.support.waiting import eventually

pytestmark = pytest.mark.journey

LINES = 150
TALKS = f"for i in $(seq {LINES}); do echo line $i; sleep 0.02; done"
LARGE = {"commands": ["true"], "files": {"large": "x" * 700_000}}


def ask(gateway: GatewayProcess, path: str) -> tuple[int, dict[str, object]]:
    """Status and body of a GET."""
    with closing(HTTPConnection(gateway.url.removeprefix("http://"), timeout=10)) as http:
        http.request("GET", path)
        answer = http.getresponse()
        return answer.status, orjson.loads(answer.read())


async def refused(me: Client, *, tries: int) -> tuple[list[str], dict[str, object]]:
    """Submit until one is refused: the tasks that were not, and the refusal."""
    accepted: list[str] = []
    for _ in range(tries):
        answer = await me.ask("submit_task", mode="background", input=LARGE)
        if "task" not in answer:
            return accepted, answer
        accepted.append(answer["task"]["task_id"])
    pytest.fail("every submit was taken")


async def listed(me: Client) -> list[str]:
    """Every task there is."""
    return [task["task_id"] for task in (await me.ask("list_tasks", limit=500))["tasks"]]


async def survive(
    gateway: GatewayProcess,
    fail: Callable[[], object],
    heal: Callable[[], object],
    *,
    under: Sequence[str] = (),
) -> None:
    """While the store fails, submits are refused and a running task holds back; then all goes on, and all is there."""
    async with client(gateway.socket_url) as me:
        known = await listed(me)
        task_id = await me.submit(TALKS, max_attempts=1)
        await me.until_event(task_id, "output")
        fail()
        accepted, refusal = await refused(me, tries=30)
        assert (refusal["code"], refusal["retryable"]) == ("unavailable", True)
        status, body = await asyncio.to_thread(ask, gateway, "/readyz")
        assert (status, body["failing"]) == (503, ["store"])
        assert (await asyncio.to_thread(ask, gateway, "/livez"))[0] == 200
        heal()

        async def ready() -> bool:
            return (await asyncio.to_thread(ask, gateway, "/readyz"))[0] == 200

        await eventually(ready)
        accepted.append(await me.submit("true", mode="background"))
        events = await me.until_ended(task_id)
        check_one(me.frames[task_id])
        assert output_of(events) == "".join(f"line {n}\n" for n in range(1, LINES + 1))
        assert {event["data"]["attempt"] for event in events if event["event"] == "status"} == {0, 1}
        await gateway.kill()
    async with (
        running_gateway(gateway.data_dir, "--no-local-sandbox", under=under) as again,
        client(again.socket_url) as me,
    ):
        assert sorted(await listed(me)) == sorted([*known, task_id, *accepted])


async def test_failing_sync_is_survived(tmp_path: Path) -> None:
    """Every fsync of the data directory fails for a while."""
    disk = FaultyDisk(tmp_path / "disk")
    async with running_gateway(disk.root / "data", env=disk.env) as gateway:
        await survive(gateway, lambda: disk.fail("sync"), disk.heal)
    assert disk.failed > 2


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[tuple[Path, list[str]]]:
    """A file system of 24 MiB that no other process sees, and the command under which one does."""
    if os.geteuid() != 0 or shutil.which("unshare") is None or shutil.which("nsenter") is None:
        pytest.skip("it takes root to mount a file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    inside = f"mount -t tmpfs -o size=24m tmpfs {folder} && echo mounted && read -r _"
    command = ["unshare", "--mount", "--propagation=private", "sh", "-ec", inside]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "mounted\n"
        yield folder, ["nsenter", f"--mount=/proc/{holder.pid}/ns/mnt", f"--wd={Path.cwd()}", "--"]
        holder.communicate("\n", timeout=10)


async def test_full_disk_is_survived(small_disk: tuple[Path, list[str]]) -> None:
    """There is really no room left for a while."""
    folder, under = small_disk
    async with running_gateway(folder / "data", under=under) as gateway:
        filler = Path(f"/proc/{gateway.pid}/root{folder}") / "filler"

        def fill() -> None:
            with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
                for _ in range(1000):
                    file.write(bytes(1 << 16))
            assert shutil.disk_usage(filler.parent).free == 0

        await survive(gateway, fill, filler.unlink, under=under)


async def test_database_held_by_another_process_is_survived(tmp_path: Path) -> None:
    """For a moment, which a submit waits out, and then for longer than it waits."""
    async with running_gateway(tmp_path / "data") as gateway:
        with closing(sqlite3.connect(gateway.data_dir / "gateway.db", isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            async with client(gateway.socket_url) as me:
                waits = await me.send("submit_task", mode="background", input={"commands": ["true"]})
                assert (await asyncio.to_thread(ask, gateway, "/readyz"))[1]["failing"] == ["store"]
                other.execute("ROLLBACK")
                assert (await me.answer(waits))["type"] == "result"
            hold, let_go = (functools.partial(other.execute, sql) for sql in ("BEGIN EXCLUSIVE", "ROLLBACK"))
            await survive(gateway, hold, let_go)
