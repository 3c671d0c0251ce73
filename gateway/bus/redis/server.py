"""How Redis is reached: connections, deadlines, names.

redis-py's own defaults would retry for seconds behind our back and hide a lost connection; here everything fails
at once, and who uses it decides. It connects, and what goes over the connection is packed here: that is most of what
a message costs. Nor does it keep times: with a task and two timers for each command it took as long again.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

from redis.asyncio import BlockingConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

ANSWER_S: Final = 2.0
"""How long a connection, or an answer on one, may take."""
FAILURES: Final = (RedisError, OSError, TimeoutError)
"""What a Redis that can't be used raises."""
BROKEN: Final = (RuntimeError, AttributeError)
"""What redis-py lets through: what uvloop says of a transport that was closed while it wrote, and that its own writer
is gone."""


class Link:
    """One connection to Redis; every method raises `FAILURES`, and waits for as long as its caller lets it."""

    def __init__(self, connection: AbstractConnection) -> None:
        self._connection = connection

    async def say(self, *words: bytes) -> None:
        """Send a command."""
        with translated():
            await self._connection.send_packed_command(packed(words), check_health=False)
        heed_cancel()

    async def hear(self) -> Any:
        """What comes next."""
        try:  # for each of thousands of messages: the block of `translated` costs a fifth of one
            return await self._connection.read_response(timeout=math.inf)
        except BROKEN as error:
            raise _broken(error) from error


def packed(words: Sequence[bytes]) -> bytes:
    """A command as Redis reads it (RESP, an array of bulk strings)."""
    pieces = [b"*%d\r\n" % len(words)]
    for word in words:
        pieces += (b"$%d\r\n" % len(word), word, b"\r\n")
    return b"".join(pieces)


@asynccontextmanager
async def link(pool: BlockingConnectionPool) -> AsyncIterator[Link]:
    """A connection of one's own inside the block; one that anything went wrong on is ended: it may still have an answer
    under way, to what was said before."""
    with translated():
        async with asyncio.timeout(2 * ANSWER_S):
            connection: AbstractConnection = await pool.get_connection()  # type: ignore[no-untyped-call]
    heed_cancel()
    try:
        yield Link(connection)
    except BaseException:
        with translated():
            await connection.disconnect()
        raise
    finally:
        with translated():
            await pool.release(connection)


@contextmanager
def translated() -> Iterator[None]:
    """Around redis-py alone."""
    try:
        yield
    except BROKEN as error:
        raise _broken(error) from error


def _broken(error: Exception) -> ConnectionResetError:
    return ConnectionResetError(f"the connection to Redis broke: {error}")


def connections(url: str, *, most: int) -> BlockingConnectionPool:
    """A pool of at most `most`; nothing is retried. Raises ValueError where `url` is none."""
    return BlockingConnectionPool.from_url(
        url,
        max_connections=most,
        timeout=ANSWER_S,
        socket_timeout=None,
        socket_connect_timeout=ANSWER_S,
        socket_keepalive=True,
        health_check_interval=0,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
        decode_responses=False,
    )


def name_of(prefix: str, channel: str) -> bytes:
    """A channel's name in Redis; all that belongs to one task is in one slot of a cluster, by its {hash tag}."""
    kind, _, which = channel.partition(":")
    return (f"{prefix}:{kind}:{{{which}}}" if which else f"{prefix}:{kind}").encode()


def heed_cancel() -> None:
    """To be called after what redis-py has written. Raises CancelledError where it was swallowed.

    redis-py writes in `asyncio.wait_for`, which before Python 3.12 answers a cancel that comes together with the end
    of what it waits for by that end alone.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
