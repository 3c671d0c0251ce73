"""As many and as large files as a task may have, with memory that stays flat."""

import asyncio
import hashlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import ClientSession

from gateway.tar import END, Member, TarReader, header, padding
from tests.support.fake_sandbox import FakeSandbox
from tests.support.files import noise, tar_of, untarred
from tests.support.gateway import GatewayProcess, client, running_gateway
from tests.support.processes import children_of, rss_mib, until
from tests.support.uploads import submit_tar

pytestmark = pytest.mark.journey

FILE_MIB: Final = 64
FILES: Final = 4
"""256 MiB: the most that is taken, and what the sandbox has room for by default."""
GROWTH_MIB: Final = 48


@asynccontextmanager
async def watched(pids: Callable[[], list[int]]) -> AsyncIterator[dict[int, float]]:
    """The most resident memory of each process while the block runs, beyond what it had before, in MiB."""
    before = {pid: rss_mib(pid) for pid in pids()}
    grown = dict.fromkeys(before, 0.0)

    async def watch() -> None:
        passed = asyncio.Event()
        while True:
            for pid, had in before.items():
                grown[pid] = max(grown[pid], rss_mib(pid) - had)
            asyncio.get_running_loop().call_later(0.05, passed.set)
            await passed.wait()
            passed.clear()

    watching = asyncio.create_task(watch())
    try:
        yield grown
    finally:
        watching.cancel()
        await asyncio.wait([watching])


def gateway_and_sandbox(gateway: GatewayProcess) -> list[int]:
    """The processes that are to stay small: not the jails, whose memory is the task's."""
    children = children_of(gateway.pid)
    return [gateway.pid, *(pid for pid in children if "sandbox_bridge" in command_of(pid))]


def command_of(pid: int) -> str:
    """A process's command line."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")


async def large_archive() -> AsyncIterator[bytes]:
    """`FILES` files of `FILE_MIB` each, made as they go."""
    block = noise(1 << 20)
    for number in range(FILES):
        yield header(f"large-{number}", FILE_MIB << 20, mtime_s=0)
        for _ in range(FILE_MIB):
            yield block
        yield padding(FILE_MIB << 20)
    yield END


async def test_large_files_go_in_with_flat_memory(tmp_path: Path) -> None:
    """A quarter of a GiB goes through gateway and sandbox, neither of which grows with it."""
    expected = hashlib.sha256(noise(1 << 20) * FILE_MIB).hexdigest()
    async with running_gateway(tmp_path / "data") as gateway:
        await submit_tar(gateway, tar_of({"warm": b"up"}), input={"commands": ["true"]})
        async with watched(lambda: gateway_and_sandbox(gateway)) as grown:
            status, answer = await submit_tar(
                gateway, large_archive(), input={"commands": ["sha256sum large-*"]}
            )
    assert status == 201, answer
    assert len(grown) == 2
    stdout = answer["task"]["result"]["commands"][0]["stdout"]
    assert stdout == "".join(f"{expected}  large-{number}\n" for number in range(FILES))
    assert max(grown.values()) < GROWTH_MIB, grown


async def test_large_files_come_back_with_flat_memory(tmp_path: Path) -> None:
    """A quarter of a GiB comes from a sandbox and goes to a client, and neither grows with it, nor the gateway."""
    async with running_gateway(tmp_path / "data") as gateway:
        await submit_tar(gateway, tar_of({"warm": b"up"}), input={"commands": ["true"]})
        async with watched(lambda: gateway_and_sandbox(gateway)) as grown:
            status, answer = await submit_tar(gateway, large_archive(), input={"collect": {"globs": ["*"]}})
            assert status == 201, answer
            seen = await hash_of(f"{gateway.url}/v1/tasks/{answer['task']['task_id']}/files.tar")
    expected = hashlib.sha256(noise(1 << 20) * FILE_MIB).hexdigest()
    listed = {file["path"]: (file["size"], file["sha256"]) for file in answer["task"]["result"]["files"]}
    assert listed == {f"large-{number}": (FILE_MIB << 20, expected) for number in range(FILES)}
    assert seen == dict.fromkeys(listed, expected)
    assert max(grown.values()) < GROWTH_MIB, grown


async def hash_of(url: str) -> dict[str, str]:
    """The SHA-256 of each file of an archive, read as it comes."""
    reader, hashes = TarReader(), list[tuple[str, Any]]()
    async with ClientSession() as http, http.get(url) as response:
        async for data in response.content.iter_any():
            take(reader.feed(data), hashes)
    reader.close()
    return {path: found.hexdigest() for path, found in hashes}


def take(told: Iterable[object], hashes: list[tuple[str, Any]]) -> None:
    """Hash what an archive's reader tells."""
    for what in told:
        if isinstance(what, Member):
            hashes.append((what.path, hashlib.sha256()))
        elif isinstance(what, bytes):
            hashes[-1][1].update(what)


