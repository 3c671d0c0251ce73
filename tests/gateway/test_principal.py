"""What a principal may do, and what exists for it."""

import pytest

from gateway.errors import GatewayError
from gateway.principal import ANONYMOUS, SCOPES, Principal
from tests.support.records import record


def allowed(principal: Principal, scope: str) -> bool:
    """Whether the principal has the scope."""
    try:
        principal.require(scope)
    except GatewayError as refusal:
        assert refusal.code == "forbidden"
        return False
    return True


def test_scopes_are_the_contracts() -> None:
    """Five of them."""
    assert {"tasks:read", "tasks:write", "sandbox", "sandbox:server", "admin"} == SCOPES


@pytest.mark.parametrize("scope", sorted(SCOPES))
def test_require_wants_the_scope_itself(scope: str) -> None:
    """One scope is that one and no other."""
    held = Principal("alice", frozenset([scope]))
    others = SCOPES - {scope} if scope != "admin" else {"sandbox:server"}
    assert allowed(held, scope)
    assert not any(allowed(held, other) for other in others)


def test_admin_has_every_scope_but_a_sandboxes_trust() -> None:
    """Trust in a sandbox is granted by name only."""
    admin = Principal("root", frozenset(["admin"]))
    assert {scope for scope in SCOPES if allowed(admin, scope)} == SCOPES - {"sandbox:server"}
    assert not allowed(ANONYMOUS, "sandbox:server")


def test_sees_its_own_tasks_and_admin_sees_all() -> None:
    """Another subject's task does not exist."""
    alice, admin = Principal("alice", SCOPES - {"admin"}), Principal("root", frozenset(["admin"]))
    assert (alice.sees(record()), alice.sees(record(subject="bob"))) == (True, False)
    assert (admin.sees(record()), admin.sees(record(subject="bob"))) == (True, True)
    assert (alice.sees_subject, admin.sees_subject) == ("alice", None)


def test_named_tasks_are_all_that_a_narrow_token_sees() -> None:
    """Neither its subject's other tasks nor, with `admin`, everybody's."""
    for scopes in (SCOPES, SCOPES - {"admin"}):
        narrow = Principal("alice", scopes, tasks=frozenset(["t1"]))
        assert narrow.sees(record(task_id="t1"))
        assert not narrow.sees(record(task_id="t2"))
        with pytest.raises(GatewayError, match="named tasks"):
            narrow.require_whole()
    assert not Principal("alice", SCOPES, tasks=frozenset()).sees(record(task_id="t1"))
    Principal("alice", SCOPES).require_whole()
