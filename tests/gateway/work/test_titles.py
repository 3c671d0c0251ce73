"""What a task is called in lists."""

from typing import Any

import pytest

from gateway.principal import Principal
from gateway.work.control import shown_to
from gateway.work.titles import MAX_TITLE, title_of


@pytest.mark.parametrize(
    ("given", "title"),
    [
        ({"task": "A page for\n\tmy  bakery"}, "A page for my bakery"),
        ({"commands": ["make test", "make"]}, "make test"),
        ({"commands": [{"sh": "make"}]}, "make"),
        ({"commands": [{"argv": ["ls", "-l"]}]}, "ls -l"),
        ({"task": "a\x00b\x1b[2J"}, "a b [2J"),
        ({"task": "x" * 1_000_000}, "x" * (MAX_TITLE - 1) + "…"),
        ({}, None),
        ({"task": " \n"}, None),
        ({"task": 7}, None),
        ({"commands": []}, None),
        ({"commands": [{"cwd": "x"}]}, None),
    ],
)
def test_title_is_what_was_asked_for(given: dict[str, Any], title: str | None) -> None:
    """The text of an agent's task, else the first command, in one short line that stores and screens take."""
    assert title_of(given) == title


def test_title_is_of_the_input() -> None:
    """So whoever was given a token for the task alone, which does not show its input, is not shown that."""
    wire = {"title": "A page", "session_id": "s"}
    shared = Principal("alice", frozenset(), tasks=frozenset({"t"}))
    assert shown_to(shared, wire) == {"session_id": None}
    assert shown_to(Principal("alice", frozenset()), wire) == wire
