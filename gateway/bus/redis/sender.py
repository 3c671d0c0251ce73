"""Hands on what is committed here: one pipeline at a time, of all that has gathered meanwhile.

What Redis did not acknowledge is sent again; what waits is bounded. Past the bound all of it is dropped for one
message to everybody, to look at the store.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import NoScriptError

from gateway.bus.redis.envelope import Envelope
from gateway.bus.redis.server import ANSWER_S, FAILURES, heed_cancel, name_of

SCRIPT: Final = (Path(__file__).parent.parent / "scripts" / "publish.lua").read_text("utf-8")
REMEMBERED_MS: Final = 60_000
"""How long Redis remembers how far a log was handed on: longer than anything is sent again."""
MAX_WAITING_BYTES: Final = 8 << 20
"""What may wait for Redis."""
MAX_PIPELINE: Final = 500
"""Envelopes sent in one go."""
BACK_OFF_S: Final = 0.25
"""How long to leave alone a Redis that failed."""


class Sender:
    """The queue to Redis; `alarm` is what everybody is told after something was dropped.

    `count` is told of each answer of the script, and when the queue is `dropped`.
    """

    def __init__(
        self, pool: BlockingConnectionPool, prefix: str, alarm: Envelope, *, count: Callable[[str], None]
    ) -> None:
        self.problem: str | None = None
        self._count = count
        self._redis = Redis(connection_pool=pool)
        self._prefix = prefix
        self._alarm = alarm
        self._waiting: deque[Envelope] = deque()
        self._bytes = 0
        self._wake = asyncio.Event()
        self._script = ""

    def put(self, envelopes: Iterable[Envelope]) -> None:
        """Send them when their turn has come; never waits."""
        for envelope in envelopes:
            self._waiting.append(envelope)
            self._bytes += len(envelope.payload)
        if self._bytes > MAX_WAITING_BYTES:
            self._count("dropped")
            self._waiting = deque([self._alarm])
            self._bytes = len(self._alarm.payload)
        self._wake.set()

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                await self._deliver(self._next())

    def _next(self) -> list[Envelope]:
        batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_PIPELINE))]
        self._bytes -= sum(len(envelope.payload) for envelope in batch)
        return batch

    async def _deliver(self, batch: list[Envelope]) -> None:
        while True:
            try:
                async with asyncio.timeout(2 * ANSWER_S):
                    await self._send(batch)
            except FAILURES as error:
                heed_cancel()
                self.problem = f"can't publish: {str(error) or 'no answer in time'}"
                await asyncio.sleep(BACK_OFF_S)
            else:
                heed_cancel()
                self.problem = None
                return

    async def _send(self, batch: list[Envelope]) -> None:
        if not self._script:
            self._script = await self._redis.script_load(SCRIPT)
        pipeline: Pipeline = self._redis.pipeline(transaction=False)
        for envelope in batch:
            self._add(pipeline, envelope)
        answers = await pipeline.execute(raise_on_error=False)
        failed = [answer for answer in answers if isinstance(answer, Exception)]
        if any(isinstance(answer, NoScriptError) for answer in failed):
            self._script = ""
        if failed:
            raise failed[0]
        for answer in answers:
            if isinstance(answer, bytes):
                self._count(answer.decode())

    def _add(self, pipeline: Pipeline, envelope: Envelope) -> None:
        name = name_of(self._prefix, envelope.channel)
        if envelope.span is None:
            pipeline.publish(name, envelope.payload)
            return
        arguments = (name, *envelope.span, envelope.payload, REMEMBERED_MS)
        pipeline.evalsha(self._script, 1, name + b":head", *arguments)
