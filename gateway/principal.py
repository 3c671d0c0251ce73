"""Who asks: a subject, what it may do, and until when."""

from dataclasses import dataclass
from typing import Final

from gateway.errors import GatewayError
from gateway.tasks import TaskRecord

SCOPES: Final = frozenset({"tasks:read", "tasks:write", "sandbox", "sandbox:server", "admin"})


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever a credential stands for. `tasks` narrows it to named tasks: every other does not exist for it.

    `expires_at` is in s since 1970 UTC.
    """

    subject: str
    scopes: frozenset[str]
    expires_at: float | None = None
    tasks: frozenset[str] | None = None
    token_id: str | None = None
    """The `jti` of the token, by which it can be revoked."""
    ends_with: frozenset[str] = frozenset()
    """Lines of the file of revoked tokens that end it, too: a link is by a token, and that is somebody's."""

    def has(self, scope: str) -> bool:
        """Whether it has `scope`; `admin` has every scope but `sandbox:server`."""
        return scope in self.scopes or ("admin" in self.scopes and scope != "sandbox:server")

    def require(self, scope: str) -> None:
        """Raise `GatewayError` `forbidden` unless it has `scope`."""
        if not self.has(scope):
            raise GatewayError("forbidden", f"This needs the scope {scope}.")

    def require_whole(self) -> None:
        """Raise `GatewayError` `forbidden` where it is narrowed to named tasks."""
        if self.tasks is not None:
            raise GatewayError("forbidden", "This token is for named tasks only.")

    @property
    def counted_as(self) -> tuple[object, ...]:
        """Whose limits it counts against: its subject's, or, where it is narrowed to named tasks, its token's own."""
        return (self.subject,) if self.tasks is None else (self.subject, self.tasks, self.expires_at)

    @property
    def sessions_of(self) -> str:
        """Whose sessions it may have again: its subject's, or, as its limits, its token's own."""
        if self.tasks is None:
            return self.subject
        return "\0".join(["", self.subject, str(self.expires_at), *sorted(self.tasks)])

    @property
    def sees_subject(self) -> str | None:
        """Whose tasks it sees; None for everybody's."""
        return None if "admin" in self.scopes else self.subject

    def sees(self, task: TaskRecord) -> bool:
        """Whether the task exists for it."""
        named = self.tasks is None or task.task_id in self.tasks
        return named and self.sees_subject in {None, task.subject}


ANONYMOUS: Final = Principal("anonymous", SCOPES - {"sandbox:server"})
"""Everybody, where authentication is `none`."""
