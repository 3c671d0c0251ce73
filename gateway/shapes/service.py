"""Whom and what there is: agents, sandboxes, instances, the asker; and refusals."""

from typing import Literal

from pydantic import Field

from gateway.shapes.base import Count, Id, Nothing, Object, Shape, Time, left_out


class AgentInfo(Shape):
    """An agent, and what its input must be, as JSON Schema."""

    name: str
    input_schema: Object


class Agents(Shape):
    """The agents that tasks can be for."""

    agents: list[AgentInfo]


class Sandbox(Shape):
    """A sandbox, connected or away, with what it says of itself."""

    sandbox_id: str
    instance: Id
    connected: bool
    problem: str | None
    runtime: str
    trust: Literal["server", "client"]
    subject: str | None
    labels: dict[str, str]
    capabilities: list[str]
    active: Count
    max_sessions: Count
    isolation: Object


class Sandboxes(Shape):
    """The sandboxes that the asker may see."""

    sandboxes: list[Sandbox]


class Instance(Shape):
    """A process that shares the store: a gateway, or a worker, which serves no clients."""

    instance: Id
    role: Literal["gateway", "worker"]
    started_at: Time
    draining: bool
    agents: list[str]
    running: Count
    connections: Count


class Instances(Shape):
    """The processes that share a store."""

    instances: list[Instance]


class Pairing(Shape):
    """What makes a browser's tab a sandbox of yours, once: `path` is opened there, with the token in its fragment."""

    token: str
    path: str
    expires_at: Time


class Whoami(Shape):
    """Whom the token stands for, and until when."""

    subject: str
    scopes: list[str]
    expires_at: Time | None
    share_max_s: Count | None
    """How long a link that you share may live at most; null where you can make none."""


class Alive(Shape):
    """The process is sane."""

    status: Literal["ok"]


class Readiness(Shape):
    """Whether new work can be taken and done: which parts fail, which go on without, and each part's state."""

    status: Literal["ok", "failing"]
    failing: list[str]
    degraded: list[str]
    parts: Object


class Fault(Shape):
    """A refusal: `code` is of docs/errors.md, `retryable` says whether the same may succeed later."""

    code: str
    message: str
    retryable: bool
    details: Object | Nothing = left_out()


class Problem(Fault):
    """A refusal by HTTP, as a problem document (RFC 9457)."""

    type: str
    title: str
    status: int = Field(ge=400, le=599)
    detail: str
