"""A task as it came, checked and made ready to run. Pure."""

import binascii
import re
from base64 import b64decode
from dataclasses import dataclass
from pathlib import Path

from sandbox_bridge.local.agent import static
from sandbox_bridge.local.agent.collect import matcher
from sandbox_bridge.local.jail.jail import Exec
from sandbox_bridge.local.jail.profile import PYTHON
from sandbox_bridge.local.session.limits import BadInputError, TaskLimits, settle
from sandbox_bridge.protocol import (
    Collect,
    Command,
    ExecuteTask,
    FileContent,
    command_of,
    path_conflict,
    path_error,
)
from sandbox_bridge.settings import SandboxSettings

_TRACEPARENT = re.compile("00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_STATIC_SERVER = Path(static.__file__).read_text("utf-8")
MAX_COMMANDS = 1000
"""Commands of one task: each costs a record in the result."""
MAX_ARGUMENT_BYTES = (128 << 10) - 1
"""The kernel's bound on one argument, and so on a shell line."""
MAX_COMMAND_BYTES = 1 << 20
"""All of a command's arguments and environment: half of what the kernel takes."""
MAX_GLOBS = 1000
MAX_GLOB_BYTES = 64 << 10
"""Of all globs of one task: together they are one pattern."""
ENVIRONMENT = {
    "HOME": "/tmp",  # noqa: S108 - the jail's own; not /work, which is for the task's files alone
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "LANG": "C.UTF-8",
}


@dataclass(frozen=True, slots=True)
class Order:
    """A task that can run: its files as bytes, its commands in turn, the limits in force."""

    files: list[tuple[str, bytes]]
    commands: list[Command]
    limits: TaskLimits
    stream: bool
    stdin: bool
    """Whether the commands have something to read."""
    collect: list[str]
    """Globs of the files to give back."""
    collect_bytes: int
    """Of all of those together."""

    @property
    def ends_in_serve(self) -> bool:
        """Whether the last command is `serve`, so that its site outlives the task."""
        return bool(self.commands) and is_serve(self.commands[-1])


def check_order(task: ExecuteTask, settings: SandboxSettings, staged_paths: list[str]) -> Order:
    """`task` made ready; `staged_paths` names the files sent ahead. Raises `BadInputError`."""
    if len(task.commands) > MAX_COMMANDS:
        raise BadInputError(f"commands: {len(task.commands)} are more than {MAX_COMMANDS}")
    check_paths([*task.files, *staged_paths])
    traced = _trace_environment(task.traceparent)
    commands = [command_of(item) for item in task.commands]
    for index, command in enumerate(commands):
        _check_command(index, command)
    limits = settle(task.limits, settings)
    return Order(
        files=[(path, _content(path, content)) for path, content in task.files.items()],
        commands=[command.model_copy(update={"env": traced | command.env}) for command in commands],
        limits=limits,
        stream=task.type == "stream_task",
        stdin=task.stdin,
        collect=_globs(task.collect),
        collect_bytes=_collect_bytes(task.collect, limits),
    )


def _trace_environment(traceparent: str | None) -> dict[str, str]:
    """By what a command knows the trace that it is a part of."""
    is_one = traceparent is not None and _TRACEPARENT.fullmatch(traceparent) is not None
    return {"TRACEPARENT": traceparent} if traceparent is not None and is_one else {}


def _globs(collect: Collect | None) -> list[str]:
    globs = collect.globs if collect is not None else []
    if len(globs) > MAX_GLOBS or sum(len(glob.encode()) for glob in globs) > MAX_GLOB_BYTES:
        raise BadInputError(f"collect.globs: at most {MAX_GLOBS}, of {MAX_GLOB_BYTES} bytes together")
    if any("\0" in glob for glob in globs):
        raise BadInputError("collect.globs: a NUL")
    try:
        matcher(globs)
    except re.error as error:
        raise BadInputError(f"collect.globs: {error}") from None
    return globs


def _collect_bytes(collect: Collect | None, limits: TaskLimits) -> int:
    """No more than fits on the task's disk."""
    most = limits.disk_mb << 20
    return most if collect is None or collect.max_bytes is None else min(collect.max_bytes, most)


def check_paths(paths: list[str]) -> None:
    """Raises `BadInputError` where one of `paths` can't be a file's, or two can't stand beside each other."""
    for path in paths:
        if (problem := path_error(path)) is not None:
            raise BadInputError(f"files: {path[:200]!r}: {problem}")
    if len(set(paths)) < len(paths):
        raise BadInputError("files: a path comes twice")
    if (conflict := path_conflict(paths)) is not None:
        raise BadInputError(f"files: {conflict[:200]!r} lies below another file")


def _content(path: str, content: FileContent) -> bytes:
    if isinstance(content, str):
        return content.encode()
    return decode_base64(path, content.base64)


def decode_base64(path: str, text: str) -> bytes:
    """The bytes of a file's base64. Raises `BadInputError`."""
    try:
        return b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadInputError(f"files: {path[:200]!r}: not base64") from None


def _check_command(index: int, command: Command) -> None:
    parts = [command.cwd or "", *_argv(command), *command.env, *command.env.values()]
    if any("\0" in part for part in parts):
        raise BadInputError(f"commands.{index}: a NUL")
    sizes = [len(part.encode()) for part in parts]
    if max(sizes) > MAX_ARGUMENT_BYTES or sum(sizes) > MAX_COMMAND_BYTES:
        raise BadInputError(f"commands.{index}: longer than the system takes ({MAX_ARGUMENT_BYTES} bytes)")
    if any(not name or "=" in name for name in command.env):
        raise BadInputError(f"commands.{index}.env: a name is empty or has a '='")


def _argv(command: Command) -> list[str]:
    return command.argv if command.argv is not None else ["/bin/sh", "-c", command.sh or ""]


def is_serve(command: Command) -> bool:
    """Whether it is the one command that is ours: the folder as a web site."""
    return command.text.strip() == "serve"


def serve_order(command: Command, port: int) -> Exec:
    """How the agent puts `command`'s folder up on `port`."""
    argv = [PYTHON, "-I", "-S", "-c", _STATIC_SERVER, str(port)]
    return exec_order(command.model_copy(update={"sh": None, "argv": argv, "tty": None}))


def exec_order(command: Command, *, stdin: bool = False) -> Exec:
    """How the agent runs `command`; with `stdin` there is something for it to read."""
    terminal = {"TERM": "xterm-256color"} if command.tty is not None else {}
    env = ENVIRONMENT | terminal | command.env
    return Exec(_argv(command), env, cwd=command.cwd or ".", tty=command.tty, stdin=stdin)
