"""Turns pydantic's ValidationError into the contract's `bad_frame`, bounded in size."""

from collections.abc import Sequence
from typing import Final

from pydantic import ValidationError

from gateway.errors import GatewayError, wrong_field
from gateway.events import cut_text

MAX_ERROR_BYTES: Final = 500
"""An error's text, which may repeat what was sent."""
MAX_MISTAKES: Final = 1000
"""So many are looked at: each takes a us that others wait for."""
MAX_TOLD: Final = 20


def bad_frame(error: ValidationError, *, skip: int = 0, within: Sequence[str] = ()) -> GatewayError:
    """The `bad_frame` that says what `error` found, and where, below `within`; of too much only how much."""
    if (count := error.error_count()) > MAX_MISTAKES:
        return wrong_field(list(within), f"{count} of its keys or values are wrong")
    found = error.errors(include_url=False, include_input=False, include_context=False)[:MAX_TOLD]
    places = [[*within, *item["loc"][skip:]] for item in found]
    messages = [cut_text(item["msg"].removeprefix("Value error, "), MAX_ERROR_BYTES) for item in found]
    errors = [{"loc": loc, "msg": message} for loc, message in zip(places, messages, strict=True)]
    return wrong_field(places[0], messages[0], *errors[1:])
