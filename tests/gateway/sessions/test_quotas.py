"""How much one asker may have, by socket and by HTTP."""

import pytest

from gateway.errors import GatewayError
from gateway.principal import SCOPES, Principal
from gateway.sessions.quotas import NARROW_BURST, NARROW_CONNECTIONS, Quotas
from gateway.settings import Settings
from gateway.token_bucket import MANY_BUCKETS


def principal(subject: str = "alice", tasks: frozenset[str] | None = None) -> Principal:
    """Somebody, with a token for all of theirs or for named tasks."""
    return Principal(subject, SCOPES, tasks=tasks)


class Instance:
    """Quotas on a clock of its own."""

    def __init__(self) -> None:
        self.now = 0.0
        self.quotas = Quotas(Settings(_env_file=None), lambda: self.now)

    def taken(self, who: Principal, wanted: int) -> int:
        """How many of so many requests at once are served."""
        served = 0
        for _ in range(wanted):
            try:
                self.quotas.of(who).take()
            except GatewayError:
                continue
            served += 1
        return served


def test_subject_has_its_rate_by_http() -> None:
    """As ten sessions: a burst of 2000, then 1000 a second, however its requests come; another subject has its own."""
    instance = Instance()
    assert instance.taken(principal(), 3000) == 2000
    instance.now += 1
    assert instance.taken(principal(), 3000) == 1000
    assert instance.taken(principal("bob"), 1) == 1


def test_narrow_token_has_one_rate_for_socket_and_http() -> None:
    """What its sessions have taken is gone for its requests by HTTP; its subject's are untouched."""
    instance, narrow = Instance(), principal(tasks=frozenset({"t1"}))
    session = instance.quotas.of_session(narrow)
    for _ in range(NARROW_BURST - 1):
        session.take()
    assert instance.taken(narrow, 5) == 1
    instance.now += 1
    assert instance.taken(narrow, 50) == 20
    assert instance.taken(principal(), 1) == 1


def test_rates_that_tell_nothing_any_more_are_forgotten() -> None:
    """However many subjects there ever were, only those who have asked lately are kept; none of them gets more."""
    instance = Instance()
    for number in range(5 * MANY_BUCKETS):
        instance.taken(principal(f"once {number}"), 1)
        instance.now += 0.001
        if number % MANY_BUCKETS == 0:
            assert instance.taken(principal("often"), 3000) <= 2000
    assert instance.taken(principal("often"), 3000) <= 1000
    kept = int(repr(instance.quotas).split()[1])
    assert kept <= 2 * MANY_BUCKETS


@pytest.mark.parametrize(("tasks", "limit"), [(None, 1000), (frozenset({"t1"}), NARROW_CONNECTIONS)])
def test_connections_are_counted_while_they_last(tasks: frozenset[str] | None, limit: int) -> None:
    """So many at a time and no more; one that ends makes room, and the others are not asked."""
    quotas, who = Instance().quotas, principal(tasks=tasks)
    held = [quotas.connection(who) for _ in range(limit)]
    for each in held:
        quotas.check_connection(who)
        each.__enter__()
    with pytest.raises(GatewayError, match="rate_limited") as refusal:
        quotas.check_connection(who)
    assert refusal.value.details["retry_after_ms"] > 0
    quotas.check_connection(principal("bob"))
    held[0].__exit__(None, None, None)
    quotas.check_connection(who)


def test_address_has_a_pace_for_what_one_subject_says_from_it() -> None:
    """As ten sessions, however many sockets and tokens it has; another subject's and another address's are their own;
    who is not counted, and nobody where requests are not, has none."""
    quotas, alice = Instance().quotas, principal()
    mine = quotas.pace("192.0.2.1", alice)
    assert mine is not None
    assert mine.pay(2000) == 0.0
    narrow = quotas.pace("192.0.2.1", principal(tasks=frozenset({"t1"})))
    assert narrow is not None
    assert narrow.pay(500) == 0.5
    for other in (quotas.pace("192.0.2.1", principal("bob")), quotas.pace("192.0.2.2", alice)):
        assert other is not None
        assert other.pay(2000) == 0.0
    assert quotas.of(alice).has_one()
    assert quotas.pace(None, alice) is None
    assert Quotas(Settings(_env_file=None, requests_per_s=0)).pace("192.0.2.1", alice) is None
