"""Agents of the whole fleet: asked themselves where they are here, else held to what was told of them."""

from typing import Any

import pytest

from gateway.agents.fleet_registry import FleetRegistry
from gateway.agents.hosted import hosted
from gateway.agents.registry import Registry
from gateway.agents.sandbox import SANDBOX
from gateway.agents.schemas import schema_of
from gateway.errors import GatewayError
from tests.support.planter import Planter

PLANTER = hosted("planter", Planter)
HERE = FleetRegistry(Registry([SANDBOX, PLANTER]))
ELSEWHERE = FleetRegistry(Registry([SANDBOX]), lambda: {"planter": schema_of(PLANTER.input_model), "old": {}})


def refusal(directory: FleetRegistry, name: str, value: dict[str, Any]) -> GatewayError:
    """What is said to an input."""
    with pytest.raises(GatewayError) as caught:
        directory.checked_input(name, value)
    return caught.value


def test_agents_of_all_are_there_with_what_they_take() -> None:
    """Those that are here as they are here."""
    assert list(ELSEWHERE.schemas) == ["planter", "old", "sandbox"]
    assert ELSEWHERE.schemas["planter"] == HERE.schemas["planter"]
    twice = FleetRegistry(Registry([PLANTER]), lambda: {"planter": {"title": "another version"}})
    assert twice.schemas == Registry([PLANTER]).schemas
    assert (ELSEWHERE.names, twice.names) == (["sandbox", "planter", "old"], ["planter"])


def test_agent_that_nobody_has_is_unknown() -> None:
    """The refusal names those that there are."""
    refused = refusal(ELSEWHERE, "nobody", {})
    assert refused.code == "unknown_agent"
    assert "planter" in refused.message


@pytest.mark.parametrize(
    ("given", "loc"),
    [
        ({}, ["input"]),
        ({"task": 5}, ["input", "task"]),
        ({"task": "dig", "rows": 0}, ["input", "rows"]),
        ({"task": "dig", "more": [{"plant": "elm"}, {"plant": 1}]}, ["input", "more", 1, "plant"]),
    ],
)
def test_input_is_refused_where_the_agent_is_not_as_where_it_is(
    given: dict[str, Any], loc: list[Any]
) -> None:
    """By the same code, with a place in the input."""
    for directory in (HERE, ELSEWHERE):
        refused = refusal(directory, "planter", given)
        assert refused.code == "bad_frame"
        assert refused.details["errors"][0]["loc"][: len(loc)] == loc
        assert refused.message.startswith("input")


def test_agent_of_another_is_sent_anything_and_given_no_files() -> None:
    """Text and files are for agents that every instance has."""
    assert not ELSEWHERE.takes_files("planter")
    assert not ELSEWHERE.takes_text("planter")
    assert ELSEWHERE.takes_input("planter", {})
    assert (ELSEWHERE.takes_files("sandbox"), ELSEWHERE.takes_text("sandbox")) == (True, True)
    assert not ELSEWHERE.takes_input("sandbox", {})
