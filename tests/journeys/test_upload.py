"""Files in by upload, as scripts meet it."""

import asyncio
import hashlib
import io
import sqlite3
import tarfile
from collections.abc import AsyncIterator
from contextlib import closing
from typing import Any, Final

import pytest
from aiohttp import ClientConnectionError, ClientSession

from tests.support.files import noise, tar_of
from tests.support.gateway import GatewayProcess, client, running_gateway
from tests.support.processes import until
from tests.support.uploads import submit_tar

pytestmark = pytest.mark.journey

TREE: Final = {
    "a.txt": b"alpha\n",
    "folder/b": b"",
    "folder/\u00fc 1/c.bin": noise(300_000),
    "folder/" + "long-" * 40 + "/d": b"\0\xff",
}
HASHES: Final = "find . -type f | sort | xargs -d '\\n' sha256sum"


def hashes(tree: dict[str, bytes]) -> str:
    """What `HASHES` prints of a tree."""
    lines = {f"./{path}": f"{hashlib.sha256(data).hexdigest()}  ./{path}" for path, data in tree.items()}
    return "".join(f"{lines[path]}\n" for path in sorted(lines, key=str.encode))


def rows(gateway: GatewayProcess, table: str) -> int:
    """How many rows a table of the gateway's store has."""
    with closing(sqlite3.connect(gateway.data_dir / "gateway.db")) as db:
        (count,) = db.execute(f"SELECT count(*) FROM {table}").fetchone()
        return int(count)


async def test_upload_puts_every_file_where_the_commands_run(gateway: GatewayProcess) -> None:
    """What is uploaded is in the task's directory, byte for byte, beside the files of the input."""
    given = {"commands": [HASHES], "files": {"inline.txt": "here\n"}}
    status, answer = await submit_tar(gateway, tar_of(TREE), input=given)
    assert status == 201, answer
    (command,) = answer["task"]["result"]["commands"]
    assert command["stdout"] == hashes(TREE | {"inline.txt": b"here\n"})


