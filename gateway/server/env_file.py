"""The file `.env` of the working directory, by itself: what it names, whether or not that is a setting."""

import logging
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


def problem() -> str | None:
    """Why `.env` can't be read, where it is there and can't; it sets nothing then."""
    try:
        _read()
    except OSError as error:
        return f".env can't be read: {error.strerror}"
    except UnicodeDecodeError:
        return ".env can't be read: it is not UTF-8"
    return None


def _values() -> dict[str, str | None]:
    return {} if problem() is not None else _read()


def _read() -> dict[str, str | None]:
    if not FILE.is_file():
        return {}
    # Lines of somebody else's that it makes nothing of: whoever starts a gateway hears of them when settings are read.
    log = logging.getLogger("dotenv.main")
    log.disabled = True
    try:
        return dotenv_values(FILE, encoding="utf-8")
    finally:
        log.disabled = False
