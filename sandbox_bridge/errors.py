"""What can go wrong between us and a sandbox.

    SandboxError
    ├── TaskFailed        the sandbox ended the task, and says why
    ├── SandboxBusy       no room there: try elsewhere, or later
    ├── SandboxLost       the connection or the sandbox is gone: what became of the task is not known
    │   └── SessionDropped  the sandbox is there, and has the session no more
    └── SandboxUnable     it can't do what was asked of it; its task goes on
    TransportClosed       below all this: the connection itself

Only `SandboxBusy` and `SandboxLost` are worth another attempt: a task that failed by itself would fail again.
"""

from typing import Any


class SandboxError(Exception):
    """Any way in which a session can end without a result."""


class TaskFailed(SandboxError):  # noqa: N818 -- a situation, named as one
    """The task's own bad end.

    `code` is the sandbox's word for it (`command_failed`, `timeout`, `cancelled`, `bad_input`, …) and as
    untrusted as `message`; `result` is what there was of the result by then.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        exit_code: int | None = None,
        reason: str | None = None,
        result: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.exit_code = exit_code
        self.reason = reason
        self.result = result


class SandboxBusy(SandboxError):  # noqa: N818 -- a situation, named as one
    """There is no room for one more session, or no connection to ask over."""


class SandboxLost(SandboxError):  # noqa: N818 -- a situation, named as one
    """The sandbox is gone, and with it how the session ended."""


class SessionDropped(SandboxLost):
    """The sandbox has waited for the session's bridge for as long as it does, and ended it."""


class SandboxUnable(SandboxError):  # noqa: N818 -- a situation, named as one
    """The sandbox can't do, or did not do, what was asked (such as a pause); the task goes on as it was."""


PROTOCOL_BROKEN = 4400
"""The close code for a peer that does not keep to the protocol: it need not come back."""


class TransportClosed(Exception):  # noqa: N818 -- a situation, named as one
    """A connection that could not be made, or is no more.

    `code` is its close code where there is one. For `silent_s` nothing had been heard of the peer by then.
    With `is_final` the sandbox is known to be gone: nobody is there to come back to.
    """

    def __init__(
        self, reason: str, *, code: int | None = None, silent_s: float = 0.0, is_final: bool = False
    ) -> None:
        super().__init__(reason)
        self.code = code
        self.silent_s = silent_s
        self.is_final = is_final
