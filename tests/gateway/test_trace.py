"""Trace context by its rules, https://www.w3.org/TR/trace-context/."""

import re
import uuid

import pytest

from gateway import trace

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{PARENT}-01"


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (GOOD, GOOD),
        (f" {GOOD}\t", GOOD),
        (f"00-{TRACE}-{PARENT}-00", f"00-{TRACE}-{PARENT}-00"),
        (f"00-{TRACE}-{PARENT}-ff", GOOD),
        (f"cc-{TRACE}-{PARENT}-01", GOOD),
        (f"cc-{TRACE}-{PARENT}-01-what-the-future-will-be-like", GOOD),
    ],
)
def test_valid_one_is_read_as_version_00(value: str, read: str) -> None:
    """Of a later version, what this one knows is taken; of the flags, the one that this one knows."""
    assert trace.parsed([value]) == read


@pytest.mark.parametrize(
    "values",
    [
        [],
        [GOOD, GOOD],
        [""],
        ["\0"],
        [GOOD[:-1]],
        [f"{GOOD}-more"],
        [f"{GOOD}."],
        [f"cc-{TRACE}-{PARENT}-01.more"],
        [f"ff-{TRACE}-{PARENT}-01"],
        [f"00-{TRACE.upper()}-{PARENT}-01"],
        [f"00-{'0' * 32}-{PARENT}-01"],
        [f"00-{TRACE}-{'0' * 16}-01"],
        [f"00-{TRACE}-{PARENT}-0x"],
        [f"00-{TRACE}-{PARENT}-01\n"],
        [f"00-{'٣' * 32}-{PARENT}-01"],
        ["x" * 100_000],
    ],
)
def test_any_other_is_as_none(values: list[str]) -> None:
    """Also one that is there twice: nobody can say which was meant."""
    assert trace.parsed(values) is None


def test_attempt_is_a_span_of_its_own_in_its_askers_trace() -> None:
    """The trace and its flag stay, the parent is the attempt's own; a task without a trace begins one."""
    task_id = str(uuid.uuid4())
    first, second = (trace.of_attempt(task_id, GOOD, attempt) for attempt in (1, 2))
    assert first.startswith(f"00-{TRACE}-")
    assert first.endswith("-01")
    assert len({first, second, GOOD}) == 3
    begun = trace.of_attempt(task_id, None, 1)
    assert begun.split("-")[1] == task_id.replace("-", "") == trace.trace_id(task_id, None)
    assert begun.endswith("-00")
    for one in (first, second, begun, trace.of_attempt("t", None, 1)):
        assert trace.parsed([one]) == one
    assert re.fullmatch("[0-9a-f]{32}", trace.trace_id("t", None))


def test_what_a_submit_names_itself_comes_first() -> None:
    """Also where it is bad: then a trace is begun, and not another's gone on with."""
    other = f"00-{TRACE[::-1]}-{PARENT}-00"
    assert trace.chosen(None, other) == other
    assert trace.chosen(GOOD, other) == GOOD
    assert trace.chosen("bad", other) is None
