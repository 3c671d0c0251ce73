"""What many commands take, and how each finds what carries it out."""

import importlib
from typing import Annotated, Any, Final

import typer

Url = Annotated[str, typer.Option(envvar="GATEWAY_URL", metavar="URL", help="The gateway.")]
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
Reason = Annotated[str | None, typer.Option(show_default=False, help="Noted in the task's log.")]

LOCAL: Final = "http://127.0.0.1:8080"


def part(name: str) -> Any:
    """The module that carries a command out.

    The one place that imports late: aiohttp, websockets and PyJWT cost half a second, `--help` needs none.
    """
    return importlib.import_module(f"gateway.server.{name}")
