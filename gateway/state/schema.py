"""The scripts that bring a database's schema up to date, and texts that hold what a database refuses."""

from importlib import resources
from typing import Final

from gateway.errors import StoreUnavailableError

_ESCAPE: Final = "\uf8ff"
"""Stands before what is in place of a character that a database refuses in a text."""


def migrations(folder: str, version: int) -> list[tuple[int, str]]:
    """What comes after `version`, each script with its own. Raises `StoreUnavailableError` for a newer schema."""
    path = resources.files("gateway.state") / "migrations" / folder
    scripts = sorted((entry for entry in path.iterdir() if entry.name[:4].isdecimal()), key=lambda e: e.name)
    if version > len(scripts):
        raise StoreUnavailableError(
            f"the database has schema {version}, this version knows {len(scripts)}: use a newer gateway"
        )
    return [(number, script.read_text()) for number, script in enumerate(scripts[version:], version + 1)]


def escape(text: str) -> str:
    """`text` without U+0000, which neither PostgreSQL nor SurrealDB can store.

    See https://www.postgresql.org/docs/current/datatype-character.html.
    """
    if "\0" not in text and _ESCAPE not in text:
        return text
    return text.replace(_ESCAPE, f"{_ESCAPE}1").replace("\0", f"{_ESCAPE}0")


def unescape(text: str) -> str:
    """What `escape` was given."""
    return text.replace(f"{_ESCAPE}0", "\0").replace(f"{_ESCAPE}1", _ESCAPE) if _ESCAPE in text else text
