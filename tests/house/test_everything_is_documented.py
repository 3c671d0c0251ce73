"""What clients, sandboxes and operators may meet is on a page: frames, errors, closes, settings, metrics, commands."""

import re
from typing import Any, Final, get_args

import pytest
import typer.main

from gateway import frames
from gateway.errors import CLOSES, ERRORS, TASK_ERRORS
from gateway.metrics import Metrics
from gateway.server.cli.app import app
from gateway.settings import Settings
from sandbox_bridge.protocol import FromSandbox, ToSandbox
from sandbox_bridge.settings import SandboxSettings
from tests.support.documents import DOCS, shown_names

SAID: Final = ("welcome", "event", "update", "goodbye", "result", "error")
"""What the server says on the client socket."""


def types_of(union: Any) -> set[str]:
    """The `type`s of a union of frames."""
    models = get_args(get_args(union)[0])
    return {kind for model in models for kind in get_args(model.model_fields["type"].annotation)}


def commands() -> dict[str, Any]:
    """The command line's commands, by name."""
    group: Any = typer.main.get_command(app)
    found: dict[str, Any] = group.commands
    return found


EVERYTHING: Final = {
    "frames": (
        "protocol.md",
        types_of(frames.Request) | types_of(ToSandbox) | types_of(FromSandbox) | set(SAID),
    ),
    "errors": ("errors.md", set(ERRORS) | set(TASK_ERRORS)),
    "closes": ("errors.md", {str(int(code)) for code in CLOSES}),
    "settings": ("settings.md", shown_names(Settings, "GATEWAY_") | shown_names(SandboxSettings, "SANDBOX_")),
    "metrics": ("metrics.md", {metric.name for metric in Metrics().registry.collect()}),
    "commands": ("protocol.md", set(commands())),
}


@pytest.mark.parametrize("kind", EVERYTHING)
def test_each_is_on_its_page(kind: str) -> None:
    """None is missing where a reader looks for it."""
    page, names = EVERYTHING[kind]
    text = (DOCS / page).read_text()
    assert names
    assert {name for name in names if not re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text)} == {
        name for name in names if kind == "metrics" and f"{name}_total" in text
    }


def test_each_command_says_what_it_and_its_options_are_for() -> None:
    """`--help` is the page of a command: nothing on it is without a word."""
    for name, command in commands().items():
        assert command.help, name
        for parameter in command.params:
            if parameter.param_type_name == "option":
                assert parameter.help, f"{name} {parameter.opts}"
