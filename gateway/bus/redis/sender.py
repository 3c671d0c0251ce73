"""Hands on what is committed here: one call of a script at a time, for all that has gathered meanwhile.

What Redis did not acknowledge is sent again, and told once, for the calls are numbered; what waits is bounded. Past the
bound all of it is dropped for one message to everybody, to look at the store.
"""

import asyncio
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from redis.asyncio import BlockingConnectionPool
from redis.exceptions import NoScriptError

from gateway.bus.redis.envelope import Envelope
from gateway.bus.redis.server import ANSWER_S, FAILURES, Link, heed_cancel, link, name_of

SCRIPT: Final = (Path(__file__).parent.parent / "scripts" / "publish.lua").read_bytes()
REMEMBERED_MS: Final = 60_000
"""How long Redis remembers a sender's last call: longer than anything is sent again."""
MAX_WAITING_BYTES: Final = 8 << 20
"""What may wait for Redis."""
MAX_AT_ONCE: Final = 500
"""Envelopes sent in one go."""
BACK_OFF_S: Final = 0.25
"""How long to leave alone a Redis that failed."""


class Sender:
    """The queue to Redis; `alarm` is what everybody is told after something was dropped.

    `count` is told of the script's answers, of how many envelopes each was, and when the queue is `dropped`.
    """

    def __init__(
        self, pool: BlockingConnectionPool, prefix: str, alarm: Envelope, *, count: Callable[[str, int], None]
    ) -> None:
        self.problem: str | None = None
        self._count = count
        self._pool = pool
        self._prefix = prefix
        self._alarm = alarm
        self._waiting: deque[Envelope] = deque()
        self._bytes = 0
        self._wake = asyncio.Event()
        self._script = b""
        # Where Redis keeps how far this one has come: nobody else's, for its calls are numbered from 1.
        self._key = name_of(prefix, f"sender:{uuid.uuid4()}")
        self._calls = 0
        self._dropped = 0  # queues, since then; each leaves a number out, by which Redis knows of the gap
        # What was sent by the last of them, and may not have been heard.
        self._unheard: list[Envelope] = []

    def put(self, envelopes: Iterable[Envelope]) -> None:
        """Send them when their turn has come; never waits."""
        for envelope in envelopes:
            self._waiting.append(envelope)
            self._bytes += len(envelope.payload)
        if self._bytes > MAX_WAITING_BYTES:
            self._count("dropped", 1)
            self._dropped += 1
            self._waiting = deque([self._alarm])
            self._bytes = len(self._alarm.payload)
        self._wake.set()

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            try:
                async with link(self._pool) as redis:
                    await self._send_all(redis)
            except FAILURES as error:
                heed_cancel()
                self.problem = f"can't publish: {str(error) or 'no answer in time'}"
                await asyncio.sleep(BACK_OFF_S)

    async def _send_all(self, redis: Link) -> None:
        """Send what is there and what comes, the batch first that was not acknowledged."""
        while True:
            if not self._unheard and self._waiting:
                self._unheard = self._next()
                self._calls += 1 + self._dropped
                self._dropped = 0
            if self._unheard:
                async with asyncio.timeout(2 * ANSWER_S):
                    await self._send(redis, self._unheard)
                heed_cancel()
                self._unheard, self.problem = [], None
            else:
                await self._wake.wait()
                self._wake.clear()

    def _next(self) -> list[Envelope]:
        batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_AT_ONCE))]
        self._bytes -= sum(len(envelope.payload) for envelope in batch)
        return batch

    async def _send(self, redis: Link, batch: Sequence[Envelope]) -> None:
        if not self._script:
            await redis.say(b"SCRIPT", b"LOAD", SCRIPT)
            self._script = await redis.hear()
        await redis.say(b"EVALSHA", self._script, b"1", self._key, *self._arguments(batch))
        try:
            word: bytes = await redis.hear()
        except NoScriptError:
            self._script = b""
            raise
        self._count(word.decode(), len(batch))

    def _arguments(self, batch: Sequence[Envelope]) -> list[bytes]:
        arguments = [b"%d" % REMEMBERED_MS, b"%d" % self._calls]
        for envelope in batch:
            arguments += (name_of(self._prefix, envelope.channel), envelope.payload)
        return arguments
