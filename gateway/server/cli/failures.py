"""What a command that failed says, and its exit code."""

from collections.abc import Mapping
from typing import Any, Final

from gateway.client.errors import (
    ClientError,
    ClosedError,
    DeadlineError,
    RefusedError,
    RequestError,
    TokenError,
    UnreachableError,
)
from gateway.server.cli.output import printable

FAILED_EXIT: Final = 1
USAGE_EXIT: Final = 2
UNREACHABLE_EXIT: Final = 69  # EX_UNAVAILABLE of sysexits.h
NOT_ALLOWED_EXIT: Final = 77  # EX_NOPERM


def words_of(error: ClientError, url: str) -> tuple[int, str]:
    """The exit code for an error, and what to say and to do about it."""
    match error:
        case UnreachableError():
            advice = "Start one with `gateway serve`, or name yours with --url or GATEWAY_URL."
            return UNREACHABLE_EXIT, f"no gateway answers at {url}: {error.reason}. {advice}"
        case RefusedError(status=401 | 403) | ClosedError(code=4401 | 4403):
            return (
                NOT_ALLOWED_EXIT,
                f"{url} does not let you in: {_text(error).rstrip('.')}. A token goes into --token or GATEWAY_TOKEN.",
            )
        case TokenError():
            return USAGE_EXIT, f"{error} (--token, GATEWAY_TOKEN)"
        case RequestError(code="unauthorized" | "forbidden"):
            return NOT_ALLOWED_EXIT, f"that is not allowed: {error.message}"
        case RequestError(code="bad_frame"):
            found = "; ".join(_finding(one) for one in error.details.get("errors", []))
            return USAGE_EXIT, f"the gateway does not take that: {found or error.message}"
        case RequestError(code="task_not_found"):
            return FAILED_EXIT, "there is no such task, or it is not yours; `gateway tasks` lists yours"
        case RequestError():
            return FAILED_EXIT, f"{error.message} ({error.code})"
        case RefusedError() | ClosedError() | DeadlineError():
            return UNREACHABLE_EXIT, f"{url}: {error}"
        case _:
            return FAILED_EXIT, str(error)


def _text(error: RefusedError | ClosedError) -> str:
    return error.message if isinstance(error, RefusedError) else error.reason


def _finding(found: Mapping[str, Any]) -> str:
    return f"{'.'.join(str(part) for part in found.get('loc', []))}: {printable(str(found.get('msg', '')))}"
