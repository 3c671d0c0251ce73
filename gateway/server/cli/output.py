"""What the command line shows: a task's output just as it was, and notes beside it on standard error."""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TextIO

ERASE_LINE: Final = "\r\x1b[2K"
SPINNER: Final = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
CANCELLED_EXIT: Final = 130

Task = Mapping[str, Any]
Event = Mapping[str, Any]


class Printer:
    """Shows events as they come: output to `out` and `err` as it was, or every event as a JSON line to `out`.

    On a terminal, a progress line on `err` makes way for whatever is printed.
    """

    def __init__(
        self,
        out: TextIO,
        err: TextIO,
        *,
        as_json: bool = False,
        terminal: bool = False,
        now: Callable[[], float] = time.monotonic,
        columns: Callable[[], int] = lambda: 80,
    ) -> None:
        self._out = out
        self._err = err
        self._as_json = as_json
        self._terminal = terminal
        self._now = now
        self._columns = columns
        self._began = now()
        self._ended_by = ""
        self._doing = "submitting"
        self._drawn = False
        self._line_open = False

    def show(self, event: Event) -> None:
        """Show one event."""
        if self._as_json:
            self._out.write(json.dumps(event, ensure_ascii=False) + "\n")
            self._out.flush()
            return
        data = event["data"]
        match event["event"]:
            case "output":
                self._write(self._err if data["stream"] == "stderr" else self._out, data["text"])
            case "output_gap":
                self._gap(data)
            case "status":
                self._status(data)
            case "progress":
                self._doing = _progress(data)
            case "server_ready":
                self.note(f"a server listens on port {data['port']}: {data['url'] or 'no address to open'}")
            case "input_requested":
                self.note(f"it asks: {data['prompt']}")
                self.note(f"to answer: gateway input {event['task_id']} --key {data['key']} …")
            case "log":
                self.note(f"{data['level']}: {data['message']}")

    def note(self, text: str) -> None:
        """Say something about the task, on a line of its own; in JSON mode nothing but errors is said."""
        self._clear()
        if self._line_open and self._terminal:
            self._err.write("\n")
            self._line_open = False
        self._err.write(f"gateway: {printable(text)}\n")
        self._err.flush()

    def state(self, state: str) -> None:
        """Hear of the connection."""
        if state == "reconnecting" and not self._as_json:
            self.note("the connection is lost, the task is not: reconnecting")

    def tick(self) -> None:
        """Draw the progress line anew, where one may stand."""
        if not self._terminal or self._as_json or self._line_open:
            return
        seconds = self._now() - self._began
        turn = SPINNER[int(seconds * 8) % len(SPINNER)]
        clock = f" · {int(seconds)} s"
        # A line that wraps would leave its beginning behind at each turn.
        room = max(self._columns() - len(turn) - len(clock) - 2, 0)
        self._err.write(f"{ERASE_LINE}{turn} {_cut(printable(self._doing), room)}{clock}")
        self._err.flush()
        self._drawn = True

    def finish(self, task: Task) -> None:
        """Say how the task ended, unless it did so well; then, what its agent gave."""
        self._clear()
        if self._as_json:
            return
        if task["status"] != "completed":
            self.note(ending(task) + self._ended_by)
        elif task["agent"] != "sandbox":
            self._out.write(json.dumps(task.get("result"), ensure_ascii=False, indent=2) + "\n")
            self._out.flush()

    def _write(self, stream: TextIO, text: str) -> None:
        self._clear()
        stream.write(text)
        stream.flush()
        self._line_open = not text.endswith("\n")

    def _clear(self) -> None:
        if self._drawn:
            self._err.write(ERASE_LINE)
            self._err.flush()
            self._drawn = False

    def _gap(self, data: Mapping[str, Any]) -> None:
        dropped = data.get("dropped_bytes")
        amount = "from here on" if dropped is None else f"{dropped} bytes"
        self.note(f"{data['stream']} is left out: {amount} ({data.get('reason')})")

    def _status(self, data: Mapping[str, Any]) -> None:
        self._doing = str(data["status"])
        why = f": {data['reason']}" if data.get("reason") else ""
        if data["status"] == "paused":
            self.note(f"paused by {data.get('by') or 'the gateway'}{why}")
        elif data["previous"] == "paused" and data["status"] in {"running", "pending"}:
            anew = "" if data["status"] == "running" else ", from the start of its output"
            self.note(f"it goes on{anew}{why}")
        elif data["status"] == "cancelled":
            self._ended_by = f" by {data.get('by') or 'the gateway'}{why}"
        elif data["status"] == "pending" and why:
            self.note(f"lost its place ({data['reason']}); it will run again, from the start of its output")


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else f"{text[: max(room - 1, 0)]}…"


def _progress(data: Mapping[str, Any]) -> str:
    doing = str(data.get("phase") or data.get("status") or "running")
    share = data.get("progress")
    return doing if share is None else f"{doing} {share:g} %"


def ending(task: Task) -> str:
    """How a task ended, in a line."""
    if task["status"] == "cancelled":
        return f"task {task['task_id']} was cancelled"
    error = task.get("error") or {}
    why = error.get("message") or "for a reason not told"
    return f"task {task['task_id']} failed: {why} ({error.get('code')})"


def exit_code(task: Task) -> int:
    """What a shell is told of an ended task: its own exit code, 1 (failed without one) or 130 (cancelled)."""
    if task["status"] == "cancelled":
        return CANCELLED_EXIT
    if task["status"] == "completed":
        return _exit_code_in(task.get("result")) or 0
    return _exit_code_in((task.get("error") or {}).get("details")) or 1


def _exit_code_in(details: object) -> int | None:
    code = details.get("exit_code") if isinstance(details, Mapping) else None
    return code & 0xFF if isinstance(code, int) else None


def printable(text: str) -> str:
    """`text` without control characters: what others wrote must not drive the terminal."""
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )


def unwritten(error: OSError) -> str:
    """What is said where the output has no room."""
    return f"the output can't be written: {error.strerror}"


def columns_of(stream: TextIO) -> int:
    """How wide the terminal behind `stream` is."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def discard_output() -> None:
    """The interpreter must not trip over what can't be written on its way out."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
