"""What a person, or a pipe, says to a command: answers, and standard input to pass on."""

import asyncio
import codecs
import contextlib
import os
import sys
import threading
from collections.abc import AsyncIterator
from typing import Final

PIECE_BYTES: Final = 8 << 10
"""So little that it fits into one input, whatever JSON makes of it."""


def asked(question: str) -> bool:
    """Ask on the terminal, once; anything but a yes, Ctrl-C and the end of input too, is a no."""
    sys.stderr.write(f"\ngateway: {question} [y/N] ")
    sys.stderr.flush()
    try:
        return sys.stdin.readline().strip().lower() in {"y", "yes"}
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        return False


async def standard_input() -> AsyncIterator[str]:
    """The text on standard input, as it comes, to its end; what is no UTF-8 is U+FFFD."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    while piece := await _read():
        if text := decoder.decode(piece):
            yield text
    if text := decoder.decode(b"", final=True):
        yield text


async def _read() -> bytes:
    """The next bytes, none at the end. A read can't be cancelled: nobody waits for the thread that is in it."""
    loop = asyncio.get_running_loop()
    came: asyncio.Future[bytes] = loop.create_future()

    def tell(piece: bytes) -> None:
        if not came.done():
            came.set_result(piece)

    def read() -> None:
        try:
            piece = os.read(sys.stdin.fileno(), PIECE_BYTES)
        except OSError:
            piece = b""
        with contextlib.suppress(RuntimeError):  # the loop has ended before
            loop.call_soon_threadsafe(tell, piece)

    threading.Thread(target=read, daemon=True).start()
    return await came
