"""Files out by download."""

import asyncio
import hashlib
import json
import random
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest
import pytest_asyncio
from aiohttp import ClientSession
from yarl import URL

from gateway.client.errors import RequestError
from gateway.client.session import connect
from tests.support.fake_sandbox import FakeSandbox
from tests.support.files import Tree, info, noise, tar_of, untarred
from tests.support.gateway import GatewayProcess, client, running_gateway
from tests.support.uploads import submit_tar

pytestmark = [pytest.mark.journey, pytest.mark.asyncio(loop_scope="module")]

SAFE: Final = {
    "Content-Type": "application/octet-stream",
    "Content-Disposition": "attachment",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
}
ODD: Final = {
    "index.html": b"<script>alert(1)</script>",
    "a b/\u00fc#?&=+%2F%41.txt": b"odd",
    "%2e%2e/x": b"percent",
    "empty": b"",
    "large": noise(700_000),
    "a\\b": b"backslash",
    "q'\";": b"quotes",
    "two\r\nlines: x\x1b": b"controls",
}
GIVES_ALL: Final = {"collect": {"globs": ["**"]}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayProcess]:
    """A gateway with a sandbox of its own."""
    async with running_gateway(tmp_path_factory.mktemp("download") / "data") as gateway:
        yield gateway


async def ran(gateway: GatewayProcess, tree: Tree, **given: Any) -> dict[str, Any]:
    """The task that was given a tree and gives all of it back."""
    status, answer = await submit_tar(gateway, tar_of(tree), input={**GIVES_ALL, **given})
    assert status == 201, answer
    task: dict[str, Any] = answer["task"]
    return task


async def fetched(
    gateway: GatewayProcess, path: str, *, method: str = "GET", **headers: str
) -> tuple[int, Mapping[str, str], bytes]:
    """One answer, its path sent just so."""
    url = URL(f"{gateway.url}/v1/tasks/{path}", encoded=True)
    async with ClientSession() as http, http.request(method, url, headers=headers) as response:
        return response.status, response.headers, await response.read()


async def test_download_gives_each_file_as_no_page_of_ours(gateway: GatewayProcess) -> None:
    """Each file comes back byte for byte under its quoted name, with headers that no browser runs."""
    task = await ran(gateway, ODD)
    assert {entry["path"] for entry in task["result"]["files"]} == set(ODD)
    for path, data in ODD.items():
        status, headers, body = await fetched(gateway, f"{task['task_id']}/files/{quote(path)}")
        assert (status, body) == (200, data), path
        assert {name: headers[name] for name in SAFE} == SAFE
        assert headers["Content-Length"] == str(len(data))
        assert headers["ETag"] == f'"{hashlib.sha256(data).hexdigest()}"'


async def test_download_takes_a_name_that_no_jail_gives(tmp_path: Path) -> None:
    """A sandbox may give a file whose name has a line break: it is one file all the same."""
    tree = {"q'\";\n": b"line"}
    async with FakeSandbox() as sandbox:
        env = {"WEBSOCKET_URL": sandbox.url}
        async with running_gateway(tmp_path / "data", "--no-local-sandbox", env=env) as gateway:
            task = await ran(gateway, tree)
            (path,) = tree
            status, headers, body = await fetched(gateway, f"{task['task_id']}/files/{quote(path)}")
            assert (status, body) == (200, b"line")
            assert {name: headers[name] for name in SAFE} == SAFE
            assert untarred((await fetched(gateway, f"{task['task_id']}/files.tar"))[2]) == tree


async def test_download_of_all_is_an_archive(gateway: GatewayProcess) -> None:
    """`files.tar` has every file; with no file it is an archive of none."""
    task = await ran(gateway, ODD)
    status, headers, body = await fetched(gateway, f"{task['task_id']}/files.tar")
    assert (status, untarred(body)) == (200, ODD)
    assert {name: headers[name] for name in SAFE} == SAFE
    none = await ran(gateway, {"a": b"x"}, collect={"globs": ["nothing"]})
    assert untarred((await fetched(gateway, f"{none['task_id']}/files.tar"))[2]) == {}


async def test_download_tells_what_is_there(gateway: GatewayProcess) -> None:
    """The list has every file's path, size and hash."""
    task = await ran(gateway, {"a": b"1", "b/c": b"22"})
    _, _, body = await fetched(gateway, f"{task['task_id']}/files")
    files = [info("a", b"1"), info("b/c", b"22")]
    expected = [{"path": f.path, "size": f.size, "sha256": f.sha256} for f in files]
    async with ClientSession() as http, http.get(f"{gateway.url}/v1/tasks/{task['task_id']}/files") as answer:
        assert (await answer.json())["files"] == expected
    assert task["result"]["files"] == expected
    assert body


async def test_download_again_is_not_sent_again(gateway: GatewayProcess) -> None:
    """Who has a file by its ETag is told so; HEAD tells of it without it."""
    task = await ran(gateway, {"a": b"1"})
    path = f"{task['task_id']}/files/a"
    _, headers, _ = await fetched(gateway, path)
    status, _, body = await fetched(gateway, path, **{"If-None-Match": headers["ETag"]})
    assert (status, body) == (304, b"")
    status, headers, body = await fetched(gateway, path, method="HEAD")
    assert (status, headers["Content-Length"], body) == (200, "1", b"")


