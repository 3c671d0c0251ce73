"""What the command line makes of events and tasks."""

import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.server.cli.output import ERASE_LINE, Printer, exit_code, printable
from gateway.server.cli.table import table


def event(kind: str, **data: Any) -> dict[str, Any]:
    """An event of that kind."""
    return {"type": "event", "task_id": "t1", "seq": 1, "event": kind, "time": "", "data": data}


def shown(*events: dict[str, Any], as_json: bool = False, terminal: bool = False) -> tuple[str, str]:
    """What comes out on standard output and standard error, with a tick of the clock after each event."""
    out, err = io.StringIO(), io.StringIO()
    printer = Printer(out, err, as_json=as_json, terminal=terminal, now=lambda: 0.0)
    for one in events:
        printer.show(one)
        printer.tick()
    return out.getvalue(), err.getvalue()


def test_output_is_shown_as_it_was() -> None:
    """Each stream's text comes out on its own, unchanged."""
    events = [
        event("output", stream="stdout", text="a\tb"),
        event("output", stream="stderr", text="\x1b[31mred\n"),
        event("output", stream="stdout", text="c\n"),
    ]
    assert shown(*events) == ("a\tbc\n", "\x1b[31mred\n")


def test_progress_line_makes_way() -> None:
    """On a terminal the progress line is gone before output comes, and keeps off a line that isn't ended."""
    running = event("status", status="running", previous="pending", attempt=1)
    out, err = shown(running, event("output", stream="stdout", text="half a line"), terminal=True)
    assert out == "half a line"
    assert err == f"{ERASE_LINE}⠋ running · 0 s{ERASE_LINE}"


def test_progress_line_is_one_line_however_narrow() -> None:
    """What wraps is not erased by the next turn."""
    err = io.StringIO()
    printer = Printer(io.StringIO(), err, terminal=True, now=lambda: 0.0, columns=lambda: 20)
    printer.show(event("progress", phase="p" * 100, status="s", progress=None))
    printer.tick()
    assert err.getvalue() == f"{ERASE_LINE}⠋ {'p' * 10}… · 0 s"
    assert len(err.getvalue()) - len(ERASE_LINE) < 20


def test_no_terminal_gets_no_progress_line() -> None:
    """A log file is not drawn into."""
    assert shown(event("status", status="running", previous="pending", attempt=1)) == ("", "")


def test_json_is_one_event_a_line() -> None:
    """With --json, standard output is the events and nothing else."""
    events = [event("output", stream="stderr", text="é\n"), event("status", status="completed")]
    out, err = shown(*events, as_json=True, terminal=True)
    assert [json.loads(line) for line in out.splitlines()] == events
    assert err == ""


def test_second_attempt_is_told() -> None:
    """When the output begins anew, the reader is told why."""
    lost = event("status", status="pending", previous="running", attempt=1, reason="instance_lost")
    assert "instance_lost" in shown(lost)[1]


def test_pause_is_told() -> None:
    """By whom and why; and when it is over, whether the output begins anew."""
    paused = event("status", status="paused", previous="running", attempt=1, by="ann", reason="lunch")
    here = event("status", status="running", previous="paused", attempt=1, by="ann")
    anew = event("status", status="pending", previous="paused", attempt=1, by="ann", reason="back")
    assert shown(paused)[1] == "gateway: paused by ann: lunch\n"
    assert shown(here)[1] == "gateway: it goes on\n"
    assert shown(anew)[1] == "gateway: it goes on, from the start of its output: back\n"


def test_gap_is_told() -> None:
    """Output that was left out is never left out in silence."""
    gap = event("output_gap", stream="stdout", dropped_bytes=7, reason="limit")
    assert shown(gap)[1] == "gateway: stdout is left out: 7 bytes (limit)\n"


@pytest.mark.parametrize(
    ("task", "code"),
    [
        ({"status": "completed", "result": {"exit_code": 0}}, 0),
        ({"status": "completed", "result": {"exit_code": 5}}, 5),
        ({"status": "completed", "result": "a dict of an agent's own"}, 0),
        ({"status": "failed", "error": {"details": {"exit_code": 3}}}, 3),
        ({"status": "failed", "error": {"details": {"exit_code": None, "reason": "signal"}}}, 1),
        ({"status": "failed", "error": {"details": {"exit_code": 256}}}, 1),
        ({"status": "failed", "error": None}, 1),
        ({"status": "cancelled"}, 130),
    ],
)
def test_exit_code_is_the_tasks_own(task: dict[str, Any], code: int) -> None:
    """The shell is told the task's exit code; 1 where it failed without one, 130 where it was cancelled."""
    assert exit_code(task) == code


TASK: dict[str, Any] = {
    "task_id": "0123-4567",
    "status": "running",
    "desire": "cancel",
    "agent": "sandbox",
    "labels": {"b": "2", "a": "\x1b[2J"},
    "created_at": "2026-01-01T00:00:00.000Z",
    "started_at": "2026-01-01T00:00:05.000Z",
    "ended_at": None,
}
NOW = datetime(2026, 1, 1, 0, 3, tzinfo=UTC)


def test_table_shows_ids_whole_and_wishes() -> None:
    """A list of tasks has an id to copy, and tells a task that is being cancelled from one that runs."""
    head, row = table([TASK], now=NOW).splitlines()
    assert head.split() == ["ID", "STATUS", "AGENT", "CREATED", "TOOK", "LABELS"]
    assert row.split() == ["0123-4567", "cancelling", "sandbox", "3m", "ago", "2m", "a=\ufffd[2J", "b=2"]


def test_table_has_names_in_a_column_and_cuts_its_lines_for_a_terminal() -> None:
    """What a task goes by stands for itself, and on a narrow one in place of its agent; a pipe gets whole lines."""
    named = TASK | {"labels": {"name": "A page for my bakery"}}
    head, row = table([named], now=NOW).splitlines()
    assert head.endswith("  NAME")
    assert row.endswith("  A page for my bakery")
    assert table([named | {"task_id": "0" * 36}], now=NOW, columns=80).splitlines()[1].split()[2:] == [
        *("3m", "ago", "A", "page", "for", "my", "bakery")
    ]
    assert table([named], now=NOW, columns=20).splitlines()[1] == "0123-4567  cancelli…"


def test_controls_of_others_are_not_printed() -> None:
    """Text of others in our own lines can't drive the terminal."""
    assert printable("a\x1b]0;x\x07é\n") == "a\ufffd]0;x\ufffdé\ufffd"


def test_question_is_told_with_how_to_answer_it() -> None:
    """The key goes with it, and what others wrote drives no terminal."""
    _, err = shown(event("input_requested", key="k", prompt="Which?\x1b[2J"))
    assert err == "gateway: it asks: Which?\ufffd[2J\ngateway: to answer: gateway input t1 --key k …\n"
