"""The core protocol, as a bare client of the original speaks it: no hello, the guide's shapes."""

import json

import pytest
from websockets.exceptions import ConnectionClosed

from tests.sandbox_bridge.local.service import Frame, Peer, Service, code_of, is_end, progress, task, text_of


async def test_service_is_silent_before_its_peer_speaks(service: Service) -> None:
    """A service sends nothing before its peer's first frame."""
    async with Peer(service.url) as peer:
        await peer.send({"type": "health_check"})
        assert (await peer.recv())["type"] == "health"


async def test_health_check_counts_sessions(peer: Peer) -> None:
    """Health tells what runs and what there is room for."""
    await peer.send({"type": "health_check"})
    assert await peer.recv() == {
        "type": "health",
        "status": "healthy",
        "active_sessions": 0,
        "max_sessions": 8,
    }


async def test_stream_task_streams_then_completes(peer: Peer) -> None:
    """`stream_task` sends each command's start, output and end, then its one last frame."""
    frames = await peer.run(
        "cat a/index.html", "echo err >&2", files={"a/index.html": "héllo"}, timestamp=1.5
    )
    assert all(frame["session_id"] == "s" and "seq" not in frame for frame in frames)
    assert progress(frames, "output") == [
        {"kind": "output", "stream": "stdout", "text": "héllo", "command": 0},
        {"kind": "output", "stream": "stderr", "text": "err\n", "command": 1},
    ]
    assert progress(frames, "command") == [
        {"kind": "command", "index": 0, "command": "cat a/index.html", "exit_code": None},
        {"kind": "command", "index": 0, "command": "cat a/index.html", "exit_code": 0, "reason": "exit"},
        {"kind": "command", "index": 1, "command": "echo err >&2", "exit_code": None},
        {"kind": "command", "index": 1, "command": "echo err >&2", "exit_code": 0, "reason": "exit"},
    ]
    assert frames[-1]["type"] == "task_completed"


async def test_execute_task_answers_once(peer: Peer) -> None:
    """`execute_task` sends no progress, and its result has the contract's shape."""
    await peer.send(task("echo hi; echo no >&2", kind="execute_task"))
    end = await peer.recv()
    assert end["type"] == "task_completed"
    result = end["result"]
    assert result["isolation"]["tier"] == "bwrap"
    assert result["commands"][0].pop("duration_ms") >= 0
    assert {key: result[key] for key in ("status", "exit_code", "url", "files", "commands")} == {
        "status": "completed",
        "exit_code": 0,
        "url": None,
        "files": [],
        "commands": [
            {
                "command": "echo hi; echo no >&2",
                "exit_code": 0,
                "reason": "exit",
                "stdout": "hi\n",
                "stderr": "no\n",
                "truncated": False,
            }
        ],
    }


async def test_first_failing_command_ends_the_task(peer: Peer) -> None:
    """The first command that fails ends the task; its result lists only those started."""
    end = (await peer.run("true", "exit 3", "echo never"))[-1]
    assert code_of(end) == "command_failed"
    assert isinstance(end["error"], str)
    info = end["error_info"]
    assert (info["exit_code"], info["reason"], info["result"]["status"]) == (3, "exit", "failed")
    assert [command["exit_code"] for command in info["result"]["commands"]] == [0, 3]


async def test_killed_command_has_no_exit_code(peer: Peer) -> None:
    """What a signal killed has exit code null and reason `signal`."""
    info = (await peer.run("kill -9 $$"))[-1]["error_info"]
    assert (info["code"], info["exit_code"], info["reason"]) == ("command_failed", None, "signal")


async def test_shells_own_code_for_a_signal_stays(peer: Peer) -> None:
    """Where the shell itself exits with 128+n, that is the exit code."""
    info = (await peer.run("sh -c 'kill -9 $$'; exit $?"))[-1]["error_info"]
    assert (info["exit_code"], info["reason"]) == (137, "exit")


