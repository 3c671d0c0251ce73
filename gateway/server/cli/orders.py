"""What `gateway submit` was asked to do, as the fields of a submit."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import typer

from gateway.client.files import inline, named, size_of
from gateway.client.session import TaskOptions
from gateway.server.cli.output import printable

INLINE_BYTES: Final = 512 << 10
"""Files up to so much go with the rest of the input, in one frame; more are uploaded."""
SANDBOX: Final = "sandbox"
"""Who does what names no agent; also by its name, which `gateway tasks` shows."""
UNFETCHED: Final = {
    False: "nothing is brought back: name the files, too, by --collect GLOB",
    True: "--detach does not wait for them: fetch them by `gateway files ID --output DIR`",
}
"""Why a folder for files gets none, by whether the command is detached."""
MAX_NAME: Final = 120
"""Characters of a command, or of a text, that name its task."""


@dataclass(frozen=True)
class Terms:
    """How a task is to be run, whatever it does; labels are `KEY=VALUE`, None leaves it to the gateway."""

    labels: Sequence[str] = ()
    timeout_s: int | None = None
    priority: int | None = None
    max_attempts: int | None = None
    workflow_id: str | None = None
    idempotency_key: str | None = None

    def options(self, agent: str, given: dict[str, Any], name: str) -> TaskOptions:
        """As the fields of a submit; raises typer.BadParameter."""
        # The dashboard calls a task by its label `name`.
        labels = {"name": name[:MAX_NAME]} | dict(pair(text, "--label") for text in self.labels)
        said = {field: value for field, value in vars(self).items() if value is not None}
        return cast("TaskOptions", said | {"agent": agent, "input": given, "labels": labels})


@dataclass(frozen=True)
class Order:
    """What `gateway submit` was asked to do in a sandbox."""

    paths: Sequence[Path]
    commands: Sequence[str]
    terms: Terms
    globs: Sequence[str] = ()
    output: Path | None = None
    stdin: bool = False

    def options(self) -> tuple[TaskOptions, dict[str, Path] | None]:
        """As the fields of a submit, and the files to upload with it; raises FilesError or typer.BadParameter."""
        found = named(self.paths, on_left_out=_left_out)
        small = size_of(found) <= INLINE_BYTES
        given: dict[str, Any] = {"commands": list(self.commands)}
        if small:
            given["files"] = inline(found)
        if self.globs:
            given["collect"] = {"globs": list(self.globs)}
        if self.stdin:
            given["stdin"] = True
        options = self.terms.options(SANDBOX, given, self.commands[0])
        return options, None if small else found


@dataclass(frozen=True)
class AgentOrder:
    """What an agent other than `sandbox` was asked to do; parameters are `KEY=JSON`."""

    agent: str
    text: str
    terms: Terms
    parameters: Sequence[str] = ()

    def options(self) -> tuple[TaskOptions, None]:
        """As the fields of a submit; raises typer.BadParameter."""
        pairs = (pair(text, "--set") for text in self.parameters)
        given = {key: json_or_text(value) for key, value in pairs} | {"task": self.text}
        return self.terms.options(self.agent, given, self.text), None


def ordered(
    subject: Sequence[str],
    terms: Terms,
    *,
    agent: str | None,
    parameters: Sequence[str],
    detach: bool,
    **options: Any,
) -> Order | AgentOrder:
    """What was asked of `agent`, or else of a sandbox, by the options of an `Order`. Raises typer.BadParameter."""
    if agent not in {None, SANDBOX}:
        if any(options.values()):
            raise typer.BadParameter(
                "an agent takes a text, and nothing of a sandbox's", param_hint="--agent"
            )
        if not subject:
            raise typer.BadParameter("say what it is to do, in a text", param_hint="--agent")
        return AgentOrder(str(agent), " ".join(subject), terms, parameters)
    if not options["commands"]:
        raise typer.BadParameter(
            "say what to run, such as --command ls, or who does a text, by --agent", param_hint="--command"
        )
    if parameters:
        raise typer.BadParameter("a sandbox has no input but its commands and files", param_hint="--set")
    if options["output"] is not None and (detach or not options["globs"]):
        raise typer.BadParameter(UNFETCHED[detach], param_hint="--output")
    return Order([Path(path) for path in subject], terms=terms, **options)


def _left_out(path: Path) -> None:
    typer.echo(f"gateway: left out, a link that is not followed: {printable(str(path))}", err=True)


def json_or_text(value: str) -> Any:
    """What JSON says, or the text where it is none."""
    try:
        return json.loads(value)
    except ValueError:
        return value


def pair(text: str, option: str) -> tuple[str, str]:
    """The halves of a `KEY=VALUE` that was given to `option`; raises typer.BadParameter."""
    key, sign, value = text.partition("=")
    if not (key and sign):
        raise typer.BadParameter(f"{text!r} is not KEY=VALUE", param_hint=option)
    return key, value
