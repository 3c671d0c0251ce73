"""Frames of the client socket that a client is sent, beside events: each is bytes, made here alone."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from gateway.errors import GatewayError

MAX_PAGE_BYTES: Final = 768 << 10
"""Items in one answer: a page of a list ends early rather than exceed a frame."""


def welcome(**fields: Any) -> bytes:
    """The first frame of a connection."""
    return orjson.dumps({"type": "welcome", "protocol": "gateway.v1", **fields})


def result(request_id: str, body: Mapping[str, Any]) -> bytes:
    """The good answer to a request."""
    return orjson.dumps({"type": "result", "id": request_id, "result": body})


def error(request_id: str | None, problem: GatewayError) -> bytes:
    """The bad answer to a request."""
    return orjson.dumps({"type": "error", "id": request_id, **problem.body()})


def fitting(items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first of `items` that fit into one frame with room to spare; one at least where there is one."""
    size, fit = 0, list[dict[str, Any]]()
    for item in items:
        size += len(orjson.dumps(item)) + 1
        if fit and size > MAX_PAGE_BYTES:
            break
        fit.append(item)
    return fit


def fits(body: Mapping[str, Any]) -> bool:
    """Whether an answer of `body` is no larger than a page."""
    return len(orjson.dumps(body)) <= MAX_PAGE_BYTES


def update(topic: str, item: Mapping[str, Any]) -> bytes:
    """The newest state of a watched item."""
    return orjson.dumps({"type": "update", "topic": topic, "item": item})


def reset(topic: str, items: Sequence[Mapping[str, Any]]) -> bytes:
    """Everything watched of a topic, after doubt."""
    return orjson.dumps({"type": "update", "topic": topic, "items": items, "reset": True})


def goodbye(code: int, reason: str, *, reconnect: bool, reconnect_in_ms: int | None = None) -> bytes:
    """What is said before every close of our own."""
    told = {"type": "goodbye", "code": code, "reason": reason}
    return orjson.dumps(told | {"reconnect": reconnect, "reconnect_in_ms": reconnect_in_ms})
