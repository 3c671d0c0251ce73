"""What the operator can count, by Prometheus' naming rules. Label values come from closed sets only."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_SLOW = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0, 3600.0)

_ISOLATION: Final = {
    "tier": ("bwrap", "none"),
    "seccomp": ("true", "false"),
    "memory": ("cgroup2", "cgroup1", "watchdog"),
    "processes": ("cgroup2", "cgroup1", "rlimit", "none"),
    "freeze": ("cgroup2", "cgroup1", "signals"),
}
"""What sandboxes say of their isolation, and the words that are known; any other is `other`, none at all `unknown`."""


class Metrics:
    """One process' counters, in a registry of their own so that two gateways can live in one test."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._asked: dict[tuple[str, str], Counter] = {}
        r = self.registry
        self.connections = Gauge("gateway_connections", "Client sockets open now.", registry=r)
        self.closes = Counter("gateway_closes", "Connections ended, by close code.", ["code"], registry=r)
        self.requests = Counter(
            "gateway_requests", "Requests, by type and outcome.", ["type", "code"], registry=r
        )
        self.submit_seconds = Histogram(
            "gateway_submit_seconds",
            "From a submit's frame to its durable answer.",
            buckets=_FAST,
            registry=r,
        )
        self.events = Counter("gateway_events", "Events made durable here.", registry=r)
        self.lagging = Counter("gateway_lagging", "Times a subscription fell back to the log.", registry=r)
        self.running = Gauge("gateway_tasks_running", "Tasks this instance runs now.", registry=r)
        self.ended = Counter("gateway_tasks_ended", "Tasks ended here, by status.", ["status"], registry=r)
        self.run_seconds = Histogram(
            "gateway_run_seconds", "From a claim to the run's end.", buckets=_SLOW, registry=r
        )
        self.part_ok = Gauge(
            "gateway_part_ok",
            "Whether a part (store, sandbox, bus, keys) can do its work: 1 or 0.",
            ["part"],
            registry=r,
        )
        self.bus = Counter(
            "gateway_bus",
            "What became of messages to other instances, by Redis' answer, and `dropped`, `connected`.",
            ["what"],
            registry=r,
        )
        self.store_bytes = Gauge("gateway_store_bytes", "What the state store takes on disk.", registry=r)
        self.store_free_bytes = Gauge(
            "gateway_store_free_bytes", "What of that is free for what comes.", registry=r
        )
        self.forgotten = Counter(
            "gateway_tasks_forgotten", "Ended tasks that retention has removed.", registry=r
        )
        self.sandbox_slots = Gauge("gateway_sandbox_slots", "Room for sessions.", ["state"], registry=r)
        self.sandboxes = Gauge(
            "gateway_sandboxes",
            "Sandboxes connected, by what they say of their isolation.",
            list(_ISOLATION),
            registry=r,
        )

    def asked(self, kind: str, code: str) -> None:
        """Count a request of a client: its type, or `none`, and how it was answered."""
        counter = self._asked.get((kind, code))
        if counter is None:
            # To find it by its labels takes as long as to read the request.
            counter = self._asked[kind, code] = self.requests.labels(kind, code)
        counter.inc()

    def show_sandboxes(self, isolations: Iterable[Mapping[str, Any]]) -> None:
        """Count the connected sandboxes anew, each by its `isolation`."""
        self.sandboxes.clear()
        for isolation in isolations:
            self.sandboxes.labels(*(_isolation_label(isolation, name) for name in _ISOLATION)).inc()

    def render(self) -> bytes:
        """The text Prometheus reads."""
        return generate_latest(self.registry)


def _isolation_label(isolation: Mapping[str, Any], name: str) -> str:
    if name not in isolation:
        return "unknown"
    word = str(isolation[name]).lower()
    return word if word in _ISOLATION[name] else "other"
