"""The files that a task gives back."""

import hashlib
from base64 import b64decode

import pytest

from sandbox_bridge.protocol import INITIAL_CREDIT_BYTES
from tests.sandbox_bridge.local.service import Frame, Peer, code_of, is_end, task

ALL = {"globs": ["**"]}


def files_in(frames: list[Frame]) -> dict[str, bytes]:
    """The files that came whole, each from pieces in order."""
    files: dict[str, bytes] = {}
    whole: set[str] = set()
    for chunk in (frame for frame in frames if frame["type"] == "file_chunk"):
        path, data = chunk["path"], b64decode(chunk["base64"], validate=True)
        assert chunk["offset"] == len(files.get(path, b""))
        assert path not in whole
        assert len(data) <= 64 << 10
        files[path] = files.get(path, b"") + data
        whole |= {path} if chunk["last"] else set()
    return {path: data for path, data in files.items() if path in whole}


def listed(files: dict[str, bytes]) -> list[Frame]:
    """What a result says of `files`."""
    return [
        {"path": path, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for path, data in files.items()
    ]


async def run_granting(peer: Peer, frame: Frame, *, until: str = "") -> list[Frame]:
    """All frames of a task whose output is taken as it comes; or up to the first chunk of the file `until`."""
    await peer.send(frame)
    frames: list[Frame] = []
    while not (frames and (is_end(frames[-1]) or (until and frames[-1].get("path") == until))):
        frames.append(await peer.recv())
        if text := frames[-1].get("base64"):
            await peer.send({"type": "credit", "session_id": "s", "bytes": len(text)})
    return frames


async def test_files_come_before_the_end(bridge: Peer) -> None:
    """Each file that matches comes whole, and the result lists it; those that don't match stay."""
    given = {"out/large": "0123456789abcdef" * 40_000, "out/empty": "", "out/small": "é", "src": "x"}
    frames = await run_granting(
        bridge, task("echo new > out/new", files=given, collect={"globs": ["out/**"]})
    )
    expected = {name: text.encode() for name, text in given.items() if name != "src"} | {"out/new": b"new\n"}
    assert files_in(frames) == expected
    assert frames[-1]["type"] == "task_completed"
    assert frames[-1]["result"]["files"] == listed(dict(sorted(expected.items())))
    assert "files_left_out" not in frames[-1]["result"]
    assert [frame["seq"] for frame in frames] == list(range(1, len(frames) + 1))


async def test_files_wait_for_credit(bridge: Peer) -> None:
    """No more comes than there is credit for, to the last byte; then the rest."""
    await bridge.send(task("head -c 400000 /dev/zero > big", collect=ALL))
    taken = 0
    while taken < INITIAL_CREDIT_BYTES:
        frame = await bridge.recv()
        taken += len(frame.get("base64", ""))
    assert taken == INITIAL_CREDIT_BYTES
    await bridge.send({"type": "health_check"})
    assert (await bridge.recv())["type"] == "health"
    await bridge.send({"type": "credit", "session_id": "s", "bytes": 1 << 20})
    end = (await bridge.until_end())[-1]
    assert end["result"]["files"] == listed({"big": bytes(400_000)})


async def test_failed_task_gives_its_files(bridge: Peer) -> None:
    """What is there when a command fails comes back; the failure is the command's."""
    frames = await bridge.run("echo 1 > a", "exit 3", "echo 2 > b", collect=ALL)
    assert (code_of(frames[-1]), frames[-1]["error_info"]["exit_code"]) == ("command_failed", 3)
    assert files_in(frames) == {"a": b"1\n"}
    assert frames[-1]["error_info"]["result"]["files"] == listed({"a": b"1\n"})


async def test_end_without_progress_has_its_files(bridge: Peer) -> None:
    """`execute_task` gives files back, too, and nothing else before its end."""
    await bridge.send(task("echo 1 > a", kind="execute_task", collect=ALL))
    frames = await bridge.until_end()
    assert [frame["type"] for frame in frames] == ["file_chunk", "task_completed"]


async def test_files_too_large_are_left_out_and_told_of(bridge: Peer) -> None:
    """Files beyond `max_bytes` do not come, and the result says how many."""
    frames = await bridge.run("head -c 900 /dev/zero | tee a b > c", collect={**ALL, "max_bytes": 2000})
    assert sorted(files_in(frames)) == ["a", "b"]
    assert frames[-1]["result"]["files_left_out"] == 1


async def test_nothing_runs_on_while_files_are_read(bridge: Peer) -> None:
    """What a task has left behind does not change its files any more."""
    writer = "sh -c 'while :; do head -c 70000 /dev/urandom > f; done' >/dev/null 2>&1 &"
    frames = await run_granting(bridge, task(writer, "sleep 0.1", collect=ALL))
    assert frames[-1]["result"]["files"] == listed(files_in(frames))


async def test_site_outlives_the_reading_of_files(bridge: Peer) -> None:
    """`serve` and `collect` go together."""
    frames = await bridge.run("serve", files={"index.html": "x"}, collect=ALL)
    assert frames[-1]["result"]["files"] == listed({"index.html": b"x"})
    assert frames[-1]["result"]["url"]
    await bridge.send({"type": "close_session", "session_id": "s"})


async def test_cancelled_reading_ends_the_task(bridge: Peer) -> None:
    """A task that is cancelled while its files wait for credit ends, and lists what came whole."""
    files = {"a": "1", "b": "x" * 300_000}
    await bridge.send(task(files=files, collect=ALL))
    taken, frames = 0, []
    while taken < INITIAL_CREDIT_BYTES:
        frames.append(await bridge.recv())
        taken += len(frames[-1].get("base64", ""))
    await bridge.send({"type": "cancel_task", "session_id": "s"})
    end = (await bridge.until_end())[-1]
    assert code_of(end) == "cancelled"
    result = end["error_info"]["result"]
    assert (result["files"], result["files_left_out"]) == (listed({"a": b"1"}), None)


async def test_long_list_is_cut_and_says_so(bridge: Peer) -> None:
    """A result has room for as many files as fit into its frame; all of them come."""
    make = "for n in $(seq 2000); do : > $(printf '%0200d' $n); done"
    frames = await bridge.run(make, collect=ALL)
    result = frames[-1]["result"]
    assert len(files_in(frames)) == 2000
    assert 0 < len(result["files"]) < 2000
    assert result["truncated"] is True


@pytest.mark.parametrize("globs", [["[z-a]"], ["a\0b"], ["x" * 70_000], ["*"] * 1001])
async def test_impossible_globs_are_refused(bridge: Peer, globs: list[str]) -> None:
    """What can't be a pattern, or is too much of one, makes no task."""
    assert code_of((await bridge.run("true", collect={"globs": globs}))[-1]) == "bad_input"


async def test_files_need_a_hello(peer: Peer) -> None:
    """A peer of the core protocol, who knows no chunks, is told so."""
    assert code_of((await peer.run("true", collect=ALL))[-1]) == "bad_input"
