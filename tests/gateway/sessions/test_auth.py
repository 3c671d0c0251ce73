"""Tokens, hosts and origins: who may come in, and by which name and from which page."""

import asyncio
import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import GatewayError
from gateway.principal import ANONYMOUS, SCOPES, Principal
from gateway.sessions.auth import Authenticator, bearer
from gateway.sessions.commands import expiry
from gateway.sessions.host_policy import HostPolicy
from gateway.settings import Settings
from tests.support.json_values import JSON
from tests.support.records import deterministic

SECRET = "0123456789abcdef0123456789abcdef"  # noqa: S105 - of this test
FAR = 4_000_000_000
"""2096: later than any test runs."""


def settings(**fields: Any) -> Settings:
    """Settings from nothing but `fields`."""
    return Settings(_env_file=None, **fields)


def authenticator(**fields: Any) -> Authenticator:
    """An authenticator that wants tokens."""
    return Authenticator(settings(auth="jwt", jwt_secret=SECRET, **fields))


def token(key: Any = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    """A token of alice's, unless `claims` say otherwise."""
    return jwt.encode({"sub": "alice", **claims}, key, algorithm=algorithm)


def principal_of(checked: Authenticator, found: str | None) -> Principal:
    """Whoever `found` stands for."""
    return asyncio.run(checked.principal(found))


def refused(found: str | None, checked: Authenticator | None = None) -> str:
    """The message by which `found` is refused."""
    with pytest.raises(GatewayError) as caught:
        principal_of(checked or authenticator(), found)
    assert caught.value.code == "unauthorized"
    return caught.value.message


# --- tokens ---------------------------------------------------------------------------------------------


def test_without_authentication_everybody_is_anonymous() -> None:
    """`none` looks at no token: every scope but the one that lends sandboxes trust."""
    for shown in (None, "rubbish", token()):
        assert principal_of(Authenticator(settings()), shown) == ANONYMOUS
    assert ANONYMOUS.scopes == SCOPES - {"sandbox:server"}


def test_principal_is_what_the_claims_say() -> None:
    """Subject, known scopes, expiry and named tasks come from the token, and unknown scopes are none."""
    found = principal_of(
        authenticator(), token(scope="tasks:read  tasks:write root", exp=FAR, tasks=["t1", "t2"])
    )
    assert (found.subject, found.expires_at) == ("alice", FAR)
    assert found.tasks == frozenset(["t1", "t2"])
    assert found.scopes == {"tasks:read", "tasks:write"}


def test_principal_of_a_bare_token_may_do_nothing() -> None:
    """Without `scope` there are no scopes; without `tasks` it is not narrowed; an empty list is."""
    found = principal_of(authenticator(), token())
    assert (found.scopes, found.tasks, found.expires_at) == (frozenset(), None, None)
    assert principal_of(authenticator(), token(tasks=[])).tasks == frozenset()


def test_token_without_a_good_signature_is_refused() -> None:
    """Another key, no algorithm, another algorithm with the same key, a key pair of the sender's: all no."""
    private = generate_private_key(SECP256R1())
    unsigned = jwt.encode({"sub": "alice"}, "", algorithm="none")
    foreign = [
        token("f" * 32),
        unsigned,
        token(SECRET * 2, "HS384"),
        token(SECRET * 2, "HS512"),
        token(private, "ES256"),
        token()[:-2],
        token() + "A",
        "",
        "a.b.c",
        None,
    ]
    for shown in foreign:
        refused(shown)


@pytest.mark.parametrize("header", [{}, {"alg": ["HS256"]}, {"alg": {}}, {"alg": None}, {"alg": 1}])
def test_token_whose_algorithm_is_no_name_is_refused(header: dict[str, Any]) -> None:
    """Whoever it says that it is of: nobody needs a secret to write such a header."""
    head = base64.urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"=").decode()
    assert refused(f"{head}.{token().partition('.')[2]}") == "The token is not valid here."


def test_token_for_another_algorithm_of_the_same_key_is_refused() -> None:
    """The key is for HS256 alone, whatever a token says of itself."""
    long = "k" * 64
    checked = authenticator(jwt_audience=None)
    own = Authenticator(settings(auth="jwt", jwt_secret=long))
    assert principal_of(own, token(long)).subject == "alice"
    refused(token(long, "HS512"), own)
    refused(token(long), checked)


def test_expired_token_says_so() -> None:
    """Only that is told apart: its client needs a new one."""
    assert refused(token(exp=1_600_000_000)) == "The token has expired."
    assert refused(token(nbf=FAR)) == "The token is not valid here."
    assert refused(None) == "A bearer token is needed."


