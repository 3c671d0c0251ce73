"""Where the gateway is, and who asks it: an option wins over the environment, that over `.env`, as with settings."""

import os
from dataclasses import dataclass

import typer

from gateway.server.cli.options import LOCAL
from gateway.server.env_file import TOKEN, URL, problem, value_in_file


@dataclass(frozen=True)
class Door:
    """Where the gateway is, and who asks."""

    url: str
    token: str | None


def door(url: str | None, token: str | None) -> Door:
    """What is meant by options, which typer has read from the environment where they were not given.

    Raises typer.BadParameter where the environment's token would go to wherever a folder's `.env` says: whose folder
    that is, nobody knows.
    """
    if (unread := problem()) is not None:
        typer.echo(f"gateway: {unread}, and is passed over", err=True)
    mine = token or _in_file(TOKEN)
    if url is not None:
        return Door(url, mine)
    named = _in_file(URL)
    if named is None:
        return Door(LOCAL, mine)
    if token is not None and token == os.environ.get(TOKEN):
        raise typer.BadParameter(
            f"the environment's {TOKEN} is not sent to {named}, which only .env names: name it by --url, or set"
            f" {URL} in the environment, too",
            param_hint=URL,
        )
    return Door(named, mine)


def needs_no_url(url: str) -> bool:
    """Whether a command finds `url` by itself from here."""
    return url == (os.environ.get(URL) or _in_file(URL) or LOCAL)


def _in_file(name: str) -> str | None:
    return value_in_file(name) or None
