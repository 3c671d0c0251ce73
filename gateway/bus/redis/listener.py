"""Hears what other instances hand on: one connection for all channels.

Theory. A channel is *asked* for once SUBSCRIBE was written and *heard* once Redis has acknowledged that. Pub/sub
forgets: what is published while the connection is away is gone, and the connection may die without a sound. So
the instance publishes to a channel of its own and must hear itself; and whenever the connection is new, and as
often as one can't be had, everybody is told that they may have missed something.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Final

from redis.asyncio import BlockingConnectionPool

from gateway.bus.redis.server import FAILURES, Link, heed_cancel, link, name_of

SILENCE_S: Final = 3.0
"""A connection on which nothing came for so long, our own probes included, is dead."""
NOTED_S: Final = 0.25
"""How often it is noted that something came."""
JOIN_S: Final = 1.0
"""How long whoever subscribes waits for Redis; who did not get an answer is told when it has come."""
BACK_OFF_S: Final = 0.5
"""How long to leave alone a Redis that failed."""
CHANNELS_A_COMMAND: Final = 500


class Listener:
    """The subscriptions of one instance; `wanted` is what they should be, and may change at any time."""

    def __init__(
        self,
        pool: BlockingConnectionPool,
        prefix: str,
        wanted: Collection[str],
        *,
        on_payload: Callable[[str, bytes], None],
        on_missed: Callable[[], None],
        on_connected: Callable[[], None],
    ) -> None:
        self.problem: str | None = "not connected yet"
        self._pool = pool
        self._prefix = prefix
        self._wanted = wanted
        self._on_payload = on_payload
        self._on_missed = on_missed
        self._on_connected = on_connected
        self._changed: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._asked: dict[bytes, str] = {}
        self._unanswered: Counter[bytes] = Counter()
        self._joining: dict[bytes, asyncio.Event] = {}
        # Whether all that was wanted when the connection was made is heard.
        self._settled = False
        # Whether somebody was not waited for, and must be told.
        self._late = True

    async def join(self, channel: str) -> None:
        """Return once `channel`, which is wanted, is heard; or after a moment, and then it will be told of."""
        self.look(channel)
        name = name_of(self._prefix, channel)
        if not self._settled:
            self._late = True
            return
        if name in self._asked and not self._unanswered[name]:
            return
        heard = self._joining.setdefault(name, asyncio.Event())
        try:
            async with asyncio.timeout(JOIN_S):
                await heard.wait()
        except TimeoutError:
            self._late = True

    def look(self, channel: str) -> None:
        """Whether `channel` is wanted may have changed."""
        self._changed[channel] = None
        self._wake.set()

    async def run(self) -> None:
        """Listen until cancelled."""
        while True:
            try:
                await self._listen()
            except FAILURES as error:
                heed_cancel()
                self.problem = f"can't listen: {str(error) or 'no answer in time'}"
            self._late, self._settled = True, False
            self._on_missed()
            await asyncio.sleep(BACK_OFF_S)

    async def _listen(self) -> None:
        async with link(self._pool) as redis:
            self._asked.clear()
            self._unanswered.clear()
            self._changed = dict.fromkeys(self._wanted)
            self._wake.set()
            self._on_connected()
            writing = asyncio.get_running_loop().create_task(self._write(redis), name="subscriptions")
            try:
                await self._hear(redis)
            finally:
                writing.cancel()
                await asyncio.wait([writing])

    async def _hear(self, redis: Link) -> None:
        now = asyncio.get_running_loop().time
        async with asyncio.timeout(SILENCE_S) as silence:
            noted = now()
            while True:
                kind, name, content = await redis.hear()
                if now() - noted > NOTED_S:  # a timer for each message would cost as much as the message
                    noted = now()
                    silence.reschedule(noted + SILENCE_S)
                if kind == b"message":
                    self._take(name, content)
                elif kind == b"subscribe":
                    self._answered(name)

    def _take(self, name: bytes, payload: bytes) -> None:
        if self._settled:
            self.problem = None
        channel = self._asked.get(name)
        if channel is not None:
            self._on_payload(channel, payload)

    def _answered(self, name: bytes) -> None:
        self._unanswered[name] -= 1
        if self._unanswered[name] <= 0:
            del self._unanswered[name]
            if (heard := self._joining.pop(name, None)) is not None:
                heard.set()
        if not self._unanswered and not self._changed and self._late:
            self._late, self._settled = False, True
            self._on_missed()

    async def _write(self, redis: Link) -> None:
        """Make what is asked what is wanted; where that fails the connection is dead, as the silence will tell."""
        with contextlib.suppress(*FAILURES):
            while True:
                await self._wake.wait()
                self._wake.clear()
                joined, left = self._differences()
                for names in _in_parts(joined):
                    await redis.say(b"SUBSCRIBE", *names)
                for names in _in_parts(left):
                    await redis.say(b"UNSUBSCRIBE", *names)

    def _differences(self) -> tuple[list[bytes], list[bytes]]:
        """What is to be asked for now, and what no more; noted as done."""
        changed, self._changed = self._changed, {}
        names = {name_of(self._prefix, channel): channel for channel in changed}
        joined = [
            name for name, channel in names.items() if channel in self._wanted and name not in self._asked
        ]
        left = [
            name for name, channel in names.items() if channel not in self._wanted and name in self._asked
        ]
        for name in joined:
            self._asked[name] = names[name]
            self._unanswered[name] += 1
        for name in left:
            del self._asked[name]
        return joined, left


def _in_parts(names: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for begin in range(0, len(names), CHANNELS_A_COMMAND):
        yield names[begin : begin + CHANNELS_A_COMMAND]