async def test_upload_is_told_of_with_the_input(gateway: GatewayProcess) -> None:
    """Who asks for the input is told which files came with it."""
    _, answer = await submit_tar(gateway, tar_of(TREE), input={"commands": ["true"]})
    async with client(gateway.socket_url) as alice:
        asked = await alice.ask("get_task", task_id=answer["task"]["task_id"], include_input=True)
    assert asked["task"]["input"] == {"commands": ["true"]}
    assert asked["task"]["input_files"] == [
        {"path": path, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for path, data in TREE.items()
    ]


async def test_upload_takes_what_tar_writes(gateway: GatewayProcess) -> None:
    """An archive as `tar -C DIR -c .` makes it, folders, `./` and all, is taken."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        for name, kind in ((".", tarfile.DIRTYPE), ("./folder", tarfile.DIRTYPE), ("./folder/a", None)):
            member = tarfile.TarInfo(name)
            member.type = kind or tarfile.REGTYPE
            archive.addfile(member)
    status, answer = await submit_tar(gateway, held.getvalue(), input={"commands": ["find . -type f"]})
    assert status == 201, answer
    assert answer["task"]["result"]["commands"][0]["stdout"] == "./folder/a\n"


async def test_upload_with_a_key_is_one_task(gateway: GatewayProcess) -> None:
    """The same archive with the same key is the same task, another one a conflict."""
    given = {"input": {"commands": ["cat a"]}, "idempotency_key": "upload-1"}
    first, again = [await submit_tar(gateway, tar_of({"a": b"1"}), **given) for _ in range(2)]
    assert (first[0], again[0]) == (201, 200)
    assert first[1]["task"]["task_id"] == again[1]["task"]["task_id"]
    assert again[1]["replayed"]
    status, other = await submit_tar(gateway, tar_of({"a": b"2"}), **given)
    assert (status, other["code"]) == (409, "idempotency_conflict")


def member(name: str, kind: bytes = tarfile.REGTYPE) -> bytes:
    """An archive of one empty member, of any kind."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    return info.tobuf() + bytes(1024)


def folder_and_file() -> bytes:
    """An archive in which one name is a folder and a file."""
    return member("a/", tarfile.DIRTYPE)[:512] + member("a")


@pytest.mark.parametrize(
    ("archive", "loc", "words"),
    [
        (member("../a"), ["../a"], "'..'"),
        (member("/etc/passwd"), ["/etc/passwd"], "relative"),
        (member("a//b"), ["a//b"], "empty"),
        (member("link", tarfile.SYMTYPE), ["link"], "symbolic link"),
        (member("link", tarfile.LNKTYPE), ["link"], "hard link"),
        (member("null", tarfile.CHRTYPE), ["null"], "device"),
        (member("pipe", tarfile.FIFOTYPE), ["pipe"], "pipe"),
        (tar_of({"a": b"", "b": b""})[:512] + member("a"), ["a"], "twice"),
        (tar_of({"a": b"", "a/b": b""}), ["a/b"], "below"),
        (folder_and_file(), ["a"], "below"),
        (tar_of({"inline": b""}), ["inline"], "twice"),
        (tar_of({"inline/below": b""}), ["inline/below"], "below"),
        (tar_of({str(number): b"" for number in range(10_001)}), ["10000"], "too many"),
        (tar_of({"a": bytes(5000)})[:3000], [], "cut off"),
        (b"", [], "cut off"),
        (b"no tar" * 200, [], "no tar archive"),
        (b"\x1f\x8b" + bytes(1000), [], "compressed"),
    ],
)
async def test_upload_of_what_is_no_tree_is_refused(
    gateway: GatewayProcess, archive: bytes, loc: list[str], words: str
) -> None:
    """Links, devices, strange paths, conflicts and damage make no task, say where, and leave nothing."""
    before = rows(gateway, "task")
    given = {"input": {"commands": ["true"], "files": {"inline": ""}}}
    status, answer = await submit_tar(gateway, archive, **given)
    assert (status, answer["code"]) == (422, "bad_frame"), answer
    (found,) = answer["details"]["errors"]
    assert found["loc"] == ["input", "files", *loc]
    assert words in found["msg"]
    assert rows(gateway, "task") == before
    assert rows(gateway, "file_set WHERE task_id IS NULL") == 0


async def test_upload_for_an_input_that_is_wrong_is_refused(gateway: GatewayProcess) -> None:
    """The rest of the input is checked as ever."""
    status, answer = await submit_tar(gateway, tar_of(TREE), input={"comands": []})
    assert (status, answer["code"]) == (422, "bad_frame")
    assert answer["details"]["errors"][0]["loc"] == ["input", "comands"]
    assert rows(gateway, "file_set WHERE task_id IS NULL") == 0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--x\r\n",
        b"--x--\r\n",
        b'--x\r\nContent-Disposition: form-data; name="task"\r\n\r\n{}',
        b'--x\r\nContent-Disposition: form-data; name="task"\r\n\r\nno json\r\n--x--\r\n',
        b'--x\r\nContent-Disposition: form-data; name="other"\r\n\r\n{}\r\n--x--\r\n',
        b"no form at all",
        b"\n" * 2000 + b'--x\r\nContent-Disposition: form-data; name="task"\r\n\r\n{}\r\n--x--\r\n',
    ],
)
async def test_a_form_that_is_none_is_refused(gateway: GatewayProcess, body: bytes) -> None:
    """A broken form, or one of other parts, is the sender's fault and told so."""
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    posted = f"{gateway.url}/v1/tasks"
    async with ClientSession() as http, http.post(posted, data=body, headers=headers) as response:
        answer = await response.json()
    assert (response.status, answer["code"]) == (422, "bad_frame"), answer


