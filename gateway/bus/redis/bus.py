"""The bus of many instances: what is committed here is heard here at once, and elsewhere by way of Redis."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from gateway.bus.base import EVERYBODY, Handler, Message, Missed
from gateway.bus.memory import MemoryBus
from gateway.bus.redis.envelope import Envelope, mark_of, seal, unseal
from gateway.bus.redis.listener import Listener
from gateway.bus.redis.sender import Sender
from gateway.bus.redis.server import connections

PROBE_S: Final = 1.0
"""How often the way to Redis and back is tried."""


class RedisBus:
    """The `Bus` of one instance among others that name the same Redis and prefix. Raises ValueError on a bad URL.

    `on_count` is told of what happens, and how often: the script's answers, a `dropped` queue, a connection made.
    `on_probe` is told how many seconds a probe took to come back, `on_away` that Redis can't be used, and `on_back`
    for how many seconds it could not.
    """

    def __init__(
        self,
        url: str,
        *,
        instance: str,
        prefix: str = "gateway",
        on_count: Callable[[str, int], None] = lambda _what, _count: None,
        on_probe: Callable[[float], None] = lambda _: None,
        on_away: Callable[[], None] = lambda: None,
        on_back: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._on_probe = on_probe
        self._on_away = on_away
        self._on_back = on_back
        self._away_since: float | None = None
        self._was_well = False
        # The newest probe, when it was sent, and when one last came back: by the loop's clock.
        self._probed = (0, 0.0)
        self._returned_at: float | None = None
        self.counts: Counter[str] = Counter()
        self._on_count = on_count
        self._instance = instance
        self._mark = mark_of(instance)
        self._probe = f"probe:{instance}"
        self._probes = itertools.count(1)
        # Who hears what here; to it, what comes from others is as if it had been published here.
        self._local = MemoryBus()
        self._pool = connections(url, most=2)
        (alarm,) = seal(instance, [(EVERYBODY, Missed())])
        self._sender = Sender(self._pool, prefix, alarm, count=self._count)
        self._listener = Listener(
            self._pool,
            prefix,
            self._local.channels,
            on_payload=self._heard,
            on_missed=self._missed,
            on_connected=lambda: self._count("connected"),
        )

    def __repr__(self) -> str:
        return f"<RedisBus {self._instance}: {self.problem or 'connected'}, {len(self._local.channels)} channels>"

    @property
    def problem(self) -> str | None:
        """See `Bus.problem`."""
        return self._sender.problem or self._listener.problem

    @property
    def probe_age_s(self) -> float:
        """Since a probe last came back, or since the first one was sent."""
        if self._returned_at is None:
            return 0.0
        return asyncio.get_running_loop().time() - self._returned_at

    async def run(self) -> None:
        """See `Bus.run`."""
        await self._local.subscribe(EVERYBODY)
        await self._local.subscribe(self._probe)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._sender.run(), name="bus sender")
                group.create_task(self._listener.run(), name="bus listener")
                group.create_task(self._try(), name="bus probe")
        finally:
            await self._pool.aclose()

    def on_message(self, handler: Handler, *kinds: type[Message]) -> None:
        """See `Bus.on_message`."""
        self._local.on_message(handler, *kinds)

    def publish_nowait(self, messages: Sequence[tuple[str, Message]]) -> None:
        """See `Bus.publish_nowait`."""
        self._local.publish_nowait(messages)
        self._sender.put(seal(self._instance, messages))

    async def subscribe(self, channel: str) -> None:
        """See `Bus.subscribe`."""
        await self._local.subscribe(channel)
        await self._listener.join(channel)

    def unsubscribe_nowait(self, channel: str) -> None:
        """See `Bus.unsubscribe_nowait`."""
        self._local.unsubscribe_nowait(channel)
        if channel not in self._local.channels:
            self._listener.look(channel)

    async def _try(self) -> None:
        while True:
            self._send_probe()
            await asyncio.sleep(PROBE_S)
            self._look()

    def _look(self) -> None:
        """Tell of Redis where it has gone or come back."""
        now = asyncio.get_running_loop().time()
        self._was_well |= self.problem is None
        if self.problem is not None and self._away_since is None:
            self._away_since = now
            self._on_away()
        elif self.problem is None and self._away_since is not None:
            away_s, self._away_since = now - self._away_since, None
            self._on_back(away_s)

    def _send_probe(self) -> None:
        """Send ourselves something, the way that events go: that it comes back is all that is asked of it."""
        seq, now = next(self._probes), asyncio.get_running_loop().time()
        self._probed = (seq, now)
        if self._returned_at is None:
            self._returned_at = now  # nothing is late yet
        self._sender.put([Envelope(self._probe, b"%s\n%d" % (self._instance.encode(), seq))])

    def _probe_back(self, payload: bytes) -> None:
        now = asyncio.get_running_loop().time()
        self._returned_at = now
        seq, sent_at = self._probed
        if payload.endswith(b"\n%d" % seq):
            self._on_probe(now - sent_at)

    def _heard(self, channel: str, payload: bytes) -> None:
        if channel == self._probe:
            self._probe_back(payload)
        elif not payload.startswith(self._mark):
            self._local.publish_nowait([(channel, message) for message in unseal(payload)])

    def _count(self, what: str, count: int = 1) -> None:
        self.counts[what] += count
        self._on_count(what, count)

    def _missed(self) -> None:
        if self._was_well:  # who is about to connect for the first time has lost nobody
            self._look()
        self._local.publish_nowait([(EVERYBODY, Missed())])
        self._send_probe()
