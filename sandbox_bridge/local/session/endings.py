"""How a task, or one command of it, came to its end. Pure."""

import os
from dataclasses import dataclass, replace
from errno import EDQUOT, ENOSPC
from typing import Any

from sandbox_bridge.local.agent.frames import DISK_FULL, EXITED, NOT_STARTED, SIGNALLED
from sandbox_bridge.local.errors import FileError, JailLostError
from sandbox_bridge.protocol import EndReason

_STATUS_OF = {None: "completed", "cancelled": "cancelled"}


@dataclass(frozen=True, slots=True)
class Ending:
    """How a task, or one command of it, came to its end. `code` None is a good end."""

    code: str | None
    exit_code: int | None
    reason: EndReason | None
    words: str = ""
    was_signalled: bool = False
    """Whether we had signalled the command before it ended."""


def status_of(ending: Ending) -> str:
    """The status of a task that ended so."""
    return _STATUS_OF.get(ending.code, "failed")


def end_frame(ending: Ending, result: dict[str, Any]) -> dict[str, Any]:
    """A session's last frame, without its id."""
    if ending.code is None:
        return {"type": "task_completed", "result": result}
    info = {
        "code": ending.code,
        "exit_code": ending.exit_code,
        "reason": ending.reason,
        "result": result,
    }
    return {"type": "task_error", "error": ending.words or ending.code, "error_info": info}


def error_frame(words: str, code: str, *, reason: str | None = None) -> dict[str, Any]:
    """A `task_error` of a task that has not run, without its id."""
    info = {"code": code, "exit_code": None, "reason": reason, "result": None}
    return {"type": "task_error", "error": words, "error_info": info}


_STOPS: dict[EndReason, tuple[str, str]] = {
    "timeout": ("timeout", "the task took too long"),
    "idle": ("timeout", "the task was idle for too long"),
    "cpu": ("resource_limit", "the task used all the processor time that it may have"),
    "memory": ("memory_limit", "the task needed more memory than it may have"),
    "cancelled": ("cancelled", "cancelled"),
}


def stop_ending(reason: EndReason, exit_code: int | None = None) -> Ending:
    """The end of a task that we have stopped."""
    code, words = _STOPS.get(reason, ("resource_limit", reason))
    return Ending(code, exit_code, reason, words)


def file_ending(error: FileError) -> Ending:
    """The end of a task whose files could not be written."""
    if error.errno in {ENOSPC, EDQUOT}:
        return Ending("resource_limit", None, "disk", "the files do not fit on the task's disk")
    return Ending("bad_input", None, None, f"a file can't be written: {error}")


def command_ending(kind: bytes, payload: bytes) -> Ending:
    """How a command ended, as the agent says. Raises `JailLostError` where that can't be."""
    if kind == NOT_STARTED:
        words = f"the command could not be started: {payload[:200].decode(errors='replace')}"
        return Ending("resource_limit", None, "processes", words)
    status = int.from_bytes(payload[:4], "big")
    if kind != EXITED or len(payload) != 5 or status > 0xFFFF:
        raise JailLostError("the agent sent nonsense")
    return replace(_judge(status, payload[4]), was_signalled=bool(payload[4] & SIGNALLED))


def _judge(status: int, flags: int) -> Ending:
    if not os.WIFEXITED(status):
        return Ending(
            "command_failed", None, "signal", f"the command was killed by signal {os.WTERMSIG(status)}"
        )
    exit_code = os.WEXITSTATUS(status)
    if exit_code == 0:
        return Ending(None, 0, "exit")
    if flags & DISK_FULL:
        return Ending("resource_limit", exit_code, "disk", "the task's disk is full")
    return Ending("command_failed", exit_code, "exit", f"the command failed with exit code {exit_code}")
