"""Session ids that prove whose they are, and the rate limit that goes with a session."""

import gc
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import GatewayError
from gateway.principal import SCOPES, Principal
from gateway.sessions.quotas import Quotas
from gateway.sessions.session import SessionIds, Sessions
from gateway.settings import Settings
from gateway.token_bucket import TokenBucket
from tests.support.records import FakeTime, deterministic

SUBJECTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
SECRET = b"s" * 32


def ids(seed: int = 1, secret: bytes = SECRET) -> SessionIds:
    """Session ids of one instance."""
    return SessionIds(secret, FakeTime(seed).clock)


def alice(tasks: frozenset[str] | None = None) -> Principal:
    """Alice, with a token for all of hers or for named tasks."""
    return Principal("alice", SCOPES, tasks=tasks)


# --- ids ------------------------------------------------------------------------------------------------


@given(SUBJECTS, SUBJECTS, st.integers(0, 1 << 32))
@deterministic
def test_session_id_belongs_to_its_subject_alone(subject: str, other: str, seed: int) -> None:
    """Any instance with the same secret knows it for its subject's; for any other subject it is nobody's."""
    session_id = ids(seed).new(subject)
    assert ids(seed + 1).belongs(session_id, subject)
    assert ids().belongs(session_id, other) == (subject == other)
    assert not ids(secret=b"o" * 32).belongs(session_id, subject)


@given(SUBJECTS, st.integers(0, 1 << 32))
@deterministic
def test_session_id_is_a_version_8_uuid(subject: str, seed: int) -> None:
    """It is a UUID of RFC 9562 with bits of our own, in the usual writing."""
    session_id = ids(seed).new(subject)
    value = uuid.UUID(session_id)
    assert (str(value), value.version, value.variant) == (session_id, 8, uuid.RFC_4122)


@given(st.integers(0, 127), st.integers(0, 1 << 32))
@deterministic
def test_session_id_with_any_bit_changed_belongs_to_nobody(bit: int, seed: int) -> None:
    """There is no bit that may be changed, those of version and variant included."""
    value = uuid.UUID(ids(seed).new("alice")).int
    assert not ids().belongs(str(uuid.UUID(int=value ^ 1 << bit)), "alice")


@given(st.one_of(st.text(max_size=40), st.text("0123456789abcdefABCDEF-{}٠١٢٣", min_size=30, max_size=40)))
@deterministic
def test_belongs_takes_any_string(text: str) -> None:
    """Whatever a client asks for is an id of its own or is not; it is never an exception."""
    assert not ids().belongs(text, "alice")


@pytest.mark.parametrize("text", ["٠" * 32, "\udcff", "", "0" * 32, "{" + "0" * 32 + "}"])
def test_belongs_takes_strange_strings(text: str) -> None:
    """Digits of other scripts, bytes that are no UTF-8, other writings of a UUID: all belong to nobody."""
    assert not ids().belongs(text, "alice")


def test_other_writings_of_an_id_are_not_it() -> None:
    """Only the very string that was given out is the id: one session has one name."""
    session_id = ids().new("alice")
    for other in (
        session_id.upper(),
        session_id.replace("-", ""),
        f"{{{session_id}}}",
        f"urn:uuid:{session_id}",
    ):
        assert not ids().belongs(other, "alice")


# --- rate -----------------------------------------------------------------------------------------------


@given(
    st.integers(1, 50),
    st.integers(1, 20),
    st.lists(st.integers(0, 400), min_size=1, max_size=200),
)
@deterministic
def test_token_bucket_keeps_to_its_rate_in_every_window(per_s: int, burst: int, pauses_ms: list[int]) -> None:
    """In any stretch of time no more than the burst and what has flowed in since is taken, in either manner."""
    now = 0.0
    bucket, other = TokenBucket(per_s, burst, lambda: now), TokenBucket(per_s, burst, lambda: now)
    taken: list[float] = []
    for number, pause in enumerate(pauses_ms):
        now += pause / 1000
        took = bucket.took_one(now) if number % 3 else bucket.has_one()
        assert took == other.has_one()
        taken += [now] * took
    for begin in range(len(taken)):
        for end in range(begin, len(taken)):
            assert end - begin + 1 <= burst + (taken[end] - taken[begin]) * per_s + 1e-6