async def test_upload_beyond_its_bound_is_too_large(tmp_path: Any) -> None:
    """More bytes than `GATEWAY_MAX_INPUT_BYTES` are refused while they come, and leave nothing."""
    env = {"GATEWAY_MAX_INPUT_BYTES": "1000000"}
    async with running_gateway(tmp_path / "data", "--no-local-sandbox", env=env) as gateway:
        status, answer = await submit_tar(
            gateway, tar_of({"a": bytes(600_000), "b": bytes(600_000)}), mode="background"
        )
        assert (status, answer["code"]) == (413, "too_large")
        status, _ = await submit_tar(
            gateway, tar_of({"a": bytes(600_000), "b": bytes(400_000)}), mode="background"
        )
        assert status == 201
        assert rows(gateway, "file_set WHERE task_id IS NULL") == 0


async def test_uploads_at_once_are_bounded(gateway: GatewayProcess) -> None:
    """One subject has eight uploads under way; the next is told to come again, and is let in after one is done."""
    going = asyncio.Event()

    async def archive() -> AsyncIterator[bytes]:
        yield tar_of({"a": noise(2_000_000)})
        await going.wait()

    given = {"input": {"commands": ["true"]}, "mode": "background"}
    sending = [asyncio.create_task(submit_tar(gateway, archive(), **given)) for _ in range(8)]
    begun = "file_set WHERE task_id IS NULL"
    await until(lambda: rows(gateway, begun) == 8, within_s=20, what="eight uploads have begun")
    status, answer = await submit_tar(gateway, tar_of({"a": b""}), **given)
    assert (status, answer["code"], answer["retryable"]) == (503, "overloaded", True)
    going.set()
    assert {status for status, _ in await asyncio.gather(*sending)} == {201}
    assert (await submit_tar(gateway, tar_of({"a": b""}), **given))[0] == 201


async def test_upload_that_is_cut_leaves_nothing(gateway: GatewayProcess) -> None:
    """A client that goes in the middle has made no task, and what it had sent is dropped."""
    going = asyncio.Event()

    async def archive() -> AsyncIterator[bytes]:
        yield tar_of({"a": noise(3_000_000)})[:-5000]
        await going.wait()

    sending = asyncio.create_task(submit_tar(gateway, archive(), input={"commands": ["true"]}))
    nobodys = "file_set WHERE task_id IS NULL"
    await until(lambda: rows(gateway, nobodys) == 1, within_s=10, what="the upload has begun")
    sending.cancel()
    await asyncio.wait([sending])
    await until(lambda: rows(gateway, nobodys) == 0, within_s=10, what="the upload is dropped")
    await until(
        lambda: rows(gateway, "file_piece WHERE set_id NOT IN (SELECT set_id FROM file_set)") == 0,
        within_s=5,
        what="its pieces, too",
    )


async def test_upload_that_a_kill_cuts_is_swept_at_the_next_start(tmp_path: Any) -> None:
    """After kill -9 in the middle of an upload, the next start drops what had come; an answered one is whole."""
    data_dir = tmp_path / "data"
    async with running_gateway(data_dir, "--no-local-sandbox") as gateway:
        status, answered = await submit_tar(gateway, tar_of(TREE), mode="background")
        assert status == 201
        going = asyncio.Event()

        async def archive() -> AsyncIterator[bytes]:
            yield tar_of({"a": noise(3_000_000)})[:-5000]
            await going.wait()

        sending = asyncio.create_task(submit_tar(gateway, archive(), mode="background"))
        await until(lambda: rows(gateway, "file_piece") > 10, within_s=10, what="much has come")
        await gateway.kill()
        with pytest.raises(ClientConnectionError):
            await sending
        assert rows(gateway, "file_set") == 2
    async with running_gateway(data_dir) as gateway:
        await until(lambda: rows(gateway, "file_set") == 1, within_s=10, what="the upload is swept")
        async with client(gateway.socket_url) as alice:
            task_id = answered["task"]["task_id"]
            asked = await alice.ask("get_task", task_id=task_id, include_input=True)
            assert [file["path"] for file in asked["task"]["input_files"]] == list(TREE)
