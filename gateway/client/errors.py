"""What a caller of the client can meet.

ClientError
├── UnreachableError     nobody answers there, or nobody who speaks gateway.v1
├── RefusedError         the handshake was refused with an HTTP status
├── ClosedError          the gateway closed the connection; for good where `reconnect` is false
├── RequestError         a request was answered with an error
├── DeadlineError        a request was not answered in time; what became of it is not known
├── TokenError           there is no token to show: it is malformed, or the function that gives tokens failed
├── TooLargeError        an input is larger than any way in takes
├── FilesError           files can't be read here, or written (in `files`)
└── TaskFailedError      the task ended, and not as `completed`
    └── TaskCancelledError
"""

from typing import Any, Final

NOT_AGAIN: Final = frozenset({1003, 1007, 1009, 4400, 4401, 4403})
"""Close codes after which coming back with the same credentials and manners makes no sense."""


class ClientError(Exception):
    """The root of all of them."""


class UnreachableError(ClientError):
    """Nobody answers at the address, or nobody who speaks `gateway.v1`."""

    def __init__(self, url: str, reason: str) -> None:
        self.url = url
        self.reason = reason
        super().__init__(f"no gateway at {url}: {reason}")


class RefusedError(ClientError):
    """The gateway refused the handshake or the upload with an HTTP `status`."""

    def __init__(self, status: int, message: str, *, retry_after_s: float | None = None) -> None:
        self.status = status
        self.message = message
        self.retry_after_s = retry_after_s
        super().__init__(f"refused with {status}: {message}")

    @property
    def passing(self) -> bool:
        """Whether the same handshake may succeed later."""
        return self.status == 429 or self.status >= 500


class ClosedError(ClientError):
    """A connection ended; `code` is RFC 6455's or the gateway's own."""

    def __init__(
        self, code: int, reason: str, *, reconnect: bool | None = None, reconnect_in_s: float = 0.0
    ) -> None:
        self.code = code
        self.reason = reason
        self.reconnect = code not in NOT_AGAIN if reconnect is None else reconnect
        self.reconnect_in_s = reconnect_in_s
        super().__init__(f"connection closed with {code}" + (f": {reason}" if reason else ""))


class RequestError(ClientError):
    """An answer of type `error`; `code` is the contract's."""

    def __init__(
        self, code: str, message: str, *, retryable: bool = False, details: dict[str, Any] | None = None
    ) -> None:
        self.code = code
        self.message = message
        self.retryable = retryable
        self.details = details or {}
        super().__init__(f"{code}: {message}")


class DeadlineError(ClientError):
    """No answer in time. A submit may be repeated with the same `idempotency_key`."""


class TokenError(ClientError):
    """The function that was to give a token raised, which is the cause; on the way back it is asked again later."""


class TooLargeError(ClientError):
    """An input of more bytes than the gateway takes in one request."""


class TaskFailedError(ClientError):
    """The task failed; `code` is the contract's, `task` its last known state."""

    def __init__(self, task: dict[str, Any]) -> None:
        error = task.get("error") or {}
        self.task = task
        self.code: str = error.get("code", task["status"])
        self.message: str = error.get("message", f"the task is {task['status']}")
        self.details: dict[str, Any] = error.get("details") or {}
        super().__init__(f"task {task['task_id']} {task['status']}: {self.message}")


class TaskCancelledError(TaskFailedError):
    """The task was cancelled before it had ended."""
