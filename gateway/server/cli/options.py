"""What many commands take, and how each finds what carries it out."""

import importlib
from pathlib import Path
from typing import Annotated, Any, Final

import typer

Host = Annotated[
    str | None, typer.Option(help="Address to listen on.", show_default="GATEWAY_HOST or 127.0.0.1")
]
Port = Annotated[
    int | None,
    typer.Option(min=0, max=65535, help="0 picks a free one.", show_default="GATEWAY_PORT or 8080"),
]
Processes = Annotated[
    int | None,
    typer.Option(
        min=1, max=64, help="So many at that port; they need Redis.", show_default="GATEWAY_PROCESSES or 1"
    ),
]
DataDir = Annotated[
    Path | None, typer.Option(help="Tasks and their logs.", show_default="GATEWAY_DATA_DIR or ./data")
]
NoLocalSandbox = Annotated[bool, typer.Option("--no-local-sandbox", help="Start no sandbox here.")]
NoIsolation = Annotated[
    bool,
    typer.Option("--unsafe-no-isolation", help="Let SANDBOX_ISOLATION=none run tasks here without any jail."),
]
LOCAL: Final = "http://127.0.0.1:8080"
Url = Annotated[
    str | None,
    typer.Option(envvar="GATEWAY_URL", metavar="URL", show_default=LOCAL, help="The gateway."),
]
Token = Annotated[
    str | None,
    typer.Option(
        envvar="GATEWAY_TOKEN", metavar="JWT", show_default=False, help="Who you are, where it asks."
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print JSON lines, as they are on the wire, and nothing else.")
]
TaskId = Annotated[str, typer.Argument(metavar="ID", help="The task's id.")]
Label = Annotated[
    list[str] | None, typer.Option(metavar="KEY=VALUE", show_default=False, help="May be repeated.")
]
Timeout = Annotated[
    int | None,
    typer.Option(metavar="S", help="Seconds it may run.", show_default="300 s", min=1, max=86400),
]
Priority = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=-10, max=10, show_default="0", help="More goes first, among those that wait."
    ),
]
MaxAttempts = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, max=1000, show_default="3", help="Of a task whose place was lost."),
]
Workflow = Annotated[
    str | None, typer.Option(metavar="ID", show_default=False, help="The workflow that it is a part of.")
]
Key = Annotated[
    str | None,
    typer.Option(
        metavar="KEY", show_default=False, help="The same key again finds the same task: submit it once."
    ),
]
Reason = Annotated[str | None, typer.Option(show_default=False, help="Noted in the task's log.")]


def part(name: str) -> Any:
    """The module that carries a command out.

    The one place that imports late: aiohttp, websockets and PyJWT cost half a second, `--help` needs none.
    """
    return importlib.import_module(f"gateway.server.{name}")


def flags(
    host: str | None, port: int | None, data_dir: Path | None, *, no_local_sandbox: bool
) -> dict[str, Any]:
    """Settings by field, as given on the command line; None means not given."""
    local_sandbox = False if no_local_sandbox else None
    return {"host": host, "port": port, "data_dir": data_dir, "local_sandbox": local_sandbox}