@pytest.mark.parametrize(
    "path",
    [
        "files/absent",
        "files/",
        "files/../../../v1/whoami",
        "files/a/",
        "files/A",
        "files/%2e%2e/a",
        "files//a",
    ],
)
async def test_download_of_what_is_not_there_is_404(gateway: GatewayProcess, path: str) -> None:
    """A name that is not listed leads nowhere."""
    task = await ran(gateway, {"a": b"1"})
    status, _, _ = await fetched(gateway, f"{task['task_id']}/{path}")
    assert status == 404


async def test_download_from_a_strange_task_is_404(gateway: GatewayProcess) -> None:
    """A task that is not there has no files."""
    for path in ("files", "files.tar", "files/a"):
        status, _, body = await fetched(gateway, f"0198c0de-0000-7000-8000-000000000000/{path}")
        assert status == 404
        assert b'"task_not_found"' in body


async def test_a_tree_goes_in_and_comes_back(gateway: GatewayProcess) -> None:
    """Any tree that is uploaded and given back is the same tree, byte for byte."""
    chance = random.Random(20)
    for _ in range(20):
        tree = random_tree(chance)
        task = await ran(gateway, tree)
        _, _, body = await fetched(gateway, f"{task['task_id']}/files.tar")
        assert untarred(body) == tree


async def test_delete_takes_the_files_along(gateway: GatewayProcess) -> None:
    """A deleted task is not there any more, by socket or HTTP, nor are its files; a running one can't be."""
    task = await ran(gateway, {"a": b"1"})
    task_id = task["task_id"]
    async with client(gateway.socket_url) as alice:
        running = await alice.submit("sleep 1000", mode="background")
        refused = await alice.ask("delete_task", task_id=running)
        assert refused["code"] == "invalid_state"
        assert refused["details"]["status"] in {"pending", "running"}
        assert await alice.ask("delete_task", task_id=task_id) == {}
        for kind in ("delete_task", "get_task", "subscribe"):
            assert (await alice.ask(kind, task_id=task_id))["code"] == "task_not_found"
        await alice.ask("cancel_task", task_id=running)
        await alice.ask("subscribe", task_id=running)
        await alice.until_ended(running)
    for path in (f"{task_id}/files.tar", f"{task_id}/files/a", task_id):
        assert (await fetched(gateway, path))[0] == 404
    status, _, body = await fetched(gateway, running, method="DELETE")
    assert (status, body) == (200, b"{}")
    assert (await fetched(gateway, running, method="DELETE"))[0] == 404


async def test_client_sends_a_directory_and_gets_it_back(gateway: GatewayProcess, tmp_path: Path) -> None:
    """What the Python client uploads from a directory it downloads into another, the same."""
    tree = {path: data for path, data in ODD.items() if "\\" not in path} | {"big/file": noise(3 << 20)}
    land(tree, tmp_path / "in")
    async with connect(gateway.url) as session:
        task = await session.submit(files=tmp_path / "in", input=GIVES_ALL)
        await task.result()
        assert {file["path"]: file["size"] for file in await task.files()} == {
            path: len(data) for path, data in tree.items()
        }
        await task.download(tmp_path / "out")
        (one,) = await task.download(tmp_path / "one", "a b/\u00fc#?&=+%2F%41.txt")
        with pytest.raises(RequestError, match="no such file"):
            await task.download(tmp_path / "one", "absent")
    assert tree_in(tmp_path / "out") == tree
    assert tree_in(tmp_path / "one") == {"a b/\u00fc#?&=+%2F%41.txt": b"odd"}
    assert one.read_bytes() == b"odd"


async def test_commands_bring_files_back(gateway: GatewayProcess, tmp_path: Path) -> None:
    """`submit --collect` writes what it collected; `files` lists and fetches it again."""
    tree = {"a.txt": b"1", "large.txt": noise(1 << 20), "no": b""}
    land(tree, tmp_path / "in")
    collecting = ("--collect", "*.txt", "--output", str(tmp_path / "out"))
    code, _, notes = await command(gateway, "submit", str(tmp_path / "in"), "-c", "true", *collecting)
    expected = {path: data for path, data in tree.items() if path.endswith(".txt")}
    assert (code, tree_in(tmp_path / "out")) == (0, expected), notes
    _, listed, _ = await command(gateway, "tasks", "--limit", "1", "--json")
    task_id = json.loads(listed)["task_id"]
    _, printed, _ = await command(gateway, "files", task_id)
    assert printed == "         1 a.txt\n   1048576 large.txt\n"
    code, _, notes = await command(gateway, "files", task_id, "-o", str(tmp_path / "again"))
    assert (code, notes) == (0, f"gateway: 2 files in {tmp_path / 'again'}\n")
    assert tree_in(tmp_path / "again") == expected


async def command(gateway: GatewayProcess, *words: str) -> tuple[int | None, str, str]:
    """A command's exit code and what it printed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", *words, "--url", gateway.url),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


def land(tree: Tree, folder: Path) -> None:
    """Write a tree to disk."""
    for path, data in tree.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)


def tree_in(folder: Path) -> Tree:
    """A folder as a tree."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def random_tree(chance: random.Random) -> Tree:
    """A few files of odd names and sizes, none below another."""
    tree: Tree = {}
    for number in range(chance.randrange(1, 30)):
        depth = chance.randrange(4)
        folders = [f"d{chance.randrange(3)}" for _ in range(depth)]
        odd = "".join(
            chance.choice("a \u00fc%\\'\"#?*[]\u4e2d\U0001f600") for _ in range(chance.randrange(6))
        )
        size = chance.choice([0, 1, 511, 512, 513, 70_000, chance.randrange(400_000)])
        tree["/".join([*folders, f"f{number}{odd}"])] = chance.randbytes(size)
    return tree