async def test_many_files_come_back_though_the_list_is_cut(tmp_path: Path) -> None:
    """A result lists as many files as it has room for and says so; all of them are there all the same."""
    tree = {f"d{number % 100}/f{number}": b"%d" % number for number in range(3000)}
    async with running_gateway(tmp_path / "data") as gateway:
        _, answer = await submit_tar(gateway, tar_of(tree), input={"collect": {"globs": ["**"]}})
        async with ClientSession(gateway.url) as http:
            files = f"/v1/tasks/{answer['task']['task_id']}/files"
            listed = (await (await http.get(files)).json())["files"]
            archive = await (await http.get(f"{files}.tar")).read()
    result = answer["task"]["result"]
    assert result["truncated"] is True
    assert 0 < len(result["files"]) < len(tree)
    assert {file["path"] for file in listed} == set(tree)
    assert untarred(archive) == tree


async def test_files_of_an_attempt_that_was_killed_are_replaced(tmp_path: Path) -> None:
    """After kill -9 while files come back, the next attempt's are there, whole, and the former's are swept."""
    tree = {f"f{number}": noise(1 << 20, seed=number) for number in range(32)}
    async with FakeSandbox() as sandbox:
        env = {"WEBSOCKET_URL": sandbox.url}
        data_dir = tmp_path / "data"
        given = {"input": {"collect": {"globs": ["*"]}}, "mode": "background"}
        async with running_gateway(data_dir, "--no-local-sandbox", env=env) as gateway:
            _, answer = await submit_tar(gateway, tar_of(tree), **given)
            await until(lambda: rows(data_dir, OUTPUT) > 8, within_s=20, what="files come back")
            await gateway.kill()
        sandbox.restart("boot-2")  # what it had is gone, so there is nothing to go on with
        async with running_gateway(data_dir, "--no-local-sandbox", env=env) as gateway:
            task_id = answer["task"]["task_id"]
            async with client(gateway.socket_url) as alice:
                await alice.ask("subscribe", task_id=task_id)
                events = await alice.until_ended(task_id)
            assert (events[-1]["data"]["status"], events[-1]["data"]["attempt"]) == ("completed", 2)
            async with ClientSession(gateway.url) as http:
                archive = await (await http.get(f"/v1/tasks/{task_id}/files.tar")).read()
            assert untarred(archive) == tree
    assert rows(data_dir, "file_set WHERE task_id IS NOT NULL") == 2


OUTPUT: Final = "file_piece JOIN file_set USING (set_id) WHERE epoch > 0"


def rows(data_dir: Path, what: str) -> int:
    """How many rows of the store are so."""
    with closing(sqlite3.connect(data_dir / "gateway.db")) as db:
        (count,) = db.execute(f"SELECT count(*) FROM {what}").fetchone()
        return int(count)


async def test_many_files_go_in(gateway: GatewayProcess) -> None:
    """Ten thousand files are one upload."""
    tree = {f"d{number % 100}/f{number}": b"%d\n" % number for number in range(10_000)}
    status, answer = await submit_tar(
        gateway, tar_of(tree), input={"commands": ["find . -type f | wc -l", "cat d*/f* | sort -n | tail -1"]}
    )
    assert status == 201, answer
    counted, last = answer["task"]["result"]["commands"]
    assert (counted["stdout"].strip(), last["stdout"]) == ("10000", "9999\n")
