"""What is counted is labelled with known words only."""

from gateway.metrics import Metrics


def sandboxes(metrics: Metrics) -> dict[str, float]:
    """The counts of sandboxes by their labels, as written on the page."""
    lines = metrics.render().decode().splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if line.startswith("gateway_sandboxes{"))
    return {labels.removeprefix("gateway_sandboxes"): float(count) for labels, count in pairs}


def test_sandboxes_are_counted_by_isolation() -> None:
    """Each connected sandbox counts under what it says of its isolation; who has gone is not there any more."""
    metrics = Metrics()
    best = {
        "tier": "bwrap",
        "seccomp": True,
        "memory": "cgroup2",
        "processes": "cgroup2",
        "freeze": "cgroup2",
    }
    metrics.show_sandboxes([best, best, {"tier": "none", "seccomp": False}])
    assert sandboxes(metrics) == {
        '{freeze="cgroup2",memory="cgroup2",processes="cgroup2",seccomp="true",tier="bwrap"}': 2,
        '{freeze="unknown",memory="unknown",processes="unknown",seccomp="false",tier="none"}': 1,
    }
    metrics.show_sandboxes([])
    assert sandboxes(metrics) == {}


def test_sandbox_can_not_make_up_labels() -> None:
    """Whatever a sandbox says, the page has no words but known ones."""
    metrics = Metrics()
    metrics.show_sandboxes(
        {"tier": f"x{number}", "memory": [number], "freeze": None} for number in range(100)
    )
    expected = '{freeze="other",memory="other",processes="unknown",seccomp="unknown",tier="other"}'
    assert sandboxes(metrics) == {expected: 100}
