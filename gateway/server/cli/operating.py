"""The commands for whoever operates a gateway: what each takes, and its help."""

from typing import Annotated

import typer

from gateway.server.cli.options import (
    DataDir,
    Host,
    Json,
    NoIsolation,
    NoLocalSandbox,
    Port,
    Processes,
    Token,
    Url,
    flags,
    part,
)


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
    raise typer.Exit(part("serve").run(unsafe_no_isolation=unsafe_no_isolation, **given))


def worker(
    *,
    host: Host = None,
    port: Port = None,
    data_dir: DataDir = None,
    no_local_sandbox: NoLocalSandbox = False,
    unsafe_no_isolation: NoIsolation = False,
) -> None:
    """Start a worker: it runs tasks for gateways.

    It serves no clients: it shares its store and Redis with gateways, which its tasks come from, and holds
    sandboxes. What it listens for are /livez, /readyz and /metrics, and the sites of its sandboxes for the gateways,
    on any port where none is named and the usual one is taken. Else it is like serve.
    """
    given = flags(host, port, data_dir, no_local_sandbox=no_local_sandbox)
    does = part("serve")
    raise typer.Exit(does.run(serves_clients=False, unsafe_no_isolation=unsafe_no_isolation, **given))


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
    raise typer.Exit(part("checks.check").run(as_json=as_json, **given))


def pair(*, url: Url = None, token: Token = None, as_json: Json = False) -> None:
    """Print a link that makes a browser's tab a sandbox of yours.

    The tab that opens it is one then; it is good once, and for five minutes. The tab runs your tasks that ask for
    it: --token needs the scope sandbox.
    """
    does = part("cli.pair")
    raise typer.Exit(does.pair(does.door(url, token), as_json=as_json))


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
    """Make a token for --token, or to show somebody a task.

    For a gateway that runs with GATEWAY_AUTH=jwt and the same GATEWAY_JWT_SECRET; nothing is asked of it.

      gateway token --sub alice

      gateway token --sub alice --task TASK_ID --expires 2h

    The second one is to give away: whoever has it sees that task of alice's, its events and its files, but not
    its input, and no other task; with --scope "tasks:read tasks:write" they may also steer it. A token can't be
    taken back by itself: keep its life short, or put its jti, or its subject, into the gateway's
    GATEWAY_REVOKED_FILE. It is written nowhere; don't put it into a URL that a server sees.
    """
    does = part("cli.token")
    raise typer.Exit(
        does.print_token(
            secret, sub=sub, scopes=scope or [], tasks=task or [], expires=expires, audience=audience
        )
    )
