"""How a task is said to a sandbox."""

import base64
from typing import Any

import orjson
import pytest

from sandbox_bridge.errors import TaskFailed
from sandbox_bridge.protocol import (
    MAX_FRAME_BYTES,
    Base64File,
    Collect,
    Command,
    ExecuteTask,
    FileChunk,
    Limits,
    parse_to_sandbox,
)
from sandbox_bridge.spec import TaskSpec, start_frames


def plain(content: str | Base64File) -> bytes:
    """The bytes of a file."""
    return content.encode() if isinstance(content, str) else base64.b64decode(content.base64)


def frames(spec: TaskSpec, *, extended: bool, stream: bool = True) -> list[str]:
    """The texts that start `spec`, the last marked as the task."""
    made = list(start_frames(spec, "s1", stream=stream, extended=extended, now=1.5))
    assert [is_task for _, is_task in made] == [False] * (len(made) - 1) + [True]
    return [text for text, _ in made]


def received_files(texts: list[str]) -> dict[str, bytes]:
    """What a sandbox would have as files after `texts`."""
    files: dict[str, bytes] = {}
    for text in texts:
        frame = parse_to_sandbox(text)
        if isinstance(frame, FileChunk):
            assert frame.offset == len(files.get(frame.path, b""))
            files[frame.path] = files.get(frame.path, b"") + base64.b64decode(frame.base64)
        else:
            assert isinstance(frame, ExecuteTask)
            for path, content in frame.files.items():
                files[path] = plain(content)
    return files


def test_core_task_is_the_original_frame() -> None:
    """Without the extensions a task is one frame with the original keys and nothing else."""
    spec = TaskSpec(files={"a": "1"}, commands=["serve"], limits=Limits(timeout_s=5))
    [text] = frames(spec, extended=False, stream=False)
    assert orjson.loads(text) == {
        "type": "execute_task",
        "session_id": "s1",
        "files": {"a": "1"},
        "commands": ["serve"],
        "timestamp": 1.5,
    }


def test_core_task_says_a_plain_command_as_its_line() -> None:
    """A command that is only a shell line is said as a string to a peer that knows nothing else."""
    [text] = frames(TaskSpec(commands=[Command(sh="true")]), extended=False)
    assert orjson.loads(text)["commands"] == ["true"]


@pytest.mark.parametrize(
    "spec",
    [
        TaskSpec(commands=[Command(argv=["true"])]),
        TaskSpec(commands=[Command(sh="true", cwd="x")]),
        TaskSpec(collect=Collect(globs=["*"])),
        TaskSpec(stdin=True),
        TaskSpec(files={"big": "x" * (16 << 20)}),
        TaskSpec(files={"bad": "\ud800"}),
    ],
    ids=["argv", "cwd", "collect", "stdin", "size", "surrogate"],
)
def test_core_task_refuses_what_it_cannot_say(spec: TaskSpec) -> None:
    """What the core protocol has no words for is `bad_input`, not silently left out."""
    with pytest.raises(TaskFailed) as caught:
        frames(spec, extended=False)
    assert caught.value.code == "bad_input"


def test_extended_task_carries_its_terms() -> None:
    """With the extensions limits, collect, stdin and full commands go along."""
    spec = TaskSpec(
        commands=[Command(argv=["true"])],
        limits=Limits(timeout_s=5),
        collect=Collect(globs=["*"]),
        stdin=True,
    )
    [text] = frames(spec, extended=True)
    frame = parse_to_sandbox(text)
    assert isinstance(frame, ExecuteTask)
    assert (frame.limits, frame.collect, frame.stdin) == (spec.limits, spec.collect, True)
    assert frame.commands == list(spec.commands)


def test_extended_task_sends_what_does_not_fit_before() -> None:
    """No frame exceeds 1 MiB, and the files arrive whole however large they are and whatever is in them."""
    files: dict[str, str | Base64File] = {
        "small.txt": "é",
        "text.txt": "ü\x01" * 700_000,
        "binary": Base64File(base64=base64.b64encode(bytes(range(256)) * 8000).decode()),
        "exact": "x" * (512 << 10) * 2,
        "empty": "",
        **{f"middling-{number}": "y" * 50_000 for number in range(30)},
    }
    texts = frames(TaskSpec(files=files), extended=True)
    assert max(len(text.encode()) for text in texts) <= MAX_FRAME_BYTES
    expected = {path: plain(content) for path, content in files.items()}
    assert received_files(texts) == expected


def test_extended_task_puts_empty_files_into_chunks_where_there_is_no_room() -> None:
    """A file of no bytes is one last chunk of no bytes when the task's own frame is full."""
    filler = "x" * (MAX_FRAME_BYTES - 75)
    texts = frames(TaskSpec(files={"empty": ""}, commands=[filler]), extended=True)
    assert received_files(texts) == {"empty": b""}
    assert len(texts) == 2


@pytest.mark.parametrize(
    "spec",
    [TaskSpec(commands=["x" * (1 << 20)]), TaskSpec(files={"f": Base64File(base64="!" * (1 << 20))})],
    ids=["commands", "base64"],
)
def test_extended_task_refuses_what_it_cannot_say(spec: TaskSpec) -> None:
    """Commands larger than a frame and base64 that is none are `bad_input`."""
    with pytest.raises(TaskFailed) as caught:
        frames(spec, extended=True)
    assert caught.value.code == "bad_input"


def test_spec_parse_takes_plain_values() -> None:
    """A task is made from plain JSON values, checked against the protocol."""
    spec = TaskSpec.parse(
        {"files": {"a": {"base64": "AA=="}}, "commands": ["x", {"sh": "y"}], "limits": {"timeout_s": 1}}
    )
    assert spec == TaskSpec(
        files={"a": Base64File(base64="AA==")},
        commands=["x", Command(sh="y")],
        limits=Limits(timeout_s=1),
    )


@pytest.mark.parametrize("data", [{"files": {"a": 1}}, {"commands": [{}]}, {"limits": {"timeout_s": "1"}}])
def test_spec_parse_refuses_other_values(data: dict[str, Any]) -> None:
    """What is no task is `bad_input`."""
    with pytest.raises(TaskFailed) as caught:
        TaskSpec.parse(data)
    assert caught.value.code == "bad_input"
