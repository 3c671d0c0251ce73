"""Refuses a gateway's own address in `WEBSOCKET_URL`, which names sandbox services, before anything is sent there."""

import asyncio
from collections.abc import Sequence
from typing import Final

import aiohttp

from gateway.server.data_dir import StartError
from gateway.sessions.problems import PROBLEM_JSON

LOOK_S: Final = 2.0
"""A service that has not answered by then is met when it does; nobody waits for it."""


async def check_sandbox_urls(urls: Sequence[str]) -> None:
    """Raise `StartError` where one of `urls` is the client socket of a gateway, which would take frames for requests.

    A gateway refuses who offers no subprotocol with a problem document, and no sandbox service speaks those.
    """
    if not urls:
        return
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=LOOK_S)) as http:
        for url, found in zip(
            urls, await asyncio.gather(*(_is_gateway(http, url) for url in urls)), strict=True
        ):
            if found:
                raise StartError(
                    f"WEBSOCKET_URL={url} is a gateway's client socket. It names sandbox services: change that line"
                    " to where `sandbox-bridge serve` listens, such as WEBSOCKET_URL=ws://localhost:8090/ws"
                )


async def _is_gateway(http: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with http.get(f"http{url.removeprefix('ws')}", allow_redirects=False) as answer:
            return answer.content_type == PROBLEM_JSON
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
        return False
