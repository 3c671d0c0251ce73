"""Admission control: whether a subject may submit one more task, by its rate, its queue, and its stored bytes.

The last two are in the store, and so hold for all instances that share it. They are looked at once a second at most;
what this instance let in since then is added.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from gateway.errors import GatewayError
from gateway.settings import Settings
from gateway.state.values import Usage
from gateway.token_bucket import TokenBucket

LOOK_S: Final = 1.0
"""How old what was seen of a subject may be."""
QUEUE_RETRY_MS: Final = 5000
"""When a task that waits may run."""
STORED_RETRY_MS: Final = 60_000
"""When somebody may have deleted some."""
MANY: Final = 1000
"""Subjects that are kept, or twice those that were in use, before those go that did nothing lately."""


NOTHING: Final = Usage(0, 0)


@dataclass(slots=True)
class _Seen:
    """What is known of a subject."""

    bucket: TokenBucket
    usage: Usage = NOTHING
    looked_at: float = float("-inf")
    since: int = 0
    """Tasks that were let in since then."""


def _loop_time() -> float:
    return asyncio.get_running_loop().time()


class Admission:
    """The limits of each subject, checked against what the store and this instance know of it."""

    def __init__(
        self,
        usage: Callable[[str], Awaitable[Usage]],
        settings: Settings,
        now: Callable[[], float] = _loop_time,
    ) -> None:
        self._usage = usage
        self._settings = settings
        self._now = now
        self._seen: dict[str, _Seen] = {}
        self._many = MANY
        # Without authentication there is one subject, and nobody to keep room for: the store as a whole has its limit.
        self._max_stored = settings.max_stored_bytes_per_subject if settings.auth == "jwt" else 0

    def __repr__(self) -> str:
        return f"<Admission of {len(self._seen)} subjects>"

    async def admit(self, subject: str) -> None:
        """Let one more in. Raises `GatewayError`: `rate_limited`, or as `check_room`."""
        self._known(subject).bucket.take()
        await self.check_room(subject)
        self._known(subject).since += 1

    async def check_room(self, subject: str) -> None:
        """Raise `GatewayError` `overloaded` where too many of its tasks wait, or too much of it is stored."""
        if not self._settings.max_queued_per_subject and not self._max_stored:
            return
        seen = await self._looked(subject)
        self._check_queue(seen.usage.queued + seen.since)
        self._check_stored(seen.usage.stored_bytes)

    async def check_stored(self, subject: str) -> None:
        """Raise `GatewayError` `overloaded` where too much of it is stored."""
        if self._max_stored:
            self._check_stored((await self._looked(subject)).usage.stored_bytes)

    def _check_queue(self, queued: int) -> None:
        most = self._settings.max_queued_per_subject
        if most and queued >= most:
            raise GatewayError("overloaded", f"{queued} of your tasks wait.", retry_after_ms=QUEUE_RETRY_MS)

    def _check_stored(self, stored_bytes: int) -> None:
        if self._max_stored and stored_bytes >= self._max_stored:
            message = (
                f"{stored_bytes} bytes of your tasks and workflows are stored, {self._max_stored} may be;"
                " delete some tasks."
            )
            raise GatewayError("overloaded", message, retry_after_ms=STORED_RETRY_MS)

    async def _looked(self, subject: str) -> _Seen:
        seen, now = self._known(subject), self._now()
        if now - seen.looked_at >= LOOK_S:
            # First, so that who comes meanwhile goes by what was seen last, and does not look, too.
            seen.looked_at, before = now, seen.since
            seen.usage = await self._usage(subject)
            seen.since -= before
        return seen

    def _known(self, subject: str) -> _Seen:
        if (seen := self._seen.get(subject)) is None:
            self._forget()
            settings = self._settings
            bucket = TokenBucket(settings.submits_per_s, settings.submit_burst, self._now)
            seen = self._seen[subject] = _Seen(bucket)
        return seen

    def _forget(self) -> None:
        if len(self._seen) < self._many:
            return
        now = self._now()
        self._seen = {
            subject: seen
            for subject, seen in self._seen.items()
            if now - seen.looked_at < LOOK_S or not seen.bucket.is_full
        }
        self._many = max(MANY, 2 * len(self._seen))
