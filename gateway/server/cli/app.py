"""The command line: what each command takes, and its help. What it does is loaded when it is called."""

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from gateway.server.cli.history import checkpoints, explain, recover, workflows
from gateway.server.cli.operating import check, pair, serve, token, worker
from gateway.server.cli.options import (
    Json,
    Key,
    Label,
    MaxAttempts,
    Priority,
    Reason,
    TaskId,
    Timeout,
    Token,
    Url,
    Workflow,
)
from gateway.server.cli.options import part as _part

EXIT_CODES = """\
Exit codes of submit and watch: the task's own exit code; 1 where it failed without one; 130 where it was
cancelled, or where you left it with Ctrl-C, which asks on a terminal whether to cancel it; 141 where the reader
of the output went. Of every command: 2 for wrong usage, 69 where no gateway can be reached, 77 where it does not
let you in, 1 for any other error.
"""

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Submit work to sandboxes, watch it live, come back to it, and never lose a line.",
    epilog=EXIT_CODES,
)


def _say_version(*, wanted: bool) -> None:
    if wanted:
        typer.echo(version("sentient-gateway"))
        raise typer.Exit


def _add(*commands: Callable[..., None]) -> None:
    for command in commands:
        app.command()(command)


@app.callback()
def _common(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Say which this is.")
    ] = False,
) -> None:
    pass


Subject = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="PATH",
        show_default=False,
        help="A directory's content, or single files. With --agent: the task's text.",
    ),
]
Parameters = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=JSON",
        show_default=False,
        help="More of that agent's input; what is no JSON is a text. May be repeated.",
    ),
]


_add(serve, worker, check)


@app.command(epilog=EXIT_CODES)
def submit(
    subject: Subject = None,
    *,
    command: Annotated[
        list[str] | None,
        typer.Option(
            "--command", "-c", metavar="CMD", show_default=False, help="A shell command; may be repeated."
        ),
    ] = None,
    agent: Annotated[
        str | None,
        typer.Option(metavar="NAME", show_default=False, help="Who else is to do it, by a text."),
    ] = None,
    parameter: Parameters = None,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Print the task's id, and don't wait.")
    ] = False,
    timeout: Timeout = None,
    label: Label = None,
    priority: Priority = None,
    max_attempts: MaxAttempts = None,
    workflow: Workflow = None,
    key: Key = None,
    collect: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GLOB", show_default=False, help="Files to bring back at the end; may be repeated."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Where to put them.", show_default="."),
    ] = None,
    stdin: Annotated[
        bool, typer.Option("--stdin", help="It can be sent input, by `gateway input`; ours is not read.")
    ] = False,
    url: Url = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Run commands on your files, and see it live.

    The files go into the task's own empty directory in a sandbox, where the commands run one after another,
    until one fails. Left out are .git, .hg, .venv, node_modules and __pycache__. What the commands print on
    standard output and standard error comes out here just so, as it comes; notes go to standard error.

      gateway submit . --command "python3 -m unittest"

      gateway submit build.sh data.csv -c "sh build.sh" -c "ls -l"

      gateway submit . -c "make" --collect "dist/**" --output built

      gateway submit . -c "make release" --key release-1.4   (again: the same task, followed from its beginning)

      gateway submit --agent frontend_developer "A page for my bakery"
    """
    orders = _part("cli.orders")
    order = orders.ordered(
        subject or [],
        orders.Terms(label or [], timeout, priority, max_attempts, workflow, key),
        agent=agent,
        parameters=parameter or [],
        detach=detach,
        commands=command or [],
        globs=collect or [],
        output=output,
        stdin=stdin,
    )
    part = _part("cli.tasks")
    raise typer.Exit(part.submit(part.door(url, token), order, detach=detach, as_json=as_json))


@app.command(epilog=EXIT_CODES)
def watch(
    task_id: TaskId,
    *,
    after: Annotated[int, typer.Option(metavar="SEQ", min=0, help="Begin behind this event.")] = 0,
    url: Url = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """See a task's output live, or once more.

    From its beginning, or from behind an event, to its end.
    """
    part = _part("cli.tasks")
    raise typer.Exit(part.watch(part.door(url, token), task_id, after_seq=after, as_json=as_json))


@app.command()
def tasks(
    *,
    status: Annotated[
        str | None, typer.Option(help="pending, running, paused, completed, failed or cancelled.")
    ] = None,
    label: Annotated[str | None, typer.Option(metavar="KEY=VALUE", help="Only those that have it.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="At most so many.")] = 50,
    url: Url = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """List your tasks, newest first."""
    part = _part("cli.tasks")
    if label is not None:
        _part("cli.orders").pair(label, "--label")
    filters = {"status": status, "label": label, "limit": limit}
    raise typer.Exit(part.list_tasks(part.door(url, token), filters, as_json=as_json))


@app.command()
def files(
    task_id: TaskId,
    *,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", show_default=False, help="Write them below it."),
    ] = None,
    url: Url = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """List the files that a task gave back, or fetch them.

    They are there once it has ended, if its submit asked for them.
    """
    part = _part("cli.tasks")
    raise typer.Exit(part.files(part.door(url, token), task_id, folder=output, as_json=as_json))


def _wish(name: str, about: str) -> None:
    """A command that wants something of a running task."""

    def command(
        task_id: TaskId,
        *,
        reason: Reason = None,
        url: Url = None,
        token: Token = None,
        as_json: Json = False,
    ) -> None:
        part = _part("cli.tasks")
        raise typer.Exit(part.wish(part.door(url, token), task_id, name, reason=reason, as_json=as_json))

    app.command(name, help=about)(command)


_wish("cancel", "Cancel a task. Its processes get a moment to end by themselves.")
_wish("pause", "Pause a task. Its processes stand still until `gateway resume`.")
_wish("resume", "Let a paused task go on.")


_add(explain, workflows, checkpoints, recover)


@app.command("input")
def send_input(
    task_id: TaskId,
    text: Annotated[str | None, typer.Argument(metavar="TEXT", show_default=False, help="A line.")] = None,
    *,
    eof: Annotated[
        bool, typer.Option("--eof", help="And that is its end; without TEXT nothing else.")
    ] = False,
    key: Annotated[
        str | None,
        typer.Option(
            metavar="KEY", show_default=False, help="TEXT answers this question; it is JSON, or else a text."
        ),
    ] = None,
    url: Url = None,
    token: Token = None,
) -> None:
    """Send a running task input.

    A line, or without one whatever comes on standard input, and its end. The task must have been submitted with
    --stdin; what is sent before a command runs waits for it. With --key it is the answer to what an agent asks.
    """
    part = _part("cli.tasks")
    if key is not None:
        if text is None or eof:
            raise typer.BadParameter("an answer is a TEXT, and has no end", param_hint="--key")
        raise typer.Exit(part.answer(part.door(url, token), task_id, key, text))
    raise typer.Exit(part.send_input(part.door(url, token), task_id, text, eof=eof))


_add(pair, token)
