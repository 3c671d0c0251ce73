"""The command line: what each command takes, and its help. What it does is loaded when it is called."""

from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from gateway.server.cli.history import checkpoints, explain, recover, workflows
from gateway.server.cli.options import (
    DataDir,
    Host,
    Json,
    Key,
    Label,
    MaxAttempts,
    NoIsolation,
    NoLocalSandbox,
    Port,
    Priority,
    Processes,
    Reason,
    TaskId,
    Timeout,
    Token,
    Url,
    Workflow,
    flags,
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


@app.command()
def serve(
    *,
    host: Host = None,
    port: Port = None,
    processes: Processes = None,
    data_dir: DataDir = None,
    no_local_sandbox: NoLocalSandbox = False,
    unsafe_no_isolation: NoIsolation = False,
) -> None:
    """Start a gateway with all it needs.

    It says on standard output when it is ready. Every setting can also come from the environment or .env.
    SIGTERM or Ctrl-C lets running tasks finish (GATEWAY_DRAIN_S); a second one ends it now.
    """
    given = flags(host, port, data_dir, no_local_sandbox=no_local_sandbox) | {"processes": processes}
    raise typer.Exit(_part("serve").run(unsafe_no_isolation=unsafe_no_isolation, **given))


@app.command()
def worker(
    *,
    host: Host = None,
    port: Port = None,
    data_dir: DataDir = None,
    no_local_sandbox: NoLocalSandbox = False,
    unsafe_no_isolation: NoIsolation = False,
) -> None:
    """Start a worker: it runs tasks and holds sandboxes, and serves no clients.

    It shares its store and Redis with gateways, which its tasks come from. What it listens for are /livez, /readyz
    and /metrics, and the sites of its sandboxes for the gateways, on any port where none is named and the usual one
    is taken. Else it is like serve.
    """
    given = flags(host, port, data_dir, no_local_sandbox=no_local_sandbox)
    part = _part("serve")
    raise typer.Exit(part.run(serves_clients=False, unsafe_no_isolation=unsafe_no_isolation, **given))


@app.command()
def check(
    *,
    host: Host = None,
    port: Port = None,
    data_dir: DataDir = None,
    no_local_sandbox: NoLocalSandbox = False,
    as_json: Json = False,
) -> None:
    """Try every part that serve would need.

    It reads the same settings, and changes nothing: also beside a gateway that runs. Each line says what was
    found, and what mends it. The exit code is 1 where something is wrong.
    """
    given = flags(host, port, data_dir, no_local_sandbox=no_local_sandbox)
    raise typer.Exit(_part("checks.check").run(as_json=as_json, **given))


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
_wish("pause", "Pause a task: its processes stand still until `gateway resume`.")
_wish("resume", "Let a paused task go on.")


for command in (explain, workflows, checkpoints, recover):
    app.command()(command)


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


@app.command()
def pair(*, url: Url = None, token: Token = None, as_json: Json = False) -> None:
    """Print a link that makes the browser's tab that opens it a sandbox of yours.

    It is good once, and for five minutes. The tab runs your tasks that ask for it: --token needs the scope sandbox.
    """
    part = _part("cli.pair")
    raise typer.Exit(part.pair(part.door(url, token), as_json=as_json))


@app.command()
def token(
    *,
    sub: Annotated[
        str,
        typer.Option(
            metavar="SUBJECT",
            help="Whom it stands for; tasks belong to their subject. With --task: whose they are.",
        ),
    ],
    task: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TASK_ID",
            show_default=False,
            help="It opens this task alone, and can't submit; may be repeated.",
        ),
    ] = None,
    secret: Annotated[
        str | None,
        typer.Option(
            envvar="GATEWAY_JWT_SECRET",
            show_default=False,
            help="The gateway's HS256 key, at least 32 bytes. Others see arguments: use the environment, or .env.",
        ),
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="tasks:read, tasks:write, sandbox, sandbox:server or admin; may be repeated.",
            show_default="tasks:read and tasks:write, with --task tasks:read",
        ),
    ] = None,
    expires: Annotated[str, typer.Option(metavar="TIME", help="Such as 30m, 12h or 7d.")] = "1d",
    audience: Annotated[
        str | None,
        typer.Option(envvar="GATEWAY_JWT_AUDIENCE", show_default=False, help="Where the gateway wants one."),
    ] = None,
) -> None:
    """Make a token for --token (GATEWAY_TOKEN), or to show somebody a task.

    For a gateway that runs with GATEWAY_AUTH=jwt and the same GATEWAY_JWT_SECRET; nothing is asked of it.

      gateway token --sub alice

      gateway token --sub alice --task TASK_ID --expires 2h

    The second one is to give away: whoever has it sees that task of alice's, its events and its files, but not
    its input, and no other task; with --scope "tasks:read tasks:write" they may also steer it. A token can't be
    taken back by itself: keep its life short, or put its jti, or its subject, into the gateway's
    GATEWAY_REVOKED_FILE. It is written nowhere; don't put it into a URL that a server sees.
    """
    part = _part("cli.token")
    raise typer.Exit(
        part.print_token(
            secret, sub=sub, scopes=scope or [], tasks=task or [], expires=expires, audience=audience
        )
    )
