"""The sandbox protocol's frames, both ways: what `docs/protocol.md` section 3 says, as types.

Pure: parses and builds, does no I/O. A frame is one JSON object in one text message. Unknown keys in what
a peer sends are ignored; a frame of an unknown type is an error of the peer, told apart from a broken one.
"""

from itertools import pairwise
from typing import Annotated, Any, Literal, TypeVar, cast

import orjson
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from sandbox_bridge.salvage import with_whole_characters

PROTOCOL = "sandbox.v1"
MAX_FRAME_BYTES = 1 << 20
"""No frame is larger once both sides have said `hello`."""
MAX_CORE_FRAME_BYTES = 16 << 20
"""Without `hello` a task is one frame of at most this many bytes."""
INITIAL_CREDIT_BYTES = 256 << 10
"""Output a session may send before its first `credit`, in UTF-8 bytes of `text`."""
HELLO_TIMEOUT_S = 2.0
PING_INTERVAL_S = 2.0
RESUME_S = 8.0
"""How long a session outlives its socket, counted from the last byte that came over it."""

EndReason = Literal[
    "exit", "signal", "timeout", "idle", "cpu", "memory", "processes", "disk", "cancelled", "lost"
]
Stream = Literal["stdout", "stderr"]


class ProtocolError(ValueError):
    """A frame that is not the protocol's: `message` says what is wrong with it, in words for its sender."""