@given(st.integers(1, 500), st.integers(1, 20), st.integers(0, 300))
@deterministic
def test_token_bucket_says_when_to_come_again(per_s: int, burst: int, pause_ms: int) -> None:
    """Who waits as long as the refusal says is served, and a refusal costs nothing."""
    now = 0.0
    bucket = TokenBucket(per_s, burst, lambda: now)
    for _ in range(burst):
        bucket.take()
    now += pause_ms / 1000
    for _ in range(burst + 1):
        try:
            bucket.take()
        except GatewayError as refusal:
            assert refusal.code == "rate_limited"
            assert refusal.details["retry_after_ms"] >= 1
            now += refusal.details["retry_after_ms"] / 1000
            bucket.take()
            return
    assert pause_ms * per_s >= 1000


def test_token_bucket_without_a_rate_is_no_limit() -> None:
    """0 a second turns the limit off."""
    bucket = TokenBucket(0, 1, lambda: 0.0)
    for _ in range(1000):
        bucket.take()


# --- sessions -------------------------------------------------------------------------------------------


def sessions(**settings: Any) -> Sessions:
    """The sessions of an instance on which no time passes."""
    return Sessions(ids(), Quotas(Settings(_env_file=None, **settings), lambda: 0.0))


def test_find_gives_a_client_its_own_session_again() -> None:
    """Two connections that ask for one session share it, and its rate."""
    live = sessions(request_burst=2)
    first = live.find(alice(), None)
    second = live.find(alice(), first.session_id)
    assert second is first
    first.bucket.take()
    second.bucket.take()
    with pytest.raises(GatewayError):
        first.bucket.take()


def test_find_gives_no_session_of_another_subject() -> None:
    """Who asks for a stranger's, or for none that ever was, gets a new one."""
    live = sessions()
    first = live.find(alice(), None)
    bobs = live.find(Principal("bob", SCOPES), first.session_id)
    assert bobs.session_id != first.session_id
    assert live.find(alice(), str(uuid.UUID(int=0))).session_id != str(uuid.UUID(int=0))


def test_find_knows_a_session_that_no_connection_is_left_of() -> None:
    """A session outlives its sockets: its id is good on any instance, though nothing of it was kept."""
    session_id = sessions().find(alice(), None).session_id
    gc.collect()
    assert sessions().find(alice(), session_id).session_id == session_id


def test_find_gives_a_token_for_named_tasks_a_session_of_its_own() -> None:
    """Such a token never gets its subject's session, and has a rate of its own: 20 a second."""
    live = sessions()
    first = live.find(alice(), None)
    narrow = live.find(alice(tasks=frozenset(["t1"])), first.session_id)
    assert narrow.session_id != first.session_id
    assert (narrow.bucket.per_s, first.bucket.per_s, first.bucket.burst) == (20.0, 100.0, 200)


def test_narrow_token_finds_its_own_session_again() -> None:
    """On any instance, with that token; a wider one of the same subject, and one for another task, don't get it."""
    narrow = alice(frozenset({"t1", "t2"}))
    mine = sessions().find(narrow, None).session_id
    assert sessions().find(narrow, mine).session_id == mine
    later = Principal("alice", SCOPES, expires_at=9.0, tasks=narrow.tasks)
    for other in (alice(), alice(frozenset({"t1"})), later, Principal("bob", SCOPES, tasks=narrow.tasks)):
        assert sessions().find(other, mine).session_id != mine


def test_holders_of_one_narrow_token_share_its_rate() -> None:
    """A token for named tasks has limits of its own, however many sessions are made with it."""
    sessions = Sessions(ids(), Quotas(Settings(_env_file=None), lambda: 0.0))
    first, second = (sessions.find(alice(frozenset({"t1"})), None) for _ in range(2))
    other = sessions.find(alice(frozenset({"t2"})), None)
    assert first.session_id != second.session_id
    for _ in range(20):
        first.bucket.take()
        second.bucket.take()
    with pytest.raises(GatewayError, match="rate_limited"):
        first.bucket.take()
    other.bucket.take()


def test_a_pause_is_one_that_the_loop_can_make() -> None:
    """uvloop counts in whole milliseconds: just before the next token, a flood would be refused at full speed."""
    now = 0.0
    bucket = TokenBucket(50, 1, lambda: now)
    bucket.take()
    now = 1 / 50 - 1e-5
    with pytest.raises(GatewayError):
        bucket.take()
    assert bucket.pause_s == 1e-3
