"""What can go wrong, in the words of the contract: error codes, close codes, and who should try again.

Two catalogues and three exceptions. `ERRORS` are answers to a request, `CLOSES` end a connection,
`TASK_ERRORS` are why a task failed. Only `sessions.commands` and `server.http.errors` turn an exception into an answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class ErrorKind:
    """One row of the catalogue: its HTTP status, whether the same request may succeed later, and its meaning."""

    status: int
    retryable: bool
    meaning: str


ERRORS: Final = {
    "bad_frame": ErrorKind(
        422, False, "The request is not JSON, or a field is wrong; details.errors lists which."
    ),
    "unknown_agent": ErrorKind(422, False, "No live instance has that agent."),
    "task_not_found": ErrorKind(404, False, "There is no such task, or it is not yours."),
    "workflow_not_found": ErrorKind(404, False, "There is no such workflow, or it is not yours."),
    "checkpoint_not_found": ErrorKind(404, False, "The workflow has no such checkpoint."),
    "invalid_state": ErrorKind(409, False, "The task's status does not allow it; see details.status."),
    "invalid_cursor": ErrorKind(410, False, "after_seq is beyond the task's last event."),
    "idempotency_conflict": ErrorKind(409, False, "The idempotency key was used with another body."),
    "rate_limited": ErrorKind(429, True, "Too many requests; see details.retry_after_ms."),
    "overloaded": ErrorKind(503, True, "Too much is under way; see details.retry_after_ms."),
    "too_large": ErrorKind(413, False, "More than the contract allows in one piece."),
    "unauthorized": ErrorKind(401, False, "The token is missing, expired or bad."),
    "forbidden": ErrorKind(403, False, "The token does not allow it."),
    "unavailable": ErrorKind(503, True, "The state store can't be reached; nothing was done."),
    "internal": ErrorKind(500, False, "A bug of ours; details.error_id finds it in the log."),
}

TASK_ERRORS: Final = {
    "command_failed": "A command ended with something else than 0.",
    "timeout": "The task ran longer than its timeout_s.",
    "sandbox_lost": "The sandbox was lost, on the last attempt allowed.",
    "instance_lost": "The gateway instance was lost, on the last attempt allowed.",
    "agent_error": "The agent raised an error.",
    "memory_limit": "The kernel ended a process for want of memory.",
    "resource_limit": "A limit other than time and memory was met.",
    "no_sandbox": "For too long no live sandbox would have fitted.",
    "bad_input": "The sandbox found the input to be wrong.",
}


class GatewayError(Exception):
    """A refusal that its asker is told of: `code` is a key of `ERRORS`."""

    def __init__(self, code: str, message: str | None = None, **details: Any) -> None:
        self.code = code
        self.kind = ERRORS[code]
        self.message = message or self.kind.meaning
        self.details = details
        super().__init__(f"{code}: {self.message}")

    def body(self) -> dict[str, Any]:
        """The error's part of an answer: `code`, `message`, `retryable` and, where there are any, `details`."""
        body: dict[str, Any] = {"code": self.code, "message": self.message, "retryable": self.kind.retryable}
        return body | {"details": self.details} if self.details else body


def wrong_field(loc: Sequence[str | int], problem: str, *others: Mapping[str, Any]) -> GatewayError:
    """The `bad_frame` for a field, and for `others`, each `{"loc": …, "msg": …}`.

    `loc` leads to the field through the request, and is empty where all of it is meant.
    """
    where = ".".join(map(str, loc))[:500]
    errors = [{"loc": [*loc], "msg": problem}, *others]
    return GatewayError("bad_frame", f"{where}: {problem}" if where else problem, errors=errors)


class LeaseLostError(Exception):
    """The writer is no longer the task's owner, or its log has moved on: it must stop at once."""


class StoreUnavailableError(Exception):
    """The state store can't be reached or refused to commit; nothing of what was asked is on disk."""


class Close(IntEnum):
    """Why the server ends a connection; codes below 4000 are RFC 6455 section 7.4.1's."""

    GONE = 1001
    UNSUPPORTED_DATA = 1003
    NOT_UTF8 = 1007
    TOO_BIG = 1009
    RESTART = 1012
    OVERLOADED = 1013
    BAD_FRAMES = 4400
    UNAUTHORIZED = 4401
    FORBIDDEN = 4403
    IDLE = 4408


@dataclass(frozen=True, slots=True)
class CloseKind:
    """One row of the catalogue: whether to come back with the same credentials, and the meaning."""

    reconnect: bool
    meaning: str


CLOSES: Final = {
    Close.GONE: CloseKind(True, "The server is going away."),
    Close.UNSUPPORTED_DATA: CloseKind(False, "Binary frames are not spoken here."),
    Close.NOT_UTF8: CloseKind(False, "A text frame was not UTF-8."),
    Close.TOO_BIG: CloseKind(False, "A frame was larger than max_frame_bytes."),
    Close.RESTART: CloseKind(True, "The server restarts or drains."),
    Close.OVERLOADED: CloseKind(True, "The server is full; back off."),
    Close.BAD_FRAMES: CloseKind(False, "The protocol was broken again and again."),
    Close.UNAUTHORIZED: CloseKind(False, "The token is missing, expired or bad; get a new one first."),
    Close.FORBIDDEN: CloseKind(False, "Not allowed."),
    Close.IDLE: CloseKind(True, "Neither sent nor took a byte for two heartbeats."),
}


class HandshakeError(GatewayError):
    """A connection refused before it began; `close` tells a browser what it can't read of the HTTP answer."""

    def __init__(self, code: str, close: Close, message: str, **details: Any) -> None:
        super().__init__(code, message, **details)
        self.close = close
