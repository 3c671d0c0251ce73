"""The file `.env` of the working directory, by itself: what it names, whether or not that is a setting."""

from pathlib import Path
from typing import Final

from dotenv import dotenv_values

FILE: Final = Path(".env")
URL: Final = "GATEWAY_URL"
TOKEN: Final = "GATEWAY_TOKEN"  # noqa: S105 - its name
"""What the commands that talk to a gateway read beside its settings."""


def value_in_file(name: str) -> str | None:
    """What `.env` sets `name` to."""
    return _values().get(name)


def names_in_file() -> frozenset[str]:
    """What `.env` sets, ours or not."""
    return frozenset(_values())


def _values() -> dict[str, str | None]:
    return dotenv_values(FILE, encoding="utf-8") if FILE.is_file() else {}