async def test_killed_agent_is_the_tasks_own_failure(peer: Peer) -> None:
    """A jail that dies under us fails the task as `lost`, without an exit code."""
    info = (await peer.run("kill -9 -1; sleep 5"))[-1]["error_info"]
    assert (info["code"], info["exit_code"], info["reason"]) == ("command_failed", None, "lost")


@pytest.mark.parametrize(
    "harm", ["chmod 000 .", "chmod 000 /tmp", "rm -rf $PWD /tmp", "mkdir d; chmod 000 d .; cd d"]
)
async def test_task_that_shuts_itself_out_has_its_exit_code(peer: Peer, harm: str) -> None:
    """What a command did to the folders of its own task is no reason to lose its end, nor the next command's."""
    frames = await peer.run(f"{harm}; true", "echo next; exit 3")
    assert [record["exit_code"] for record in frames[-1]["error_info"]["result"]["commands"]] == [0, 3]
    assert (code_of(frames[-1]), frames[-1]["error_info"]["reason"]) == ("command_failed", "exit")
    assert text_of(frames) == "next\n"


async def test_command_in_a_folder_that_is_shut_is_refused(peer: Peer) -> None:
    """As a shell does it, with 126; the commands in other folders go on."""
    frames = await peer.run(
        "mkdir d e; chmod 000 d",
        {"argv": ["true"], "cwd": "d", "continue_on_error": True},
        {"argv": ["pwd"], "cwd": "e"},
    )
    records = frames[-1]["result"]["commands"]
    assert [record["exit_code"] for record in records] == [0, 126, 0]


async def test_file_that_begins_as_a_program_can_be_run(peer: Peer) -> None:
    """Whoever sends a project has run its scripts so; a file's rights don't come with it."""
    files = {"run.sh": "#!/bin/sh\necho ran", "data": "#! is no"[1:]}
    await peer.send(task("./run.sh && test ! -x data", files=files, kind="execute_task"))
    end = await peer.recv()
    assert end["type"] == "task_completed"
    assert end["result"]["commands"][0]["stdout"] == "ran\n"


@pytest.mark.parametrize("program", ["no-such-program", ""])
async def test_missing_program_is_the_shells_answer(peer: Peer, program: str) -> None:
    """A program that is not there exits with 127, as a shell says, with argv as well."""
    end = (await peer.run({"argv": [program]}))[-1]
    assert end["error_info"]["exit_code"] == 127
    assert "No such file" in end["error_info"]["result"]["commands"][0]["stderr"]


async def test_command_fields_are_used(peer: Peer) -> None:
    """A command may have its own folder and environment, and may fail without ending the task."""
    frames = await peer.run(
        {"sh": "exit 4", "continue_on_error": True},
        {"argv": ["/bin/sh", "-c", 'echo "$A $PWD"'], "cwd": "sub", "env": {"A": "é=1"}},
        files={"sub/x": ""},
    )
    assert text_of(frames) == "é=1 /work/sub\n"
    assert frames[-1]["result"]["exit_code"] == 0


async def test_task_without_commands_completes(peer: Peer) -> None:
    """No commands: nothing ran, so there is no exit code."""
    end = (await peer.run(files={"a": "b"}))[-1]
    assert (end["type"], end["result"]["exit_code"], end["result"]["commands"]) == (
        "task_completed",
        None,
        [],
    )


async def test_background_output_reaches_later_commands(peer: Peer) -> None:
    """What a command left in the background writes on, and does not hold up its end."""
    frames = await peer.run(
        "(while ! [ -e go ]; do sleep 0.01; done; echo late) & echo now", "touch go; wait; sleep 0.2"
    )
    assert [(p["text"], p["command"]) for p in progress(frames, "output")] == [("now\n", 0), ("late\n", 1)]


async def test_whole_output_comes_before_the_end(peer: Peer) -> None:
    """What a command wrote last is not lost, however fast it ends."""
    frames = await peer.run("seq 1 200000")
    assert text_of(frames) == "".join(f"{n}\n" for n in range(1, 200001))


