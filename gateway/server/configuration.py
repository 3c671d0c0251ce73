"""How a process gets its `Settings`: from flags, the environment and `.env`, with mistakes by the operator's names."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import AliasChoices, ValidationError

from gateway.settings import Settings

MAX_SHOWN: Final = 60
"""Characters of a wrong value."""


def settings_of(flags: Mapping[str, Any]) -> Settings:
    """The settings with `flags` on top; None means not given. Raises pydantic's ValidationError."""
    return Settings(**{name: value for name, value in flags.items() if value is not None})


def mistakes(error: ValidationError) -> list[str]:
    """What is wrong with the settings, each with the name that the operator knows."""
    return [_words(item["loc"], item["msg"], item["input"]) for item in error.errors()]


def _words(loc: tuple[int | str, ...], message: str, given: object) -> str:
    said = message.removeprefix("Value error, ")
    if not loc:
        return said
    field = str(loc[0])
    if (info := Settings.model_fields.get(field)) is None:
        return f"{field.upper()}: {said}"
    is_secret = "Secret" in str(info.annotation)
    shown = "" if is_secret else f" (it is {str(given)[:MAX_SHOWN]!r})"
    return f"{name_of(field)}: {said}{shown}"


def name_of(field: str) -> str:
    """The environment variable of a setting."""
    alias = Settings.model_fields[field].validation_alias
    return str(alias.choices[-1]) if isinstance(alias, AliasChoices) else f"GATEWAY_{field.upper()}"
