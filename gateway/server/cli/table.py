"""Tasks as a table."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from gateway.server.cli.output import printable

HEAD: Final = ("ID", "STATUS", "AGENT", "CREATED", "TOOK", "NAME", "LABELS")
LEAST: Final = ("LABELS", "AGENT", "TOOK")
"""What a narrow terminal goes without first."""
READABLE: Final = 24
"""Characters of a name that are worth that."""

Task = Mapping[str, Any]


def table(tasks: Sequence[Task], *, now: datetime, columns: int | None = None) -> str:
    """Tasks as aligned columns, one line each; ids are whole, to be copied. No line has more than `columns`."""
    rows = [HEAD, *(_row(task, now) for task in tasks)]
    widths = [max(map(len, cells)) if any(cells[1:]) else 0 for cells in zip(*rows, strict=True)]
    for name in LEAST:
        if columns is None or _needs(widths) <= columns:
            break
        widths[HEAD.index(name)] = 0
    return "\n".join(_cut(_line(row, widths), columns) for row in rows)


def _needs(widths: Sequence[int]) -> int:
    """How wide a line is, its name shortened."""
    shown = [
        min(width, READABLE) if name == "NAME" else width for name, width in zip(HEAD, widths, strict=True)
    ]
    return sum(width + 2 for width in shown if width) - 2


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    """The cells of `row`, but of columns that are empty."""
    return "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True) if width).rstrip()


def _cut(line: str, columns: int | None) -> str:
    return line if columns is None or len(line) <= columns else f"{line[: columns - 1]}…"


def name_of(task: Task) -> str:
    """What a task goes by: what it was called, else what it was asked to do."""
    return str(task.get("labels", {}).get("name") or task.get("title") or "")


def _row(task: Task, now: datetime) -> tuple[str, ...]:
    created = _time(task["created_at"]) or now
    began = _time(task.get("started_at"))
    took = _span((_time(task.get("ended_at")) or now) - began) if began else "-"
    labels = dict(task.get("labels", {}))
    labels.pop("name", None)
    others = " ".join(f"{key}={value}" for key, value in sorted(labels.items()))
    wish = {"pause": "pausing", "cancel": "cancelling"}.get(task.get("desire", ""))
    unmet = wish and task["status"] in {"pending", "running"}
    cells = (task["task_id"], wish if unmet else task["status"], task["agent"])
    return tuple(
        printable(str(cell)) for cell in (*cells, f"{_span(now - created)} ago", took, name_of(task), others)
    )


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text).astimezone(UTC) if text else None


def _span(span: Any) -> str:
    seconds = max(int(span.total_seconds()), 0)
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
