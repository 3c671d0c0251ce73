"""The sandboxes that `gateway check` tries: the one that comes with the gateway, and those that are dialled."""

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Callable
from typing import Final

from gateway.clock import Clock
from gateway.server import logs
from gateway.server.checks.parts import Finding
from gateway.server.data_dir import StartError
from gateway.server.embedded import EmbeddedSandbox
from gateway.server.sandbox_urls import check_sandbox_urls
from gateway.settings import Settings
from sandbox_bridge.bridge import Bridge
from sandbox_bridge.connection import FrameTransport, dial
from sandbox_bridge.handshake import SandboxInfo

MEET_S: Final = 4.0
"""How long a sandbox may take to be met: time for a peer of the core to be dialled once more without `hello`."""
START_S: Final = 30.0
"""How long ours may take to start and to probe its jail."""

Dial = Callable[[], Awaitable[FrameTransport]]


async def sandboxes(settings: Settings) -> list[Finding]:
    """Start our own, dial the others, and say who they are."""
    token = settings.sandbox_token.get_secret_value() if settings.sandbox_token is not None else None
    found = [await _dialled(url, functools.partial(dial, url, token=token)) for url in settings.websocket_url]
    if settings.local_sandbox:
        found.insert(0, await _own())
    if not found:
        fix = "leave out --no-local-sandbox, or set WEBSOCKET_URL; or have sandboxes dial in at /sandbox"
        found.append(Finding("sandbox", "warn", "there is none, unless one dials in: tasks will wait", fix))
    return found


async def _own() -> Finding:
    own = EmbeddedSandbox(log=logs.get())
    running = asyncio.get_running_loop().create_task(own.run(), name="embedded sandbox")
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_S):
                await own.tried.wait()
        if own.problem is not None:
            fix = "mend what it says (docs/sandbox.md), or use a sandbox service by WEBSOCKET_URL"
            return Finding("sandbox", "fail", f"our own can't be had: {own.problem}", fix)
        info, problem = await _met("our own", own.dial)
    finally:
        running.cancel()
        await asyncio.wait([running])
    if info is None:
        return Finding("sandbox", "fail", f"our own can't be met: {problem}", "see docs/sandbox.md")
    return _described("our own", info)


async def _dialled(url: str, connect: Dial) -> Finding:
    try:
        await check_sandbox_urls([url])
    except StartError as error:
        return Finding("sandbox", "fail", str(error), f"correct WEBSOCKET_URL={url}")
    info, problem = await _met(url, connect)
    if info is None:
        fix = (
            f"start `sandbox-bridge serve` there with the same SANDBOX_TOKEN, or correct WEBSOCKET_URL={url}"
        )
        return Finding("sandbox", "fail", f"{url} can't be met: {problem}", fix)
    return _described(url, info)


async def _met(address: str, connect: Dial) -> tuple[SandboxInfo | None, str | None]:
    """Who is there, or why nobody is."""
    changed = asyncio.Event()
    bridge = Bridge(connect, address=address, random=Clock().rng, on_change=changed.set)
    running = asyncio.get_running_loop().create_task(bridge.run(), name=f"bridge {address}")
    try:
        async with asyncio.timeout(MEET_S):
            while bridge.info is None:
                changed.clear()
                await changed.wait()
    except TimeoutError:
        return None, bridge.problem
    else:
        return bridge.info, None
    finally:
        running.cancel()
        await asyncio.wait([running])


def _described(who: str, info: SandboxInfo) -> Finding:
    if not info.extended:
        message = f"{who} speaks the core of the protocol, {info.max_sessions} at once"
        return Finding("sandbox", "ok", message)
    isolation = ", ".join(f"{name} {value}" for name, value in sorted(info.isolation.items())) or "not told"
    can = ", ".join(sorted(info.capabilities)) or "nothing beyond the core"
    message = f"{who} is {info.runtime}, {info.max_sessions} at once; isolation: {isolation}; can: {can}"
    if info.isolation.get("tier") == "none":
        fix = "tasks run with this machine's rights: set SANDBOX_ISOLATION=bwrap"
        return Finding("sandbox", "warn", message, fix)
    return Finding("sandbox", "ok", message)
