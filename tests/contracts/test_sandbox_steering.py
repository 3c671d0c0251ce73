"""Steering a task and having its files back, held against every service whose hello offers it."""

import base64
import hashlib
import random

import pytest

from sandbox_bridge.connection import FrameTransport, WebSocketTransport, dial
from sandbox_bridge.protocol import Base64File, Collect, FileContent
from sandbox_bridge.spec import TaskSpec
from tests.support.bare_client import client, text_of
from tests.support.bridges import bridge_to, connected, failure_of, is_failure, outputs


async def able(url: str, capability: str) -> None:
    """Skip where the service does not offer `capability`."""
    async with client(url) as greeting:
        if capability not in (await greeting.greet())["capabilities"]:
            pytest.skip(f"offers no {capability}")


async def test_paused_task_stands_still(url: str) -> None:
    """A pause is told once it is true, also a second time; nothing comes until the task is resumed."""
    await able(url, "pause")
    async with client(url) as greeting:
        await greeting.greet()
        await greeting.say("stream_task", "s1", commands=["sleep 0.3", "echo done"])
        while (await greeting.next())["type"] != "task_progress":
            """Until it has begun."""
        for _ in range(2):
            await greeting.say("pause_task", "s1")
            assert await greeting.next() == {"type": "task_paused", "session_id": "s1"}
        assert await greeting.text_until_silence(0.6) == ""
        for _ in range(2):
            await greeting.say("resume_task", "s1")
        progress, end = await greeting.session("s1", passing="task_resumed")
        assert (text_of(progress), end["type"]) == ("done\n", "task_completed")


async def test_paused_task_can_be_cancelled(url: str) -> None:
    """A cancel reaches a task that stands still."""
    await able(url, "pause")
    async with bridge_to(url) as bridge, bridge.open("s1", TaskSpec(commands=["sleep 1000"])) as session:
        await anext(session)
        await session.pause()
        await session.cancel()
        assert is_failure(await failure_of(session), "cancelled")


async def test_input_reaches_the_command(url: str) -> None:
    """Input waits for a command, comes in order, and ends with `eof`; the next command has its own."""
    await able(url, "stdin")
    spec = TaskSpec(commands=["cat", "cat"], stdin=True)
    async with bridge_to(url) as bridge, bridge.open("s1", spec) as session:
        for number in range(100):
            session.send_input(f"{number}\n")
        session.send_input("", eof=True)
        session.send_input("second\n", eof=True)
        assert await outputs(session) == "".join(f"{number}\n" for number in range(100)) + "second\n"


async def test_task_without_stdin_reads_nothing(url: str) -> None:
    """Standard input is empty unless the task asks for it."""
    await able(url, "stdin")
    async with bridge_to(url) as bridge, bridge.open("s1", TaskSpec(commands=["cat"])) as session:
        session.send_input("x\n")
        assert await outputs(session) == ""


async def test_collected_files_come_back(url: str) -> None:
    """What the globs name comes in pieces before the end, taken against credit, and is listed in the result."""
    await able(url, "collect")
    data = bytes(range(256)) * 4000
    files: dict[str, FileContent] = {
        "out/a.bin": Base64File(base64=base64.b64encode(data).decode()),
        "out/b": "",
        "other": "x",
    }
    spec = TaskSpec(files=files, commands=["true"], collect=Collect(globs=["out/*"]))
    got: dict[str, bytes] = {}
    async with bridge_to(url) as bridge, bridge.open("s1", spec) as session:
        async for progress in session:
            if progress["kind"] == "file_chunk":
                assert progress["offset"] == len(got.setdefault(progress["path"], b""))
                got[progress["path"]] += base64.b64decode(progress["base64"])
                session.grant_nowait(len(progress["base64"]))
    assert got == {"out/a.bin": data, "out/b": b""}
    assert session.result is not None
    assert [(file["path"], file["size"], file["sha256"]) for file in session.result["files"]] == [
        (path, len(content), hashlib.sha256(content).hexdigest()) for path, content in sorted(got.items())
    ]


class Cuttable:
    """Dials `url`; its newest connection can be cut."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._transport: WebSocketTransport | None = None

    async def dial(self) -> FrameTransport:
        """See `Bridge`."""
        transport = await dial(self._url)
        assert isinstance(transport, WebSocketTransport)
        self._transport = transport
        return transport

    def cut(self) -> None:
        """Break the connection, with whatever is on its way."""
        assert self._transport is not None
        self._transport._connection.transport.abort()


@pytest.mark.parametrize("seed", range(3))
async def test_session_outlives_its_socket(url: str, seed: int) -> None:
    """Wherever the socket is cut, the output comes whole, in order and once, and the session ends well."""
    chance = random.Random(seed)
    cuttable = Cuttable(url)
    spec = TaskSpec(commands=["seq 3000", "sleep 0.2", "seq 3000"])
    texts: list[str] = []
    async with connected(cuttable.dial) as bridge, bridge.open("s1", spec) as session:
        until_cut = chance.randrange(1, 4)
        async for progress in session:
            if progress["kind"] == "output":
                texts.append(progress["text"])
                session.grant_nowait(len(progress["text"]))
            until_cut -= 1
            if until_cut == 0:
                cuttable.cut()
                until_cut = chance.randrange(1, 1000)
    assert session.result is not None
    assert "".join(texts) == "".join(f"{number}\n" for number in range(1, 3001)) * 2