async def test_last_words_belong_to_their_command(peer: Peer) -> None:
    """What a program writes in its last moment comes before its end, not after it."""
    frames = await peer.run(*({"argv": ["echo", str(number)]} for number in range(40)))
    texts = [(p["text"], p["command"]) for p in progress(frames, "output")]
    assert texts == [(f"{number}\n", number) for number in range(40)]


async def test_characters_are_never_cut(peer: Peer) -> None:
    """Each text is whole characters, also where the bytes came in pieces; bad bytes become U+FFFD."""
    script = r"printf '\342'; sleep 0.1; printf '\234'; sleep 0.1; printf '\223 \377!'"
    assert text_of(await peer.run(script)) == "✓ \ufffd!"


async def test_frames_text_is_bounded(peer: Peer) -> None:
    """No output frame has more than 64 KiB of text."""
    texts = [p["text"] for p in progress(await peer.run("yes ✓✓✓ | head -c 1000000"), "output")]
    assert max(len(text.encode()) for text in texts) <= 64 << 10


async def test_record_keeps_head_and_tail(peer: Peer) -> None:
    """A record's output keeps its head and tail within 64 KiB, and says so."""
    command = (await peer.run("seq 1 100000"))[-1]["result"]["commands"][0]
    assert command["truncated"] is True
    assert command["stdout"].startswith("1\n2\n")
    assert command["stdout"].endswith("\n100000\n")
    assert len(command["stdout"].encode()) <= 64 << 10


async def test_sessions_share_a_connection(peer: Peer) -> None:
    """Many sessions run at once on one connection, told apart by their ids."""
    ids = [f"s{number}" for number in range(8)]
    for session_id in ids:
        await peer.send(task(f"sleep 0.2; echo {session_id}", session_id=session_id))
    frames: list[Frame] = []
    while sum(map(is_end, frames)) < len(ids):
        frames.append(await peer.recv())
    for session_id in ids:
        assert text_of([frame for frame in frames if frame["session_id"] == session_id]) == f"{session_id}\n"


async def test_one_session_too_many_is_busy(peer: Peer) -> None:
    """A peer for whom there is no room is told `busy`, and the others run on."""
    for number in range(9):
        await peer.send(task("sleep 1; echo done", session_id=str(number), kind="execute_task"))
    first = await peer.recv()
    assert (first["session_id"], code_of(first)) == ("8", "busy")
    assert {(await peer.recv())["type"] for _ in range(8)} == {"task_completed"}


async def test_second_task_of_a_session_is_refused(peer: Peer) -> None:
    """A session id that runs can't be taken again; the first goes on."""
    await peer.send(task("sleep 0.3; echo first"))
    await peer.send(task("echo second"))
    refused = (await peer.until(is_end))[-1]
    assert code_of(refused) == "bad_input"
    frames = await peer.until_end()
    assert (text_of(frames), frames[-1]["type"]) == ("first\n", "task_completed")


async def test_cancel_of_an_unknown_session(peer: Peer) -> None:
    """A cancel for an id never seen is `unknown_session`."""
    await peer.send({"type": "cancel_task", "session_id": "nobody"})
    assert code_of(await peer.recv()) == "unknown_session"


async def test_cancel_of_an_ended_session_is_ignored(peer: Peer) -> None:
    """A cancel that comes late is no error, and no second end."""
    await peer.run("true")
    await peer.send({"type": "cancel_task", "session_id": "s"})
    await peer.send({"type": "health_check"})
    assert (await peer.recv())["type"] == "health"


BAD_FRAMES = [
    "not json",
    "[]",
    "{}",
    '{"type":"dance","session_id":"bad"}',
    '{"type":"stream_task"}',
    '{"type":"stream_task","session_id":7}',
    '{"type":"stream_task","session_id":"bad","commands":[1]}',
    '{"type":"stream_task","session_id":"bad","files":{"a":1}}',
    '{"type":"stream_task","session_id":"bad","limits":{"timeout_s":"5"}}',
    '{"type":"stream_task","session_id":"bad","limits":{"timeout_s":NaN}}',
    '{"type":"stream_task","session_id":"bad","commands":["half of one \\ud83d"]}',
    "[" * 1000 + "]" * 1000,
    b"\x00binary",
]


