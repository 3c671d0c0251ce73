"""A task's events as a stream of server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, Callable
from typing import Final

from aiohttp import web

from gateway.events import TaskEvents
from gateway.server.connections.peer import while_there

KEEP_ALIVE_S: Final = 15.0
"""A comment after so much silence keeps proxies from closing the stream."""
KIND: Final = "text/event-stream"
FIRST_SEQ: Final = "First-Seq"
"""The header that says with which event an answer begins: a log that was trimmed has lost its first ones."""
_NOT_AT_ALL: Final = re.compile(r"q\s*=\s*0(\.0*)?")
HEADERS: Final = {
    "Content-Type": KIND,
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",
}
"""Nobody on the way keeps it, or holds it back."""


def encode(batch: TaskEvents) -> bytes:
    """`id` is the seq, `event` the event, `data` the event's frame."""
    return b"".join(
        b"id: %d\nevent: %s\ndata: %s\n\n" % (event.seq, event.kind.encode(), event.frame)
        for event in batch.events
    )


def is_wanted(accept: str) -> bool:
    """Whether an `Accept` asks for a stream by its name (RFC 9110 section 12.5.1)."""
    ranges = ([part.strip() for part in one.split(";")] for one in accept.lower().split(","))
    return any(kind == KIND and not any(map(_NOT_AT_ALL.fullmatch, more)) for kind, *more in ranges)


async def stream(
    request: web.Request,
    batches: AsyncGenerator[TaskEvents, None],
    *,
    first_seq: int,
    gone: bool,
    within_s: float | None = None,
    is_over: Callable[[], bool] = lambda: False,
) -> web.StreamResponse:
    """Send what comes until the log ends, the reader goes, or `within_s` is over; the reader sets the pace.

    The first event will be `first_seq`; a comment says so where what was asked for before it is `gone`. `is_over` is
    asked now and then: the reader's token may be revoked.
    """
    response = web.StreamResponse(headers=HEADERS | {FIRST_SEQ: str(first_seq)})
    await response.prepare(request)
    if gone:
        await response.write(b": events before %d are gone\n\n" % first_seq)
    with contextlib.suppress(TimeoutError):
        async with while_there(request, within_s=within_s):
            await _pass_on(batches, response, is_over)
    await response.write_eof()
    return response


async def _pass_on(
    batches: AsyncGenerator[TaskEvents, None], response: web.StreamResponse, is_over: Callable[[], bool]
) -> None:
    # Outlives a keep-alive: waiting for the next batch is not begun anew by it.
    upcoming = asyncio.ensure_future(anext(batches, None))
    try:
        while True:
            done, _ = await asyncio.wait([upcoming], timeout=KEEP_ALIVE_S)
            if is_over():
                return
            if not done:
                await response.write(b": still here\n\n")
                continue
            batch = upcoming.result()
            if batch is None:
                return
            await response.write(encode(batch))
            upcoming = asyncio.ensure_future(anext(batches, None))
    finally:
        upcoming.cancel()
        await asyncio.wait([upcoming])
        await batches.aclose()
