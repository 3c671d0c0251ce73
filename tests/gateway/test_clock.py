"""Times as the contract writes them, and ids that randomness and time are given to."""

import random
import uuid
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from gateway.clock import Clock, is_id, rfc3339
from tests.support.records import NOW_MS, FakeTime, deterministic

LAST_MS = 253_402_300_799_999
"""The last millisecond of the year 9999, after which RFC 3339 has no times."""


@given(st.integers(min_value=0, max_value=LAST_MS))
@deterministic
def test_rfc3339_keeps_every_millisecond(ms: int) -> None:
    """A time is UTC with exactly its milliseconds, whatever a float would make of it."""
    told = datetime.fromisoformat(rfc3339(ms))
    assert told == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
    assert len(rfc3339(ms)) == len("2025-06-15T15:06:40.000Z")


def test_rfc3339_ends_with_z() -> None:
    """UTC is written as Z, with three digits of a second."""
    assert rfc3339(NOW_MS) == "2025-06-15T15:06:40.000Z"
    assert rfc3339(0) == "1970-01-01T00:00:00.000Z"


def test_new_id_is_a_version_4_uuid_of_the_clocks_own_randomness() -> None:
    """The same seed gives the same ids."""
    one, other = FakeTime(seed=7).clock, FakeTime(seed=7).clock
    made = [one.new_id() for _ in range(20)]
    assert made == [other.new_id() for _ in range(20)]
    assert len(set(made)) == 20
    assert all(uuid.UUID(found).version == 4 and uuid.UUID(found).variant == uuid.RFC_4122 for found in made)


@given(st.integers(min_value=0, max_value=(1 << 48) - 1), st.integers(min_value=0, max_value=1 << 20))
@deterministic
def test_new_ordered_id_sorts_by_time(ms: int, later: int) -> None:
    """An id made a millisecond or more later sorts after, as a string; both are version 7."""
    time = FakeTime()
    time.ms = ms
    before = time.clock.new_ordered_id()
    time.ms = min(ms + later + 1, (1 << 48) - 1)
    after = time.clock.new_ordered_id()
    assert ms == (1 << 48) - 1 or before < after
    assert all(uuid.UUID(found).version == 7 for found in (before, after))
    assert uuid.UUID(before).int >> 80 == ms


def test_ordered_ids_follow_each_other_whatever_the_clock_does() -> None:
    """Ids made within a millisecond, or after the clock was set back, sort in the order of their making."""
    times = iter([NOW_MS] * 200 + [NOW_MS - 5000] * 50 + [NOW_MS + 1] * 50)
    clock = Clock(now_ms=lambda: next(times), rng=random.Random(1))
    made = [clock.new_ordered_id() for _ in range(300)]
    assert made == sorted(made)
    assert len(set(made)) == 300
    assert {uuid.UUID(one).version for one in made} == {7}


def test_ids_are_known_by_their_form() -> None:
    """Those that are made here are ids, and nothing else is."""
    clock = FakeTime().clock
    made = clock.new_id()
    assert is_id(made)
    assert is_id(clock.new_ordered_id())
    others = (
        made.upper(),
        made + "\n",
        made[:-1],
        "{" + made + "}",
        made.replace("-", ""),
        "*",
        "",
        "\u0663" * 36,
    )
    assert not any(map(is_id, others))
