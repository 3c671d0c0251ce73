"""Checkpoints' data: what is kept of it, and what comes back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from gateway.checkpoints import (
    MAX_DATA_BYTES,
    CheckpointTooLargeError,
    Kept,
    named_parts,
    new_checkpoint,
    put_together,
    taken_apart,
)

LARGE = "x" * 2000
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text() | st.just(LARGE),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


class Loaf(BaseModel):
    """What JSON has no word for, and pydantic has."""

    name: str


@given(st.dictionaries(st.text(max_size=5), VALUES, max_size=5))
def test_data_comes_back_as_it_was(data: dict[str, object]) -> None:
    """In the same order, whatever its size."""
    row, parts = taken_apart(data)
    back = put_together(row, parts)
    assert (back, [*back]) == (data, [*data])


def test_what_has_not_changed_is_the_same_part() -> None:
    """A large value is named by its content, so that it is kept once; small ones stay in the row."""
    before, kept = taken_apart({"html": LARGE, "n": 1})
    after, again = taken_apart({"n": 2, "html": LARGE})
    assert named_parts(before) == named_parts(after) == [*kept] == [*again]
    assert len(before) < 200


def test_same_text_is_looked_at_once() -> None:
    """What was kept, or equals it, is named again without its bytes; a changed text is new."""
    kept, data = Kept(), {"html": LARGE, "list": [LARGE], "n": 1}
    kept.learn(data, new_checkpoint("c-1", "s", "a", data))
    same = new_checkpoint("c-2", "s", "a", data | {"n": 2}, kept=kept)
    kept.learn(data, same)
    again = new_checkpoint("c-3", "s", "a", data, kept=kept)
    equal = new_checkpoint("c-4", "s", "a", data | {"html": LARGE[:-1] + "x"}, kept=kept)
    other = new_checkpoint("c-5", "s", "a", {"other": LARGE, "html": "y" * 2000}, kept=kept)
    assert named_parts(same.row) == named_parts(again.row) == named_parts(equal.row)
    assert [len(one.parts) for one in (same, again, equal, other)] == [1, 1, 1, 2]
    with pytest.raises(CheckpointTooLargeError):
        new_checkpoint("c-6", "s", "a", data | {"more": "x" * MAX_DATA_BYTES}, kept=kept)


def test_data_is_kept_as_it_is_now() -> None:
    """What is done to it afterwards, however deep, is not in it; what pydantic can say in JSON is."""
    deep = {"list": [1]}
    row, parts = taken_apart({"deep": deep, "loaf": Loaf(name="rye"), "set": {1}, 7: "key"})  # type: ignore[dict-item]
    deep["list"].append(2)
    assert put_together(row, parts) == {
        "deep": {"list": [1]},
        "loaf": {"name": "rye"},
        "set": [1],
        "7": "key",
    }


def test_data_has_a_bound() -> None:
    """Whatever its form."""
    with pytest.raises(CheckpointTooLargeError):
        taken_apart({str(n): "x" * (MAX_DATA_BYTES // 8) for n in range(8)})
    with pytest.raises(TypeError):
        taken_apart({"x": object()})
