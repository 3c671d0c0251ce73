"""What is measured: each row of the table, on each server that can do it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of work."""

    name: str
    work: Mapping[str, object]
    """As the load is told it."""
    tasks: int = 1
    unit: str = "delivery"
    at_most: Mapping[str, float] = field(default_factory=dict)
    """Ours over that server's: at most so much."""
    p99_ms: float | None = None
    cores: float | None = None


ROWS: Final[Mapping[str, Row]] = {
    "watched": Row(
        "1 task, 1000 watchers, 50 events/s",
        {"work": "events", "connections": 1000, "rate": 50},
        at_most={"floor": 1.25, "socketio": 1 / 1.7, "python-socketio": 1 / 7},
    ),
    "saturated": Row(
        "the same, saturated, 32 in flight",
        {"work": "events", "connections": 1000, "window": 32},
        at_most={"floor": 0.10, "socketio": 1 / 20, "bun": 1.4},
    ),
    "million": Row(
        "1,000 events/s to 1,000 watchers",
        {"work": "events", "connections": 1000, "rate": 1000},
        p99_ms=40,
        cores=1,
    ),
    "many": Row(
        "1,000 tasks, 2 watchers each, 10 events/s",
        {"work": "events", "connections": 2000, "rate": 10, "span": 10},
        tasks=1000,
        at_most={"floor": 2, "socketio": 1 / 1.2},
    ),
}
