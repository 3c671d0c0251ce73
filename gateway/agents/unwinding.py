"""Whether an asynchronous generator that stands at a `yield` is handling an exception there.

The guide's agents yield a last dict while an exception unwinds them, and raise it again. Whether a `yield` stands
in such a place is known to the interpreter: every instruction of a handler is covered by an entry of the code's
exception table whose target only cleans up and raises again, while that of a `try` or `with` begins to handle
(https://github.com/python/cpython/blob/main/InternalDocs/exception_handling.md).
"""

import dis
from collections.abc import AsyncGenerator, Iterator
from functools import cache
from types import CodeType
from typing import Any, Final

_OTHER_TARGETS: Final = frozenset({"PUSH_EXC_INFO", "CALL_INTRINSIC_1", "CLEANUP_THROW"})
"""How the targets of a `try`, of a generator as a whole, and of an `await` begin."""


class Handlers:
    """Where an agent's generator handles exceptions; found once, for to look a code object up costs as much as it."""

    def __init__(self, generator: AsyncGenerator[Any, Any]) -> None:
        self._generator = generator
        code = getattr(generator, "ag_code", None)
        self._ranges = () if code is None else _handlers(code)
        self.are_any = bool(self._ranges)
        """Whether it has one: who has none needs not be asked at each of its yields."""

    def is_unwinding(self) -> bool:
        """Whether the `yield` at which it stands is in an `except` or `finally` that handles an exception."""
        if (frame := getattr(self._generator, "ag_frame", None)) is None:
            return False
        return any(begin <= frame.f_lasti < end for begin, end in self._ranges)


@cache
def _handlers(code: CodeType) -> tuple[tuple[int, int], ...]:
    names = {one.offset: one.opname for one in dis.get_instructions(code)}
    return tuple(
        (begin, end)
        for begin, end, target in _entries(code.co_exceptiontable)
        if names[target] not in _OTHER_TARGETS
    )


def _entries(table: bytes) -> Iterator[tuple[int, int, int]]:
    """(begin, end, target) in bytes of code, of each entry."""
    numbers = iter(table)
    for first in numbers:
        begin = _number(first, numbers)
        length, target, _depth = (_number(next(numbers), numbers) for _ in range(3))
        yield begin * 2, (begin + length) * 2, target * 2


def _number(first: int, rest: Iterator[int]) -> int:
    """Of six bits a byte, the most significant first; a seventh says that more follow."""
    value, byte = first & 63, first
    while byte & 64:
        byte = next(rest)
        value = value << 6 | byte & 63
    return value
