"""What a session is to do, and the frames that say so: one in the core protocol, with the extensions any
number of `file_chunk`s before it."""

import base64
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from pydantic import BaseModel, ValidationError

from sandbox_bridge.errors import TaskFailed
from sandbox_bridge.protocol import (
    MAX_CORE_FRAME_BYTES,
    MAX_FRAME_BYTES,
    Base64File,
    Collect,
    Command,
    ExecuteTask,
    FileChunk,
    FileContent,
    Limits,
    encode,
)

CHUNK_BYTES = 512 << 10
"""Of a file in one `file_chunk`: with base64 and an escaped path well within a frame."""


@dataclass(frozen=True, slots=True)
class FilePiece:
    """Bytes of a file, of any number, behind those of the piece before; `last` ends the file."""

    path: str
    data: bytes
    last: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec:
    """A task for a sandbox: its files by path, its commands in order, and the terms it runs on.

    `ahead` gives more files, that need not be in memory, one after another: they go before the task, as the
    session's reader begins to iterate. What it raises comes out of the iteration.
    """

    files: Mapping[str, FileContent] = field(default_factory=dict)
    commands: Sequence[str | Command] = ()
    limits: Limits = field(default_factory=Limits)
    collect: Collect | None = None
    stdin: bool = False
    traceparent: str | None = None
    ahead: Callable[[], AsyncIterator[FilePiece]] | None = None

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> "TaskSpec":
        """The task in `data`, plain JSON values under the names above. Raises `TaskFailed` `bad_input`."""
        try:
            frame = ExecuteTask.model_validate({**data, "type": "execute_task", "session_id": "none"})
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise TaskFailed("bad_input", f"{where}: {first['msg']}") from None
        return cls(
            files=frame.files,
            commands=frame.commands,
            limits=frame.limits,
            collect=frame.collect,
            stdin=frame.stdin,
            traceparent=frame.traceparent,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FormerSession:
    """A session that another process has left at its sandbox, as far as that has made durable what it knew.

    It goes on behind the frame `after_seq`, where the sandbox is still the start `boot_id` of `sandbox_id`. Its
    task has `timeout_s` of its running time left; `inputs` is how many inputs it may have been given.
    """

    sandbox_id: str
    boot_id: str
    after_seq: int
    timeout_s: float
    is_paused: bool = False
    inputs: int = 0


def start_frames(
    spec: TaskSpec, session_id: str, *, stream: bool, extended: bool, now: float
) -> Iterator[tuple[str, bool]]:
    """The frames that start `spec`, each with whether it is the task itself, which is the last.

    Made one by one, as they can be sent. Raises `TaskFailed` `bad_input` for what can't be said to the
    sandbox: too large, not JSON, or, without the extensions, in need of them.
    """
    head = {"type": "stream_task" if stream else "execute_task", "session_id": session_id}
    try:
        if extended:
            yield from _extended_frames(spec, head)
        else:
            yield _core_frame(spec, {**head, "timestamp": now}), True
    except (TypeError, ValueError) as error:
        raise TaskFailed("bad_input", f"the task can't be sent: {error}") from error


def _core_frame(spec: TaskSpec, head: Mapping[str, Any]) -> str:
    if spec.collect is not None or spec.stdin:
        raise TaskFailed("bad_input", "the sandbox speaks only the core protocol: no collect, no stdin")
    commands = [_core_command(command) for command in spec.commands]
    frame = _dump({**head, "files": dict(spec.files), "commands": commands})
    if len(frame) > MAX_CORE_FRAME_BYTES:
        raise TaskFailed("bad_input", f"the task is larger than {MAX_CORE_FRAME_BYTES} bytes")
    return frame.decode()


def _core_command(command: str | Command) -> str:
    if isinstance(command, str):
        return command
    if command.sh is None or command != Command(sh=command.sh):
        raise TaskFailed("bad_input", "the sandbox speaks only the core protocol: commands are shell lines")
    return command.sh


def _extended_frames(spec: TaskSpec, head: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    task: dict[str, Any] = {**head, "commands": list(spec.commands), "files": {}}
    if spec.limits != Limits():
        task["limits"] = spec.limits
    if spec.collect is not None:
        task["collect"] = spec.collect
    if spec.stdin:
        task["stdin"] = True
    if spec.traceparent is not None:
        task["traceparent"] = spec.traceparent
    room = MAX_FRAME_BYTES - len(_dump(task))
    if room < 0:
        raise TaskFailed("bad_input", f"the commands are larger than {MAX_FRAME_BYTES} bytes")
    for path, content in spec.files.items():
        size = len(_dump({path: content}))
        if size <= room:
            task["files"][path] = content
            room -= size
        else:
            for chunk in _chunks(str(head["session_id"]), path, content):
                yield encode(chunk), False
    yield _dump(task).decode(), True


def _chunks(session_id: str, path: str, content: FileContent) -> Iterator[FileChunk]:
    data = (
        base64.b64decode(content.base64, validate=True)
        if isinstance(content, Base64File)
        else content.encode()
    )
    yield from chunks_of(session_id, FilePiece(path, data, last=True), offset=0)


def chunks_of(session_id: str, piece: FilePiece, *, offset: int) -> Iterator[FileChunk]:
    """The frames of `piece`, which begins at `offset` of its file; an empty one has a frame if it is the last."""
    size = len(piece.data)
    for start in range(0, size or int(piece.last), CHUNK_BYTES):
        yield FileChunk(
            type="file_chunk",
            session_id=session_id,
            path=piece.path,
            offset=offset + start,
            base64=base64.b64encode(piece.data[start : start + CHUNK_BYTES]).decode(),
            last=piece.last and start + CHUNK_BYTES >= size,
        )


def _dump(data: dict[str, Any]) -> bytes:
    return orjson.dumps(data, default=_plain)


def _plain(value: object) -> dict[str, Any]:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_none=True)
    raise TypeError(f"{type(value).__name__} is not JSON")
