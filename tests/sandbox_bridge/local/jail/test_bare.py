"""Tasks without a jail, where the operator has said so twice."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sandbox_bridge.local.agent.frames import EXEC, LIMIT
from sandbox_bridge.local.jail.bare import bare_profile
from sandbox_bridge.local.jail.jail import Exec
from tests.sandbox_bridge.local.jail.test_jail import started
from tests.sandbox_bridge.local.jails import Output, hostile, open_jail, read
from tests.sandbox_bridge.local.service import (
    Peer,
    code_of,
    eventually,
    processes_with,
    running_service,
    text_of,
)


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    """A client of a service without jails."""
    with running_service("--unsafe-no-isolation", SANDBOX_ISOLATION="none") as service:
        async with Peer(service.url) as client:
            yield client


async def test_task_runs_and_says_that_nothing_held_it(peer: Peer) -> None:
    """A task runs in a folder of its own, which is gone after it, and its result names the tier."""
    frames = await peer.run("pwd; cat a/b; echo $HOME", files={"a/b": "text\n"})
    folder, text, home = text_of(frames).split()
    assert (text, home) == ("text", "/tmp")  # noqa: S108 - what a jail has
    assert frames[-1]["result"]["isolation"]["tier"] == "none"
    assert eventually(lambda: not Path(folder).exists())


async def test_what_does_not_work_is_not_offered(peer: Peer) -> None:
    """Nothing can freeze a task here, or tell its ports; its files come back."""
    hello = await peer.hello()
    assert {"collect", "stdin", "tty", "limits"} <= set(hello["capabilities"])
    assert {"pause", "serve"}.isdisjoint(hello["capabilities"])
    frames = await peer.run("echo 1 > a", collect={"globs": ["*"]})
    assert [file["path"] for file in frames[-1]["result"]["files"]] == ["a"]


async def test_exit_code_is_the_commands(peer: Peer) -> None:
    """What ends with a code ends so here."""
    end = (await peer.run("exit 7"))[-1]
    assert (code_of(end), end["error_info"]["exit_code"]) == ("command_failed", 7)


async def test_cancel_kills_the_whole_tree(peer: Peer) -> None:
    """All of a task goes, also what left its group and lost its parent."""
    marker = "marker-of-a-task-without-a-jail"
    await started(peer, marker)
    await peer.send({"type": "cancel_task", "session_id": "s"})
    assert code_of((await peer.until_end())[-1]) == "cancelled"
    assert eventually(lambda: processes_with(marker) == [])


async def test_nothing_is_swept_on_the_host() -> None:
    """Without a jail nobody is told to kill everybody."""
    source = (
        "tell(b'R'); kinds = b''; data = b''\n"
        "while b'X' not in kinds:\n"
        "    data += os.read(control, 4096)\n"
        "    while len(data) >= 5 and len(data) >= (end := 5 + int.from_bytes(data[1:5], 'big')):\n"
        "        kinds += data[:1]; data = data[end:]\n"
        "os.write(stdout, kinds + b'.'); time.sleep(60)\n"
    )
    async with open_jail(hostile(bare_profile(0, 1024), source)) as jail:
        jail.sweep_nowait()
        await jail.start(Exec(["true"], {}))
        output = await read(jail, Output(), until=b".")
    assert output.stdout == LIMIT + EXEC + b"."
