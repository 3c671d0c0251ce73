"""What carries messages between simulated instances: it delays, reorders and loses them, and sometimes doubts it."""

import random
from collections import Counter
from collections.abc import Sequence

from gateway.bus.base import EVERYBODY, Handler, Message, Missed
from gateway.bus.memory import MemoryBus
from tests.simulation.network import LATENCIES_S
from tests.simulation.process import PROCESS
from tests.simulation.sim_loop import SimLoop
from tests.support.waiting import let_pass

DOUBT_S = 0.5
"""How often who is cut off is told that it may have missed something."""


class Middle:
    """Between all of them. A `share` of what is sent until `lossy_until` gets lost; who is in `cut` hears nothing."""

    def __init__(self, loop: SimLoop, rng: random.Random) -> None:
        self.share = 0.0
        self.lossy_until = 0.0
        self.counts: Counter[str] = Counter()
        self._loop = loop
        self._rng = rng
        self._buses: list[SimBus] = []

    def join(self, instance: str) -> "SimBus":
        """The bus of an instance; that of a dead one hears nothing any more."""
        self._buses = [bus for bus in self._buses if bus.process.is_alive]
        bus = SimBus(self, self._loop)
        self._buses.append(bus)
        return bus

    def carry(self, sender: "SimBus", messages: Sequence[tuple[str, Message]]) -> None:
        """Bring them to the others, each when it comes."""
        for bus in self._buses:
            if bus is sender or not bus.process.is_alive:
                continue
            for channel, message in messages:
                if self._gets_lost(sender, bus):
                    self.counts["bus message lost"] += 1
                    bus.doubts()
                    continue
                self.counts["bus message delayed"] += 1
                bus.hear_after(self._rng.choice(LATENCIES_S) * self._rng.uniform(0.5, 2), channel, message)

    def _gets_lost(self, sender: "SimBus", bus: "SimBus") -> bool:
        now = self._loop.time()
        if now < max(sender.cut_until, bus.cut_until):
            return True
        return now < self.lossy_until and self._rng.random() < self.share


class SimBus:
    """The `Bus` of one instance. What is published here is heard here at once, as the port has it."""

    def __init__(self, middle: Middle, loop: SimLoop) -> None:
        process = PROCESS.get()
        assert process is not None
        self.process = process
        self.cut_until = 0.0
        self._middle = middle
        self._loop = loop
        self._local = MemoryBus()
        self._doubtful = False

    @property
    def problem(self) -> str | None:
        """See `Bus.problem`."""
        return "cut off" if self._loop.time() < self.cut_until else None

    async def run(self) -> None:
        """See `Bus.run`: tell of what may have been lost, as long as it may."""
        await self._local.subscribe(EVERYBODY)
        while True:
            await let_pass(DOUBT_S)
            if self._doubtful or self.problem is not None:
                self._doubtful = False
                self._local.publish_nowait([(EVERYBODY, Missed())])

    def on_message(self, handler: Handler, *kinds: type[Message]) -> None:
        """See `Bus.on_message`."""
        self._local.on_message(handler, *kinds)

    def publish_nowait(self, messages: Sequence[tuple[str, Message]]) -> None:
        """See `Bus.publish_nowait`."""
        self._local.publish_nowait(messages)
        self._middle.carry(self, messages)

    async def subscribe(self, channel: str) -> None:
        """See `Bus.subscribe`."""
        await self._local.subscribe(channel)

    def unsubscribe_nowait(self, channel: str) -> None:
        """See `Bus.unsubscribe_nowait`."""
        self._local.unsubscribe_nowait(channel)

    def doubts(self) -> None:
        """Something for it was lost."""
        self._doubtful = True

    def hear_after(self, seconds: float, channel: str, message: Message) -> None:
        """Take a message, then."""
        self.process.run(lambda: self._arrive(seconds, channel, message))

    def _arrive(self, seconds: float, channel: str, message: Message) -> None:
        if self.process.is_stopped:
            # It is in the kernel's buffers, and is found there.
            self.process.later(lambda: self._local.publish_nowait([(channel, message)]))
        else:
            self._loop.call_later(seconds, self._local.publish_nowait, [(channel, message)])
