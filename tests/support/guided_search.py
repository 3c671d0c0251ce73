"""A small coverage-guided fuzzer: what takes a way through lines that nothing before it took is kept, and changed.

It sees the lines of our own modules alone. The parsers beneath them are native, and have fuzzers of their own.
"""

import random
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from types import CodeType, FrameType
from typing import Any, Final

Step = tuple[CodeType, int, int]
"""From one line to the next, in a function."""
MAX_BYTES: Final = 4096
PIECES: Final = (
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"\\",
    b"\0",
    b"\\u0000",
    b"\xff",
    b"\xef\xbb\xbf",
    b"1e999",
)


@dataclass
class Search:
    """Looks for inputs of `target` that take other ways through `modules`; what `target` raises is a finding."""

    target: Callable[[bytes], object]
    modules: Collection[str]
    """Files, as code objects name them."""
    rng: random.Random
    kept: list[bytes] = field(default_factory=list)
    steps: set[Step] = field(default_factory=set)

    def run(self, seeds: Sequence[bytes], runs: int) -> None:
        """Try `seeds`, and then `runs` more. Raises `AssertionError` with the input that is a finding."""
        for data in seeds:
            self._try(data)
        for _ in range(runs):
            self._try(self._changed())

    def _try(self, data: bytes) -> None:
        taken = set[Step]()
        sys.settrace(self._tracer(taken))
        try:
            self.target(data)
        except Exception as error:
            error.add_note(f"the input: {data!r}")
            raise
        finally:
            sys.settrace(None)
        if taken - self.steps or not self.kept:
            self.steps |= taken
            self.kept.append(data)

    def _tracer(self, taken: set[Step]) -> Callable[[FrameType, str, Any], Any]:
        def called(frame: FrameType, _event: str, _arg: Any) -> Any:
            code = frame.f_code
            if code.co_filename not in self.modules:
                return None
            last = code.co_firstlineno

            def moved(frame: FrameType, _event: str, _arg: Any) -> Any:
                nonlocal last
                taken.add((code, last, frame.f_lineno))
                last = frame.f_lineno
                return moved

            return moved

        return called

    def _changed(self) -> bytes:
        rng, data = self.rng, bytearray(self.rng.choice(self.kept))
        for _ in range(rng.choice((1, 1, 2, 4))):
            at, other = rng.randrange(len(data) + 1), rng.choice(self.kept)
            what = rng.randrange(6)
            if what == 0 and at < len(data):
                data[at] = rng.randrange(256)
            elif what == 1:
                del data[at : at + rng.randrange(1, 30)]
            elif what == 2:
                data[at:at] = rng.choice(PIECES)
            elif what == 3:
                begin = rng.randrange(len(other) + 1)
                data[at:at] = other[begin : begin + rng.randrange(1, 60)]
            elif what == 4:
                data[at:] = other[at:]
            else:
                data[at:at] = data[at : at + rng.randrange(1, 30)] * rng.choice((1, 2, 70))
        return bytes(data[:MAX_BYTES])
