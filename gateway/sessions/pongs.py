"""The answers to pings, which are asked oftener than all else, wait for nothing, and can't fail."""

from typing import Final

import orjson

from gateway.clock import Clock, rfc3339
from gateway.fanout.outgoing import Outgoing
from gateway.metrics import Metrics

_BEGIN: Final = b'{"type":"result","id":"'


class Pongs:
    """Those of one process: what is answered in one turn of the loop tells one time."""

    def __init__(self, outgoing: Outgoing, clock: Clock, metrics: Metrics) -> None:
        self._outgoing = outgoing
        self._clock = clock
        self._counts = metrics.asked.counts
        self._turn = -1
        self._end = b""

    def __repr__(self) -> str:
        return f"<Pongs {self._end.decode()}>"

    def answer(self, request_id: bytes) -> bytes:
        """The frame of one more, which goes out with this turn's; its id is as JSON has it, between its quotes."""
        if self._turn != self._outgoing.turns:
            self._turn = self._outgoing.turns
            self._end = b'","result":%b}' % orjson.dumps({"time": rfc3339(self._clock.now_ms())})
        self._counts["ping", "ok"] += 1
        return _BEGIN + request_id + self._end
