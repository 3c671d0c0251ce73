"""How many values there are in JSON that comes in parts."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import GatewayError
from gateway.strict_json import MAX_VALUES, ValueCount
from tests.support.records import deterministic

TEXT = st.text(alphabet='a"\\,[{é\n', max_size=8)
JSON = st.recursive(
    st.none() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
)


def counted(value: Any) -> int:
    """Values beside the outermost, an empty list or object twice."""
    inner = list(value.values()) if isinstance(value, dict) else value
    if not isinstance(inner, list):
        return 0
    return sum(1 + counted(one) for one in inner) if inner else 1


@deterministic
@given(JSON, st.integers(1, 9), st.booleans())
def test_strings_hold_no_values_wherever_they_are_cut(value: Any, size: int, ascii_only: bool) -> None:
    """Quotes, commas, brackets and backslashes in them count for nothing."""
    data, count = json.dumps(value, ensure_ascii=ascii_only).encode(), ValueCount()
    for at in range(0, len(data), size):
        count.feed(data[at : at + size])
    assert (count._count, count._begun) == (counted(value), b"")


def test_only_what_is_surely_too_much_is_refused() -> None:
    """As soon as it is; what may be little is left to who sees all of it."""
    count = ValueCount()
    count.feed(b'"' + b"[,{" * MAX_VALUES + b'"')
    count.feed(b"[" + b"[]," * (MAX_VALUES - 1) + b"[]]")
    with pytest.raises(GatewayError, match=f"more than {MAX_VALUES} values"):
        count.feed(b",[")