@pytest.mark.parametrize("frame", BAD_FRAMES)
async def test_bad_frame_costs_an_error(peer: Peer, frame: str | bytes) -> None:
    """A broken frame is answered `bad_input`, and a session beside it never notices."""
    await peer.send(task("sleep 0.2; echo fine", session_id="good"))
    await peer.send(frame)
    error = (await peer.until(lambda f: f["type"] == "task_error"))[-1]
    assert code_of(error) == "bad_input"
    assert error["session_id"] == ("bad" if "bad" in str(frame) else "")
    assert text_of(await peer.until_end("good")) == "fine\n"


async def test_bad_frame_about_a_running_session_does_not_end_it(peer: Peer) -> None:
    """A broken frame that names a session which runs is no end of that session."""
    await peer.send(task("sleep 0.2; echo fine"))
    await peer.send('{"type":"dance","session_id":"s"}')
    error = (await peer.until(is_end))[-1]
    assert (error["session_id"], code_of(error)) == ("", "bad_input")
    assert text_of(await peer.until_end()) == "fine\n"


async def test_hopeless_peer_is_closed(service: Service, peer: Peer) -> None:
    """The twentieth broken frame closes the connection with 1008, and nobody else's."""
    async with Peer(service.url) as other:
        await other.send(task("sleep 0.3; echo fine"))
        for _ in range(20):
            await peer.send("nonsense")
        with pytest.raises(ConnectionClosed):
            await peer.until(lambda frame: code_of(frame) != "bad_input")
        assert peer.socket.close_code == 1008
        assert text_of(await other.until_end()) == "fine\n"


@pytest.mark.parametrize(
    ("fields", "loc"),
    [
        ({"files": {"/etc/passwd": ""}}, "files"),
        ({"files": {"a/../../b": ""}}, "files"),
        ({"files": {"a": "", "a/b": ""}}, "files"),
        ({"files": {"a\0": ""}}, "files"),
        ({"files": {"x" * 256: ""}}, "files"),
        ({"files": {"a": {"base64": "!"}}}, "files"),
        ({"limits": {"disk_mb": 10_000}}, "limits.disk_mb"),
        ({"limits": {"memory_mb": 1}}, "limits.memory_mb"),
        ({"files": {"large": "x" * (16 << 20)}}, "a frame is at most"),
        ({"limits": {"network": "full"}}, "limits.network"),
        ({"collect": {"globs": ["*"]}}, "collect"),
        ({"commands": ["a\0b"]}, "commands.0"),
        ({"commands": ["x" * (128 << 10)]}, "commands.0"),
        ({"commands": [{"sh": "a", "env": {"A=B": "c"}}]}, "commands.0.env"),
        ({"commands": [{"sh": "a", "timeout_s": 0}]}, "stream_task.commands.0.timeout_s"),
        ({"commands": ["true"] * 1001}, "commands"),
    ],
)
async def test_bad_task_is_refused_with_its_place(peer: Peer, fields: dict[str, object], loc: str) -> None:
    """What can't be run as it is ends `bad_input`, and the words say where the fault lies."""
    await peer.send({"type": "stream_task", "session_id": "s", "commands": ["echo no"], **fields})
    end = await peer.recv()
    assert code_of(end) == "bad_input"
    assert end["error"].startswith(loc)


async def test_large_core_frame_is_taken(peer: Peer) -> None:
    """Without hello a task is one frame of up to 16 MiB."""
    assert text_of(await peer.run("wc -c < big", files={"big": "x" * (15 << 20)})).strip() == str(15 << 20)


async def test_result_always_fits_a_frame(peer: Peer) -> None:
    """However much many commands write, the last frame is under 1 MiB, and says that it was cut."""
    await peer.send(task(*["head -c 70000 /dev/zero; head -c 70000 /dev/zero >&2"] * 40, kind="execute_task"))
    end = await peer.recv()
    assert len(json.dumps(end)) < 1 << 20
    assert len(end["result"]["commands"]) == 40
    assert all(command["truncated"] for command in end["result"]["commands"])
