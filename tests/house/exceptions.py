"""The one list of what may break a house rule, each with its reason.

A key is the rule and the place that the test names, or its file. An entry that nothing needs fails, too.
"""

import pytest

CHECK = "`gateway check` meets sandboxes just as the wiring does, to say who is there"

EXCEPTIONS: dict[tuple[str, str], str] = {
    ("bridge", "gateway.server.checks.sandboxes -> sandbox_bridge.bridge"): CHECK,
    ("bridge", "gateway.server.checks.sandboxes -> sandbox_bridge.connection"): CHECK,
    ("bridge", "gateway.server.checks.sandboxes -> sandbox_bridge.handshake"): CHECK,
    ("bridge", "gateway.server.embedded -> sandbox_bridge.connection"): (
        "part of the wiring: it dials the child process that it has started itself"
    ),
    ("bridge", "gateway.work.dispatcher -> sandbox_bridge.bridge"): (
        "hands the chosen bridge on to the run, and calls nothing of it"
    ),
    ("bridge", "gateway.work.runs -> sandbox_bridge.bridge"): (
        "counts what it has placed on each bridge, and calls nothing of it"
    ),
    ("bridge", "gateway.work.fleet_view -> sandbox_bridge.pool"): (
        "hands on what a task wants of a sandbox, and asks nothing of it"
    ),
    ("bridge", "gateway.work.dispatcher -> sandbox_bridge.pool"): (
        "a claim and the choice of a free sandbox for it are one decision"
    ),
    ("bridge", "gateway.work.waiting -> sandbox_bridge.pool"): (
        "whether a sandbox that lives would fit a task is asked of the pool while the task waits"
    ),
    ("bridge", "gateway.work.run -> sandbox_bridge.bridge"): (
        "hands the chosen bridge on to the agent, and calls nothing of it"
    ),
    ("import in function", "gateway/agents/schemas.py::problems"): (
        "the library takes 8 MiB, and an instance that has all its fleet's agents never needs it"
    ),
    ("sleep in tests", "tests/support/guide_agents.py::Ferry._wait_for"): (
        "an agent as somebody else writes it: it polls, and no test waits for that"
    ),
    ("sleep in tests", "tests/support/processes.py::until"): (
        "the one loop that polls a condition of another process, with a deadline"
    ),
}


def check(rule: str, found: dict[str, str]) -> None:
    """Fail with what breaks `rule` without leave (place: what is wrong), and with its stale exceptions."""
    allowed = {place for kind, place in EXCEPTIONS if kind == rule}
    places = {place: {place, place.partition("::")[0]} for place in found}
    broken = [f"{place}: {what}" for place, what in found.items() if not places[place] & allowed]
    needed = set[str]().union(*places.values())
    stale = [f"{place}: its exception to '{rule}' is not needed any more" for place in allowed - needed]
    if broken or stale:
        pytest.fail("\n".join([f"{rule}:", *broken, *stale]), pytrace=False)
