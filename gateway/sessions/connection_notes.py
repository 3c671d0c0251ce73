"""The flight recorder's notes of one connection: that it came, where it resumed, how it ended and why."""

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Any, Final

from gateway.errors import Close
from gateway.fanout.replay import Subscription
from gateway.principal import Principal
from gateway.sessions.outbox import Outbox
from gateway.settings import Settings
from gateway.state.recorder import Recorder

MAX_RESUMES: Final = 50
"""Of one connection that are noted: whoever subscribes without end is not to fill the recorder."""
BAD_FRAMES: Final = 20
"""Bad frames within `BAD_FRAMES_S` that end a connection."""
BAD_FRAMES_S: Final = 60.0


class ConnectionNotes:
    """The notes of one connection; `number` tells it from others of its session at this instance."""

    def __init__(
        self,
        recorder: Recorder,
        settings: Settings,
        principal: Principal,
        *,
        session_id: str,
        number: int,
        traceparent: str | None = None,
    ) -> None:
        self.traceparent = traceparent
        """The trace that its client named in the handshake."""
        self._recorder = recorder
        self._settings = settings
        self._subject = principal.subject
        self._session_id = session_id
        self._number = number
        self._resumes = 0
        self._bad_frames: deque[float] = deque(maxlen=BAD_FRAMES)
        self._left: dict[str, Any] | None = None
        self._said_by = "client"

    def __repr__(self) -> str:
        return f"<ConnectionNotes {self._number} of {self._session_id}>"

    def came(self, asked: str | None) -> None:
        """The connection is there; `asked` is the session that its client wanted."""
        session = "new" if asked is None else "given" if asked == self._session_id else "refused"
        self._note("connected", session=session)

    def resumed(self, task_id: str, result: str, *, after_seq: int, last_seq: int) -> None:
        """Its client goes on with a task after `after_seq`."""
        self._resumes += 1
        if self._resumes <= MAX_RESUMES:
            self._note("resumed", task_id=task_id, result=result, after_seq=after_seq, last_seq=last_seq)

    def one_bad_frame_too_many(self) -> bool:
        """Its client has sent another bad frame; whether that is the last one that is borne."""
        now = asyncio.get_running_loop().time()
        self._bad_frames.append(now)
        return len(self._bad_frames) == BAD_FRAMES and now - self._bad_frames[0] < BAD_FRAMES_S

    def leaves(
        self,
        subscriptions: Iterable[Subscription],
        outbox: Outbox,
        *,
        heard_at: float,
        said: str | None = None,
    ) -> None:
        """How things stand as it ends; where this side ends it, the reason is `said`.

        What was told first counts: later its subscriptions have ended, and what was queued was cut off.
        """
        if self._left is None:
            following = list(subscriptions)
            now = asyncio.get_running_loop().time()
            took_at, untaken = outbox.standing(now)
            self._said_by = "server" if said is not None else "client"
            self._left = {
                "reason": said,
                "quiet_ms": round((now - max(heard_at, took_at)) * 1000),
                "untaken_bytes": untaken,
                "following": len(following),
                "behind": _behind(following),
            }

    def went(self, code: int) -> None:
        """It is over."""
        left = self._left or {}
        more = self._resumes - MAX_RESUMES
        self._note(
            "closed",
            code=code,
            by="network" if code == 1006 and self._said_by == "client" else self._said_by,
            limit=self._limit(code),
            resumes_not_noted=more if more > 0 else None,
            **left,
        )

    def _limit(self, code: int) -> dict[str, Any] | None:
        """The limit that ended it."""
        limits: dict[int, dict[str, Any]] = {
            Close.IDLE: {"heartbeats": 2, "heartbeat_ms": self._settings.heartbeat_ms},
            Close.TOO_BIG: {"max_frame_bytes": self._settings.max_frame_bytes},
            Close.BAD_FRAMES: {"bad_frames": BAD_FRAMES, "within_s": BAD_FRAMES_S},
        }
        return limits.get(code) if self._said_by == "server" else None

    def _note(self, what: str, **data: Any) -> None:
        self._recorder.note(
            what, about=self._session_id, subject=self._subject, connection=self._number, **data
        )


def _behind(subscriptions: Iterable[Subscription]) -> dict[str, Any] | None:
    """How many events its client lacked, and of which task the most."""
    lacking = {one.task_id: one.head - one.cursor for one in subscriptions if one.head > one.cursor}
    if not lacking:
        return None
    most = max(lacking, key=lambda task_id: lacking[task_id])
    return {"events": sum(lacking.values()), "tasks": len(lacking), "most": most}