def test_token_that_was_good_ends_at_its_time() -> None:
    """Its signature is remembered, and its end is not forgotten."""
    now = FAR - 1.0
    checked = Authenticator(settings(auth="jwt", jwt_secret=SECRET), now_s=lambda: now)
    shown = token(exp=FAR)
    assert checked.known(shown) is None
    assert principal_of(checked, shown) == checked.known(shown)
    now = float(FAR)
    assert refused(shown, checked) == "The token has expired."
    assert checked.known(shown) is None


@dataclass
class Holder:
    """Who came with a token."""

    principal: Principal


def test_whose_token_may_have_ended_is_found_among_many(tmp_path: Path) -> None:
    """By the clock; and all of them where any token is revoked."""
    now, file = FAR - 1.0, tmp_path / "revoked"
    file.touch()
    given = settings(auth="jwt", jwt_secret=SECRET, revoked_file=file)
    ending, endless = Holder(Principal("alice", SCOPES, expires_at=FAR)), Holder(ANONYMOUS)
    many = [ending, endless]
    assert Authenticator(given, now_s=lambda: now).suspects(many) == []
    assert Authenticator(given, now_s=lambda: now + 1).suspects(many) == [ending]
    file.write_text("sub bob")
    assert Authenticator(given, now_s=lambda: now).suspects(many) == many


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": ""},
        {"sub": None},
        {"sub": 7},
        {"sub": "al\ud83d"},
        {"jti": "\ud83d"},
        {"tasks": "t1"},
        {"tasks": None},
        {"tasks": ["\ud83d"]},
    ],
)
def test_claims_of_the_wrong_kind_are_refused(claims: dict[str, Any]) -> None:
    """A subject is a string that is not empty, `tasks` a list; half a character is no text that could be kept."""
    refused(token(**claims))


def test_token_without_a_subject_is_refused() -> None:
    """`sub` is needed."""
    refused(jwt.encode({"scope": "admin"}, SECRET, algorithm="HS256"))


@pytest.mark.parametrize("exp", [str(FAR), FAR * 1000, 1e300, True, "never"])
def test_expiry_that_is_no_time_is_refused(exp: Any) -> None:
    """`exp` is a number of seconds up to the year 9999; milliseconds or text are its issuer's mistake."""
    refused(token(exp=exp))


def test_audience_is_checked_where_one_is_set() -> None:
    """With an audience set a token must be for it; without, whatever it names does not matter."""
    ours = authenticator(jwt_audience="gateway")
    assert principal_of(ours, token(aud="gateway")).subject == "alice"
    assert principal_of(ours, token(aud=["x", "gateway"])).subject == "alice"
    refused(token(aud="other"), ours)
    refused(token(), ours)
    assert principal_of(authenticator(), token(aud="other")).subject == "alice"


CLAIMS = st.sampled_from(["sub", "exp", "nbf", "iat", "aud", "scope", "tasks", "iss"])
TIMES = st.one_of(st.integers(0, 10**18), st.floats(0, 1e18), st.integers(0, 10**12).map(str))


@given(st.dictionaries(CLAIMS, st.one_of(JSON, TIMES)))
@deterministic
def test_any_signed_claims_give_a_principal_or_unauthorized(claims: dict[str, Any]) -> None:
    """Whatever an issuer signs, a strange claim is a refusal and not an exception of another kind."""
    signed = jwt.PyJWS().encode(json.dumps({"sub": "alice"} | claims).encode(), SECRET, algorithm="HS256")
    try:
        found = principal_of(authenticator(), signed)
    except GatewayError as problem:
        assert problem.code == "unauthorized"
    else:
        assert isinstance(found.subject, str)
        assert expiry(found) is None or isinstance(expiry(found), str)
        assert found.tasks is None or all(isinstance(task, str) for task in found.tasks)


def _segment(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@given(st.text(max_size=60))
@deterministic
def test_any_text_as_a_token_is_unauthorized(text: str) -> None:
    """Whatever a stranger sends costs a refusal, also bytes of a header that are no UTF-8."""
    for shown in (text, text + "\udcff", f"{text}.{text}.{text}", token() + "." + text):
        refused(shown)


def test_endless_token_is_refused_unread() -> None:
    """Beyond 16 KiB nothing is looked at; a header that nests deep is no way to break us."""
    assert principal_of(authenticator(), token(x="y" * 8_000)).subject == "alice"
    refused(token(x="y" * 20_000))
    refused(_segment(b"[" * 11_000) + ".e30.e30")


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("Bearer abc", "abc"),
        ("bearer  abc ", "abc"),
        ("Bearer", None),
        ("Bearer ", None),
        ("Basic abc", None),
        ("", None),
        (None, None),
    ],
)
def test_bearer_reads_the_header(header: str | None, found: str | None) -> None:
    """The scheme is of any case; another scheme is no token."""
    assert bearer(header) == found


