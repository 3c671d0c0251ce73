"""The answers to pings, which are asked oftener than all else, wait for nothing, and can't fail."""

from typing import Final

from gateway.clock import Clock, rfc3339
from gateway.metrics import Metrics
from gateway.wire import text_header

_BEGIN: Final = b'{"type":"result","id":"'
_END: Final = b'","result":{"time":"%b"}}'
_HEADS: Final = [
    text_header(_BEGIN + bytes(size) + _END % rfc3339(0).encode()) + _BEGIN for size in range(65)
]
"""How the frame of an answer begins, by the length of its id."""


class Pongs:
    """Those of one process."""

    def __init__(self, clock: Clock, metrics: Metrics) -> None:
        self._clock = clock
        self._counts = metrics.asked.counts
        self._turn = -1.0
        self._end = b""

    def __repr__(self) -> str:
        return f"<Pongs {self._end.decode()}>"

    def answer(self, request_id: bytes, turn: float) -> bytes:
        """The frame of one more; its id is as JSON has it, between its quotes.

        Those of one turn of the loop have the very same object for a `turn`, its time, and tell one time.
        """
        if turn is not self._turn:
            self._turn = turn
            self._end = _END % rfc3339(self._clock.now_ms()).encode()
        self._counts["ping", "ok"] += 1
        return _HEADS[len(request_id)] + request_id + self._end
