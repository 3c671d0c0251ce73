"""Frames of the client socket, beside the events."""

from typing import Literal

from gateway.shapes.base import Id, Nothing, Object, Shape, Time, left_out
from gateway.shapes.service import Fault


class ConnectionLimits(Shape):
    """What one connection may do."""

    max_frame_bytes: int
    max_input_bytes: int
    max_inflight: int
    max_subscriptions: int


class Welcome(Shape):
    """The first frame of a connection."""

    type: Literal["welcome"]
    protocol: Literal["gateway.v1"]
    session_id: Id
    instance: Id
    time: Time
    heartbeat_ms: int
    limits: ConnectionLimits
    agents: list[str]
    subject: str
    expires_at: Time | None


class Watching(Shape):
    """What there is of a topic now."""

    items: list[Object]


class Renewed(Shape):
    """Whom the connection's new token stands for, and until when."""

    subject: str
    expires_at: Time | None


class Pong(Shape):
    """The server's time."""

    time: Time


class Result(Shape):
    """The good answer to a request."""

    type: Literal["result"]
    id: str


class Error(Fault):
    """The bad answer to a request; `id` is null where none could be read."""

    type: Literal["error"]
    id: str | None


class Update(Shape):
    """The newest state of an item of a watched topic (`removed` where it went), or after doubt of all (`reset`)."""

    type: Literal["update"]
    topic: Literal["tasks", "sandboxes", "instances"]
    item: Object | Nothing = left_out()
    items: list[Object] | Nothing = left_out()
    reset: bool | Nothing = left_out()


class Goodbye(Shape):
    """Said before every close of the server's own."""

    type: Literal["goodbye"]
    code: int
    reason: str
    reconnect: bool
    reconnect_in_ms: int | None
