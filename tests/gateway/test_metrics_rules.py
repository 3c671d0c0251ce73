"""The metrics keep Prometheus' rules: names, units, and as many series as the code has words."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest
from prometheus_client import Counter, Gauge, Histogram

from gateway.metrics import Metrics

ROOT: Final = Path(__file__).parents[2]
ALERTS: Final = ROOT / "deploy" / "alerts.yml"
MEASURED: Final = {
    "submit answer": "gateway_submit_seconds",
    "event end-to-end by hop": "gateway_event_hop_seconds",
    "relay lag": "gateway_relay_lag_seconds",
    "outbox lag": "gateway_outbox_lag_seconds",
    "resume results": "gateway_resumes",
    "control effect": "gateway_control_seconds",
    "lease takeover": "gateway_takeover_seconds",
    "store commit": "gateway_store_commit_seconds",
    "sandbox start": "gateway_sandbox_start_seconds",
    "exec": "gateway_exec_seconds",
    "freeze": "gateway_freeze_seconds",
    "closes by code": "gateway_closes",
    "probe age": "gateway_probe_age_seconds",
}
"""What an operator is to see, and where."""
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian: apt install prometheus)"
)


def names() -> set[str]:
    """The families that are made."""
    return {metric.name for metric in Metrics().registry.collect()}


def test_what_an_operator_is_to_see_is_measured() -> None:
    """Each of the things that the service promises to measure has its metric."""
    assert set(MEASURED.values()) <= names()


def test_names_and_units_follow_the_rules() -> None:
    """One prefix; times in `_seconds`, sizes in `_bytes`, histograms by a unit; each says what it is."""
    for metric in Metrics().registry.collect():
        assert re.fullmatch(r"gateway(_[a-z]+)+", metric.name), metric.name
        assert not metric.name.endswith(("_total", "_count", "_sum", "_ms")), metric.name
        assert metric.type != "histogram" or metric.name.endswith("_seconds"), metric.name
        assert len(metric.documentation) > 10
        assert metric.documentation.endswith(".")


def test_labels_are_few_and_of_known_words() -> None:
    """None is named after what a stranger makes up: ids, subjects, addresses, paths."""
    labels = {
        label
        for metric in vars(Metrics()).values()
        if isinstance(metric, Counter | Gauge | Histogram)
        for label in metric._labelnames
    }
    closed = {"code", "type", "hop", "wish", "what", "state", "status", "result", "part"}
    isolation = {"tier", "seccomp", "memory", "processes", "freeze"}
    assert labels - closed - isolation == set()


def test_alerts_name_metrics_that_there_are() -> None:
    """An alert on a name that nothing has never fires."""
    text = ALERTS.read_text()
    known = names() | {f"{name}_{end}" for name in names() for end in ("total", "bucket", "count", "sum")}
    assert set(re.findall(r"\bgateway_\w+", text)) - known == set()
    operations = (ROOT / "docs" / "operations.md").read_text()
    for alert in re.findall(r"- alert: (\w+)", text):
        assert f"| `{alert}` |" in operations, "docs/operations.md says of each alert what to do"


@needs_promtool
def test_promtool_accepts_the_metrics_and_the_alerts() -> None:
    """Prometheus' own judge of names and rules finds nothing."""
    page = subprocess.run(
        ["promtool", "check", "metrics"], input=Metrics().render(), capture_output=True, check=False
    )
    assert (page.returncode, page.stdout, page.stderr) == (0, b"", b"")
    rules = subprocess.run(["promtool", "check", "rules", str(ALERTS)], capture_output=True, check=False)
    assert rules.returncode == 0, rules.stdout + rules.stderr
