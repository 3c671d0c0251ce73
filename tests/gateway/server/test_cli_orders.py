"""What `gateway submit` makes of its options."""

from pathlib import Path
from typing import Any

import pytest
import typer

from gateway.server.cli.orders import AgentOrder, Order, Terms, ordered


def order(*subject: str, agent: str | None = None, detach: bool = False, **given: Any) -> Order | AgentOrder:
    """What was asked for by these options, the others left out."""
    options: dict[str, Any] = {"parameters": [], "commands": [], "globs": [], "output": None, "stdin": False}
    return ordered(subject, Terms(), agent=agent, detach=detach, **(options | given))


def test_sandbox_may_be_named() -> None:
    """`gateway tasks` lists its tasks by that name."""
    assert order("a", commands=["ls"], agent="sandbox") == order("a", commands=["ls"])


def test_files_come_back_to_a_folder() -> None:
    """It may be named where they are asked for, and are waited for."""
    made = order(commands=["ls"], globs=["*"], output=Path("out"))
    assert isinstance(made, Order)
    assert made.output == Path("out")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "say what to run"),
        ({"parameters": ["a=1"], "commands": ["ls"]}, "no input but its commands"),
        ({"output": Path("out"), "commands": ["ls"]}, "--collect GLOB"),
        ({"output": Path(), "globs": ["*"], "commands": ["ls"], "detach": True}, "gateway files ID"),
        ({"agent": "writer"}, "in a text"),
        ({"agent": "writer", "output": Path("out")}, "nothing of a sandbox's"),
    ],
)
def test_what_would_be_passed_over_is_refused(given: dict[str, Any], said: str) -> None:
    """A line says what does not go together, and what to say instead."""
    with pytest.raises(typer.BadParameter, match=said):
        order(**given)
