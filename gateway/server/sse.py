"""A task's events as a stream of server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

from aiohttp import web

from gateway.events import TaskEvents

KEEP_ALIVE_S: Final = 15.0
"""A comment after so much silence keeps proxies from closing the stream."""


def encode(batch: TaskEvents) -> bytes:
    """`id` is the seq, `event` the event, `data` the event's frame."""
    return b"".join(
        b"id: %d\nevent: %s\ndata: %s\n\n" % (event.seq, event.kind.encode(), event.frame)
        for event in batch.events
    )


async def stream(request: web.Request, batches: AsyncGenerator[TaskEvents, None]) -> web.StreamResponse:
    """Send what comes until the log ends or the reader goes; the reader sets the pace."""
    response = web.StreamResponse(
        headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    )
    await response.prepare(request)
    # Outlives a keep-alive: waiting for the next batch is not begun anew by it.
    upcoming = asyncio.ensure_future(anext(batches, None))
    try:
        while True:
            done, _ = await asyncio.wait([upcoming], timeout=KEEP_ALIVE_S)
            if not done:
                await response.write(b": still here\n\n")
                continue
            batch = upcoming.result()
            if batch is None:
                break
            await response.write(encode(batch))
            upcoming = asyncio.ensure_future(anext(batches, None))
    finally:
        upcoming.cancel()
        await asyncio.wait([upcoming])
        await batches.aclose()
    await response.write_eof()
    return response
