"""What the operator can count, by Prometheus' naming rules. Label values come from closed sets only."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_SLOW = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0, 3600.0)

LOOK_EVERY_S: Final = 1e-3
"""How often `Spared` looks."""

_ISOLATION: Final = {
    "tier": ("bwrap", "webcontainer", "none"),
    "seccomp": ("true", "false"),
    "memory": ("cgroup2", "cgroup1", "watchdog"),
    "processes": ("cgroup2", "cgroup1", "rlimit", "none"),
    "freeze": ("cgroup2", "cgroup1", "signals"),
}
"""What sandboxes say of their isolation, and the words that are known; any other is `other`, none at all `unknown`."""


class Tally(Collector):
    """A counter of what comes so often that to find its labels, and to lock, would take as long as the work itself."""

    def __init__(self, name: str, told: str, labels: Sequence[str]) -> None:
        self._family = partial(CounterMetricFamily, name, told, labels=labels)
        self.counts: defaultdict[tuple[str, ...], int] = defaultdict(int)
        """By labels. One more is `counts[labels] += 1`, for the thread of the event loop alone."""

    def collect(self) -> Iterator[CounterMetricFamily]:
        """See prometheus_client."""
        family = self._family()
        for values, count in list(self.counts.items()):  # it may be asked by another thread
            family.add_metric(values, count)
        yield family


class Spared:
    """A histogram of what comes so often that one a ms is looked at: the first, which has waited longest."""

    def __init__(self, histogram: Histogram) -> None:
        self._observe = histogram.observe
        self._looked_at = -math.inf

    def observe(self, began: float, now: float) -> None:
        """It began and ended then, by one clock, in s."""
        if now - self._looked_at >= LOOK_EVERY_S:
            self._looked_at = now
            self._observe(now - began)


class Metrics:
    """One process' counters, in a registry of their own so that two gateways can live in one test."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._of_clients()
        self._of_work()
        self._of_the_store()
        self._of_others()

    def _of_clients(self) -> None:
        counter, gauge, histogram = self._kinds()
        self.connections = gauge("gateway_connections", "Client sockets open now.")
        self.closes = Tally("gateway_closes", "Connections ended, by close code.", ["code"])
        self.asked = Tally("gateway_requests", "Requests, by type and outcome.", ["type", "code"])
        self.registry.register(self.closes)
        self.registry.register(self.asked)
        self.submit_seconds = histogram(
            "gateway_submit_seconds", "From a submit's frame to its durable answer.", buckets=_FAST
        )
        self.outbox_lag_seconds = histogram(
            "gateway_outbox_lag_seconds",
            "How long a client has read nothing of what is queued for it, by its heartbeats; 0 if nothing is.",
            buckets=_SLOW,
        )
        self.lagging = counter("gateway_lagging", "Times a subscription fell back to the log.")
        self.resumes = counter(
            "gateway_resumes",
            "Subscriptions that resumed from a seq: `live`, `log` (missed events were read), `trimmed`, `invalid`.",
            ["result"],
        )

    def _of_work(self) -> None:
        counter, gauge, histogram = self._kinds()
        self.events = counter("gateway_events", "Events made durable here.")
        self.hop_seconds = histogram(
            "gateway_event_hop_seconds",
            "Latency of events, by hop and batch: `durable` from the run to the disk (one batch a ms is measured),"
            " `delivered` from there to all that follow them here, `written` from there to the last one's socket (one"
            " batch a second is measured). The lags of relay and outbox tell of the rest.",
            ["hop"],
            buckets=_FAST,
        )
        self.durable_seconds = Spared(self.hop_seconds.labels("durable"))
        self.delivered_seconds = self.hop_seconds.labels("delivered")  # to find it takes as long as to count
        self.control_seconds = histogram(
            "gateway_control_seconds",
            "From a run's learning that it is to pause, resume or be cancelled until that is done and durable.",
            ["wish"],
            buckets=_FAST,
        )
        self.freeze_seconds = histogram(
            "gateway_freeze_seconds",
            "From the order to freeze a task's processes until they are frozen.",
            buckets=_FAST,
        )
        self.sandbox_start_seconds = histogram(
            "gateway_sandbox_start_seconds",
            "From a claim to the first message of its sandbox.",
            buckets=_FAST,
        )
        self.exec_seconds = histogram(
            "gateway_exec_seconds", "From a command's start to its end.", buckets=_SLOW
        )
        self.takeover_seconds = histogram(
            "gateway_takeover_seconds",
            "From the end of an owner's lease until another instance has put its task back.",
            buckets=_SLOW,
        )
        self.running = gauge("gateway_tasks_running", "Tasks this instance runs now.")
        self.ended = counter("gateway_tasks_ended", "Tasks ended here, by status.", ["status"])
        self.run_seconds = histogram("gateway_run_seconds", "From a claim to the run's end.", buckets=_SLOW)
        self.sandbox_slots = gauge("gateway_sandbox_slots", "Slots for sessions, by state.", ["state"])
        self.sandboxes = gauge(
            "gateway_sandboxes",
            "Sandboxes connected, by the isolation that they report.",
            list(_ISOLATION),
        )

    def _of_the_store(self) -> None:
        counter, gauge, histogram = self._kinds()
        self.store_bytes = gauge("gateway_store_bytes", "Bytes that the state store takes on disk.")
        self.store_free_bytes = gauge(
            "gateway_store_free_bytes", "Bytes of that which are free for new data."
        )
        self.commit_seconds = histogram(
            "gateway_store_commit_seconds",
            "From the request of a transaction, which many writes may share, until it is on disk.",
            buckets=_FAST,
        )
        self.store_refusals = counter(
            "gateway_store_refusals", "Transactions that the store refused or failed."
        )
        self.forgotten = counter("gateway_tasks_forgotten", "Ended tasks that retention has removed.")
        self.notes = counter(
            "gateway_notes", "The flight recorder's notes: `kept` in the store, or `dropped`.", ["what"]
        )

    def _of_others(self) -> None:
        counter, gauge, histogram = self._kinds()
        self.relay_lag_seconds = histogram(
            "gateway_relay_lag_seconds",
            "Round trip of a probe through Redis, by the path that events take; once a second.",
            buckets=_FAST,
        )
        self.probe_age_seconds = gauge(
            "gateway_probe_age_seconds", "Seconds since a probe last came back from Redis; 0 without Redis."
        )
        self.part_ok = gauge(
            "gateway_part_ok",
            "Whether a part (store, sandbox, bus, leases, disk, keys) can do its work: 1 or 0.",
            ["part"],
        )
        self.bus = counter(
            "gateway_bus",
            "What became of messages to other instances, by Redis' answer, and `dropped`, `connected`.",
            ["what"],
        )

    def _kinds(self) -> tuple[partial[Counter], partial[Gauge], partial[Histogram]]:
        """What makes a metric of each kind, in this registry."""
        r = self.registry
        return partial(Counter, registry=r), partial(Gauge, registry=r), partial(Histogram, registry=r)

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
