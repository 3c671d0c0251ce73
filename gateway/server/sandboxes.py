"""The sandboxes of a gateway's process: those that the settings name, and what an operator is told of them."""

import asyncio
import contextlib
import functools
import random
from collections.abc import Callable, Iterator
from typing import Any

from structlog.typing import FilteringBoundLogger

from gateway.metrics import Metrics
from gateway.server.embedded import EMBEDDED, EmbeddedSandbox
from gateway.server.world import World
from gateway.sessions.sandboxes import Accept
from gateway.settings import Settings
from sandbox_bridge.bridge import Bridge
from sandbox_bridge.connection import FrameTransport, dial
from sandbox_bridge.listener import Listener
from sandbox_bridge.pool import Pool


def embedded_sandbox(settings: Settings, world: World, log: FilteringBoundLogger) -> EmbeddedSandbox | None:
    """The local sandbox that comes with the gateway, if the settings want one."""
    if not settings.local_sandbox:
        return None
    return EmbeddedSandbox(unsafe_no_isolation=world.unsafe_no_isolation, log=log)


def bridges(
    settings: Settings, embedded: EmbeddedSandbox | None, rng: random.Random, on_change: Callable[[], None]
) -> Iterator[Bridge]:
    """A bridge to each sandbox that is dialled: the services that the settings name, and the embedded one."""
    token = settings.sandbox_token
    secret = token.get_secret_value() if token is not None else None
    dials: dict[str, Callable[[], Any]] = {
        url: functools.partial(dial, url, token=secret) for url in settings.websocket_url
    }
    if embedded is not None:
        dials[EMBEDDED] = embedded.dial
    for address, connect in dials.items():
        yield Bridge(connect, address=address, random=rng, on_change=on_change)


def door_of(listener: Listener) -> Accept:
    """How `listener` takes a sandbox that has dialled in."""

    async def accept(transport: FrameTransport, subject: str, is_trusted: bool) -> None:  # noqa: FBT001
        await listener.accept(transport, subject=subject, trust="server" if is_trusted else "client")

    return accept


async def first_tried(embedded: EmbeddedSandbox | None, seen: asyncio.Event, wait_s: float) -> None:
    """Give the embedded sandbox `wait_s` at most: who starts us expects it to be there when we say ready.

    `seen` is set once a sandbox is connected.
    """
    if embedded is None:
        return
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(wait_s):
            await embedded.tried.wait()
            if embedded.problem is None:
                await seen.wait()


def show(pool: Pool, metrics: Metrics) -> None:
    """Set the metrics of the pool."""
    metrics.sandbox_slots.labels("free").set(pool.free)
    metrics.sandbox_slots.labels("busy").set(sum(bridge.active for bridge in pool.bridges))
    metrics.show_sandboxes(bridge.info.isolation for bridge in pool.bridges if bridge.info is not None)


def readiness(pool: Pool, embedded: EmbeddedSandbox | None) -> dict[str, Any]:
    """What `/readyz` says of the sandboxes: `ok`, each of them, and the `problem` where none is connected."""
    bridges = [_described(bridge) for bridge in pool.bridges]
    ours = [bridge for bridge in bridges if bridge["address"] == EMBEDDED] or bridges
    state: dict[str, Any] = {"ok": any(bridge["connected"] for bridge in ours), "sandboxes": bridges}
    if not bridges:
        state["ok"] = True  # none is wanted here
    elif not state["ok"]:
        state["problem"] = (embedded and embedded.problem) or ours[0]["problem"]
    return state


def _described(bridge: Bridge) -> dict[str, Any]:
    info = bridge.info
    if info is None:
        return {"address": bridge.address, "connected": False, "problem": bridge.problem}
    return {
        "address": bridge.address,
        "connected": True,
        "sandbox_id": info.sandbox_id,
        "runtime": info.runtime,
        "active": bridge.active,
        "max_sessions": info.max_sessions,
        "isolation": info.isolation,
    }
