"""What is measured: each row of the table, on each server that can do it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

WITH_REDIS: Final = frozenset({"ours+redis", "socketio+redis"})
"""Servers that are two."""


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
    a_second: float | None = None
    each: float | None = None
    """Bounds of ours alone: latency, how much of a core, at least so many a second, its own figure."""
    without: frozenset[str] = frozenset()
    """Servers that can't do it."""
    only: frozenset[str] = frozenset()
    """Where it is not for all."""
    mine: str = "ours"
    """What is held against the others."""
    beside_disk: bool = False
    """Whether what the disk allows is measured in turn with it; 0.8 of that is enough, instead of `a_second`."""

    @property
    def compared(self) -> list[str]:
        """Ours, and what it is held against."""
        return list(dict.fromkeys(["floor", self.mine, *self.at_most]))

    def servers(self, names: Collection[str]) -> list[str]:
        """Those of `names` that can do it."""
        fit = self.only or set(names) - self.without - WITH_REDIS
        return [name for name in names if name in fit]


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
        beside_disk=True,
    ),
    "many": Row(
        "1,000 tasks, 2 watchers each, 10 events/s",
        {"work": "events", "connections": 2000, "rate": 10, "span": 10},
        tasks=1000,
        at_most={"floor": 2, "socketio": 1 / 1.2},
    ),
    "ping": Row(
        "ping → result, 64 connections",
        {"work": "asks", "connections": 64},
        unit="request",
        at_most={"floor": 1.8, "socketio": 1 / 2},
        without=frozenset({"nchan"}),
    ),
    "submit": Row(
        "submit_task, durable, 64 connections",
        {
            "work": "asks",
            "connections": 64,
            "ask": '{"type":"submit_task","id":"1","mode":"background","input":{"commands":["true"]}}',
        },
        unit="submit",
        p99_ms=25,
        a_second=3000,
        beside_disk=True,
        only=frozenset({"ours"}),
    ),
    "submit-run": Row(
        "submit_task of an agent that ends at once, run to its end",
        {
            "work": "asks",
            "connections": 64,
            "ask": '{"type":"submit_task","id":"1","agent":"bench","mode":"blocking","input":{"task":""}}',
        },
        unit="task",
        only=frozenset({"ours"}),
    ),
    "handshake": Row(
        "handshake, with token (ours) and welcome",
        {"work": "handshakes", "connections": 32},
        unit="handshake",
        at_most={"floor": 11, "socketio": 1},
        without=frozenset({"nchan"}),
    ),
    "idle": Row(
        "idle connection with one subscription",
        {"work": "idle", "connections": 4000},
        unit="connection",
        each=16,
    ),
    "redis": Row(
        "1,000 tasks, 1 event/s, 2 watchers each on the other of two instances",
        {"work": "events", "connections": 2000, "rate": 1},
        tasks=1000,
        at_most={"socketio+redis": 0.5},
        only=frozenset({"ours+redis", "socketio+redis"}),
        mine="ours+redis",
    ),
}