# --- hosts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8080", "localhost", "LocalHost:1", "localhost:"])
def test_host_of_this_machine_is_ours(host: str) -> None:
    """The bound address and `localhost` are answered to, with any port."""
    assert HostPolicy(settings()).allows_host(host)


@pytest.mark.parametrize(
    "host",
    [
        None,
        "",
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "[::1]",
        "127.0.0.2",
        "localhost:evil",
        "localhost:80:80",
        "localhost:123456",
        "localhost ",
        "localhost/",
        "localhost@evil.example",
        "evil.example@localhost",
        "localhost\u0661",
        "localhost:\u0661",
        "127.0.0.1]",
        "[127.0.0.1]",
    ],
)
def test_host_of_others_is_not_ours(host: str | None) -> None:
    """A name that a stranger had resolve to us (DNS rebinding) is refused."""
    assert not HostPolicy(settings()).allows_host(host)


def test_listed_hosts_are_ours() -> None:
    """A listed name is answered to with any port; one listed with its port only with that."""
    policy = HostPolicy(settings(allowed_hosts="Gate.example, other.example:8443"))
    assert policy.allows_host("gate.example")
    assert policy.allows_host("gate.example:443")
    assert policy.allows_host("other.example:8443")
    assert not policy.allows_host("other.example")
    assert not policy.allows_host("other.example:1")


def test_bound_address_is_ours_but_loopback_is_not_then() -> None:
    """Listening on a public address we answer to that; IPv6 is written in brackets, as a Host header does."""
    public: dict[str, Any] = {"auth": "jwt", "jwt_secret": SECRET}
    policy = HostPolicy(settings(host="192.0.2.7", **public))
    assert policy.allows_host("192.0.2.7:8080")
    assert not policy.allows_host("127.0.0.1:8080")
    policy = HostPolicy(settings(host="2001:db8::7", **public))
    assert policy.allows_host("[2001:db8::7]:8080")
    assert policy.allows_host("[2001:db8::7]")
    assert not policy.allows_host("[2001:db8::8]:8080")


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        (None, "localhost:8080", True),
        ("http://localhost:8080", "localhost:8080", True),
        ("https://localhost:8080", "LOCALHOST:8080", True),
        ("http://[::1]:8080", "[::1]:8080", True),
        ("http://localhost:8081", "localhost:8080", False),
        ("http://localhost", "localhost:8080", False),
        ("http://127.0.0.1:8080", "localhost:8080", False),
        ("https://app.example", "localhost:8080", True),
        ("https://APP.example", "localhost:8080", True),
        ("http://app.example", "localhost:8080", False),
        ("https://app.example.evil.example", "localhost:8080", False),
        ("ftp://localhost:8080", "localhost:8080", False),
        ("null", "localhost:8080", False),
        ("", "localhost:8080", False),
        ("http://localhost:8080/", "localhost:8080", False),
        ("http://[", "localhost:8080", False),
        ("http://user@localhost:8080", "localhost:8080", False),
    ],
)
def test_origin_is_our_own_or_a_listed_one(origin: str | None, host: str, allowed: bool) -> None:
    """A page may speak to us from where it is served by us, scheme aside, or from a listed origin."""
    policy = HostPolicy(settings(allowed_origins="https://app.example/"))
    assert policy.allows_origin(origin, host) is allowed


@given(st.text(max_size=40), st.text(max_size=40))
@deterministic
def test_doors_answer_to_any_header(origin: str, host: str) -> None:
    """Whatever the headers hold, the answer is yes or no, and never an exception."""
    policy = HostPolicy(settings())
    assert not policy.allows_origin(f"http://[{origin}", "localhost")
    assert isinstance(policy.allows_host(host), bool)
    assert policy.allows_origin(origin, host) in {True, False}


def test_address_that_was_reached_is_ours() -> None:
    """Where we listen on every address, the one that a connection came to is a name of ours; others stay foreign."""
    policy = HostPolicy(Settings(_env_file=None, host="0.0.0.0", auth="jwt", jwt_secret="x" * 32))  # noqa: S104
    assert policy.allows_host("10.0.0.7:8080", reached="10.0.0.7")
    assert policy.allows_host("[fd00::7]:8080", reached="fd00::7")
    assert not policy.allows_host("10.0.0.8:8080", reached="10.0.0.7")
    assert not policy.allows_host("rebind.example:8080", reached="10.0.0.7")