class _Frame(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", allow_inf_nan=False)


# --- what a task is made of ---------------------------------------------------------------------------


class TtySize(_Frame):
    """A terminal's size in characters."""

    cols: int = Field(ge=1, le=1000)
    rows: int = Field(ge=1, le=1000)


class Command(_Frame):
    """One command with its circumstances: exactly one of `sh` (a shell line) and `argv`."""

    sh: str | None = None
    argv: list[str] | None = Field(default=None, min_length=1)
    cwd: str | None = None
    env: dict[str, str] = {}
    tty: TtySize | None = None
    timeout_s: float | None = Field(default=None, gt=0)
    continue_on_error: bool = False

    @model_validator(mode="after")
    def _one_of_sh_and_argv(self) -> "Command":
        if (self.sh is None) == (self.argv is None):
            raise ValueError("give exactly one of sh and argv")
        return self

    @property
    def text(self) -> str:
        """The command as a person would read it."""
        return self.sh if self.sh is not None else " ".join(self.argv or [])


class Limits(_Frame):
    """What a task may use at most; None leaves it to the sandbox's own default."""

    timeout_s: float | None = Field(default=None, gt=0)
    idle_s: float | None = Field(default=None, gt=0)
    cpu_s: float | None = Field(default=None, gt=0)
    memory_mb: int | None = Field(default=None, gt=0)
    processes: int | None = Field(default=None, gt=0)
    disk_mb: int | None = Field(default=None, gt=0)
    output_bytes: int | None = Field(default=None, gt=0)
    network: Literal["none", "full"] | None = None


class Collect(_Frame):
    """Which files come back at the end."""

    globs: list[str]
    max_bytes: int | None = Field(default=None, gt=0)


class Base64File(_Frame):
    """A file that is not text."""

    base64: str


FileContent = str | Base64File


def command_of(item: str | Command) -> Command:
    """`item` as a Command; a plain string is a shell line."""
    return Command(sh=item) if isinstance(item, str) else item


# --- to a sandbox -------------------------------------------------------------------------------------


class ExecuteTask(_Frame):
    """Run a task; `stream_task` streams its progress first, `execute_task` only its end."""

    type: Literal["execute_task", "stream_task"]
    session_id: str = Field(min_length=1, max_length=200)
    files: dict[str, FileContent] = {}
    commands: list[str | Command] = []
    limits: Limits = Limits()
    collect: Collect | None = None
    stdin: bool = False
    traceparent: str | None = None
    """The trace that it is a part of (W3C Trace Context); what is not valid is as none."""


class CancelTask(_Frame):
    """End a session's task."""

    type: Literal["cancel_task"]
    session_id: str


class HealthCheck(_Frame):
    """Ask how the sandbox is."""

    type: Literal["health_check"]


class SessionOrder(_Frame):
    """What the bridge wants done with a session that outlived its socket."""

    session_id: str
    action: Literal["continue", "kill"]
    after_seq: int = 0


class BridgeHello(_Frame):
    """The bridge's half of the agreement to use the extensions."""

    type: Literal["hello"]
    protocol: str
    sessions: list[SessionOrder] = []
    input_taken: bool = False
    """Whether it wants to be told by `InputTaken`."""


class SessionSignal(_Frame):
    """Pause, resume or close a session."""

    type: Literal["pause_task", "resume_task", "close_session"]
    session_id: str


class TaskInput(_Frame):
    """Bytes for the running command's standard input, as text; `seq` counts a session's from 1."""

    type: Literal["task_input"]
    session_id: str
    data: str = ""
    eof: bool = False
    seq: int | None = None


class Resize(_Frame):
    """A new size for the running command's terminal."""

    type: Literal["resize"]
    session_id: str
    cols: int = Field(ge=1, le=1000)
    rows: int = Field(ge=1, le=1000)


class Credit(_Frame):
    """Room for so many more bytes of output."""

    type: Literal["credit"]
    session_id: str
    bytes: int = Field(gt=0)


class FileChunk(_Frame):
    """A piece of a file, in order; `last` ends the file. Only what a sandbox sends has a `seq`."""

    type: Literal["file_chunk"]
    session_id: str
    path: str
    offset: int = Field(ge=0)
    base64: str
    last: bool
    seq: int | None = None


ToSandbox = Annotated[
    ExecuteTask
    | CancelTask
    | HealthCheck
    | BridgeHello
    | SessionSignal
    | TaskInput
    | Resize
    | Credit
    | FileChunk,
    Field(discriminator="type"),
]

# --- from a sandbox -----------------------------------------------------------------------------------


class TaskProgress(_Frame):
    """`progress` is one of the kinds of section 3, or whatever a core peer says there."""

    type: Literal["task_progress"]
    session_id: str
    progress: dict[str, Any]
    seq: int | None = None


class TaskCompleted(_Frame):
    """The one good end of a session. JavaScript leaves out what is undefined: no result is an empty one."""

    type: Literal["task_completed"]
    session_id: str
    result: dict[str, Any] | None = None
    seq: int | None = None


class ErrorInfo(_Frame):
    """The machine-readable half of a `task_error`."""

    code: str = "command_failed"
    exit_code: int | None = None
    reason: str | None = None
    result: dict[str, Any] | None = None


def _in_words(said: Any) -> str:
    return said if isinstance(said, str) else orjson.dumps(said).decode()


def _as_far_as_said(said: Any, valid: ValidatorFunctionWrapHandler) -> ErrorInfo:
    """A peer that knows only `error` may mean anything by it: its session has failed nonetheless."""
    try:
        return cast("ErrorInfo", valid(said))
    except ValidationError:
        return ErrorInfo()


class TaskError(_Frame):
    """The one bad end of a session; `error` is for people."""

    type: Literal["task_error"]
    session_id: str
    error: Annotated[str, BeforeValidator(_in_words)] = "no reason was given"
    error_info: Annotated[ErrorInfo, WrapValidator(_as_far_as_said)] = ErrorInfo()
    seq: int | None = None


class Health(_Frame):
    """Answer to `health_check`."""

    type: Literal["health"]
    status: str
    active_sessions: int = 0
    max_sessions: int = 1


class ResumeOffer(_Frame):
    """A session that outlived its socket: the last frame it produced, the last `task_input` it received.

    Without `input_seq` nobody knows which input was lost with the socket.
    """

    session_id: str
    last_seq: int
    input_seq: int | None = None


class SandboxHello(_Frame):
    """Who a sandbox is and what it can do."""

    type: Literal["hello"]
    protocol: str
    sandbox_id: str
    boot_id: str
    runtime: str = "unknown"
    max_sessions: int = Field(default=1, ge=0)
    isolation: dict[str, Any] = {}
    capabilities: list[str] = []
    labels: dict[str, str] = {}
    resume: list[ResumeOffer] = []
    input_taken: bool = False
    """Whether it tells by `InputTaken`, where it is asked to."""
    max_timeout_s: float | None = Field(default=None, gt=0)
    """The most that `limits.timeout_s` may be there."""


class InputTaken(_Frame):
    """All input up to this number is in the pipe of the command that it was for, or gone with that command."""

    type: Literal["input_taken"]
    session_id: str
    input_seq: int = Field(ge=0)


class TaskSignal(_Frame):
    """A pause or its end, once it is true."""

    type: Literal["task_paused", "task_resumed"]
    session_id: str


FromSandbox = Annotated[
    TaskProgress | TaskCompleted | TaskError | Health | SandboxHello | TaskSignal | InputTaken | FileChunk,
    Field(discriminator="type"),
]

_AnyFrame = TypeVar("_AnyFrame")
_to_sandbox: TypeAdapter[ToSandbox] = TypeAdapter(ToSandbox)
_from_sandbox: TypeAdapter[FromSandbox] = TypeAdapter(FromSandbox)


def parse_to_sandbox(text: str | bytes) -> ToSandbox:
    """The frame in `text`, sent by a bridge. Raises `ProtocolError`."""
    return _parse(_to_sandbox, text)


def parse_from_sandbox(text: str) -> FromSandbox:
    """The frame in `text`, sent by a sandbox. Raises `ProtocolError`.

    Half a character, which JavaScript's strings may end with, is read as U+FFFD.
    """
    return _parse(_from_sandbox, with_whole_characters(text))


def _parse(adapter: TypeAdapter[_AnyFrame], text: str | bytes) -> _AnyFrame:
    try:
        return adapter.validate_json(text)
    except ValidationError as error:
        # Of what may be one thing or another, the one that it was meant to be fails deepest.
        deepest = max(error.errors(include_url=False, include_input=False), key=lambda one: len(one["loc"]))
        parts = [str(part) for part in deepest["loc"]]
        where = ".".join(part for part in parts if not part.startswith("function-"))  # pydantic's, no field
        raise ProtocolError(f"{where}: {deepest['msg']}" if where else deepest["msg"]) from None


def encode(frame: BaseModel | dict[str, Any]) -> str:
    """A frame as the text of one message."""
    data = frame.model_dump(mode="json", exclude_none=True) if isinstance(frame, BaseModel) else frame
    return orjson.dumps(data).decode()


# --- paths --------------------------------------------------------------------------------------------


def path_error(path: str) -> str | None:
    """What is wrong with `path` as the name of a task's file, or None.

    A path is relative, 1 to 1024 bytes of UTF-8, of segments of 1 to 255 bytes, with no NUL and no empty,
    `.` or `..` segment.
    """
    encoded = path.encode()
    if not 1 <= len(encoded) <= 1024:
        return "a path has 1 to 1024 bytes"
    if b"\0" in encoded:
        return "a path has no NUL"
    for segment in encoded.split(b"/"):
        if segment in {b"", b".", b".."}:
            return "a path is relative and has no empty, '.' or '..' segment"
        if len(segment) > 255:
            return "a path's segment has at most 255 bytes"
    return None


def path_conflict(paths: list[str]) -> str | None:
    """The first of `paths` that would have to be a file and a folder at once, or None."""
    # With the separator below every other character, what lies below a path comes right behind it.
    keys = sorted({path.replace("/", "\0") for path in paths})
    for upper, lower in pairwise(keys):
        if lower.startswith(upper + "\0"):
            return lower.replace("\0", "/")
    return None
