"""Tokens signed with published keys: which are taken, how rotation is seen, what an issuer's absence does."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jwt
import pytest
import structlog
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm
from pydantic import ValidationError

from gateway.errors import GatewayError
from gateway.principal import Principal
from gateway.sessions import keys as module
from gateway.sessions.auth import Authenticator
from gateway.sessions.keys import KeysError, KeySet, usable
from gateway.sessions.revoked import Revoked
from gateway.settings import Settings
from tests.support.issuer import Issuer, private_key, public_jwk, signed
from tests.support.waiting import eventually

SECRET = "0123456789abcdef0123456789abcdef"  # noqa: S105 - of this test
LONG = 3600.0


@asynccontextmanager
async def checking(
    issuer: Issuer, *, lifetime_s: float = LONG, **fields: Any
) -> AsyncIterator[Authenticator]:
    """An authenticator that knows where `issuer` publishes its keys, and keeps them fresh."""
    keys = KeySet(issuer.url, lifetime_s=lifetime_s, log=structlog.get_logger())
    settings = Settings(_env_file=None, auth="jwt", jwks_url=issuer.url, **fields)
    running = asyncio.create_task(keys.run())
    try:
        yield Authenticator(settings, keys)
    finally:
        running.cancel()
        await asyncio.wait([running])


async def refusal(authenticator: Authenticator, token: str) -> str:
    """The code by which it is refused."""
    with pytest.raises(GatewayError) as caught:
        await authenticator.principal(token)
    return caught.value.code


ALL = ["RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "EdDSA"]


async def test_every_published_algorithm_opens() -> None:
    """RS, ES and EdDSA, each with its own key, also where a key does not say what it is for."""
    keys = [public_jwk(name, name) for name in ALL]
    keys += [public_jwk(name, f"bare {name}", alg=None, use=None) for name in ALL]
    tokens = [signed(name, kid, jti="7") for name in ALL for kid in (name, f"bare {name}")]
    async with Issuer(*keys).serving() as issuer, checking(issuer) as authenticator:
        for token in tokens:
            found = await authenticator.principal(token)
            assert (found.subject, found.token_id) == ("alice", "7")
        assert issuer.asked == 1


async def test_hs256_is_for_the_secret_alone_and_the_others_for_published_keys_alone() -> None:
    """Both may be set, and neither opens the other's door: not a public key taken for a secret, in no form of it."""
    public = private_key("RS256", "k").public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    published = public_jwk("RS256", "k")
    shared = {
        "kty": "oct",
        "kid": "shared",
        "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0",
        "use": "sig",
    }
    confused = [pem, der, json.dumps(published).encode(), published["n"].encode(), b"secret" * 6]
    forged = [_hs256(key, kid) for key in confused for kid in ("k", "shared")]
    good = jwt.encode({"sub": "bob"}, SECRET, "HS256")
    async with (
        Issuer(published, shared).serving() as issuer,
        checking(issuer, jwt_secret=SECRET) as both,
        checking(issuer) as published_only,
    ):
        assert (await both.principal(good)).subject == "bob"
        assert await refusal(published_only, good) == "unauthorized"
        for token in forged:
            assert await refusal(both, token) == "unauthorized"
            assert await refusal(published_only, token) == "unauthorized"
    secret_only = Authenticator(Settings(_env_file=None, auth="jwt", jwt_secret=SECRET))
    assert await refusal(secret_only, signed("RS256", "k")) == "unauthorized"


def _hs256(key: bytes, kid: str) -> str:
    """A token under the MAC of `key`, which PyJWT would not make with a public one."""
    head, body, _ = jwt.encode({"sub": "eve"}, "x" * 32, "HS256", headers={"kid": kid}).split(".")
    mac = jwt.get_algorithm_by_name("HS256").sign(f"{head}.{body}".encode(), key)
    return f"{head}.{body}.{jwt.utils.base64url_encode(mac).decode()}"


async def test_what_is_not_signed_with_its_key_is_refused() -> None:
    """No algorithm, another key, another name, another key's algorithm, a key that the token brings itself."""
    own = public_jwk("RS256", "mine")
    tokens = [
        jwt.encode({"sub": "alice"}, "", algorithm="none", headers={"kid": "k"}),
        signed("RS256", "k", key="mine"),
        signed("RS256", "nobody's"),
        signed("RS384", "k", key="k"),
        signed("ES256", "k"),
        signed("RS256", "es"),
        jwt.encode(
            {"sub": "alice"}, private_key("RS256", "mine"), "RS256", headers={"jwk": own, "jku": "http://x/"}
        ),
        jwt.encode(
            {"sub": "alice"}, private_key("RS256", "k"), "RS256", headers={"kid": "k", "crit": ["b64"]}
        ),
        jwt.encode({"sub": "alice"}, private_key("RS256", "k"), "PS256", headers={"kid": "k"}),
    ]
    keys = [public_jwk("RS256", "k"), public_jwk("ES256", "es"), public_jwk("RS256", "k2")]
    async with Issuer(*keys).serving() as issuer, checking(issuer) as authenticator:
        assert (await authenticator.principal(signed("RS256", "k"))).subject == "alice"
        for token in tokens:
            assert await refusal(authenticator, token) == "unauthorized"


async def test_token_may_leave_the_name_out_where_there_is_one_key_for_it() -> None:
    """With two of a kind there would be a choice, and it is refused."""
    keys = [public_jwk("RS256", "one"), public_jwk("ES256", "a"), public_jwk("ES256", "b")]
    async with Issuer(*keys).serving() as issuer, checking(issuer) as authenticator:
        assert (await authenticator.principal(signed("RS256", None, key="one"))).subject == "alice"
        assert await refusal(authenticator, signed("ES256", None, key="a")) == "unauthorized"


def test_keys_for_anything_else_verify_nothing() -> None:
    """For encryption, for signing, symmetric, private, small, of an unknown kind, or malformed: passed over."""
    weak = rsa.generate_private_key(65537, 1024).public_key()  # noqa: S505 - what is to be refused
    small = RSAAlgorithm.to_jwk(weak, as_dict=True)
    private = RSAAlgorithm.to_jwk(private_key("RS256", "k"), as_dict=True)
    wrong: list[Any] = [
        public_jwk("RS256", "k", use="enc"),
        public_jwk("RS256", "k", use=7),
        public_jwk("RS256", "k", key_ops=["sign"]),
        public_jwk("RS256", "k", key_ops="verify"),
        public_jwk("RS256", "k", alg="RSA-OAEP"),
        public_jwk("RS256", "k", alg="ES256"),
        public_jwk("RS256", "k", kty=["RSA"]),
        public_jwk("RS256", "k", n="!"),
        public_jwk("ES256", "k", crv="secp256k1"),
        public_jwk("ES256", "k", x="AAAA"),
        {**private, "kid": "k", "alg": "RS256"},
        {"kty": "oct", "k": "A" * 64, "kid": "k", "alg": "HS256"},
        {**public_jwk("RS256", "k"), "kid": 7},
        None,
        7,
        "key",
        [],
        {},
    ]
    assert usable({"keys": wrong}) == {}
    assert set(usable({"keys": [*wrong, public_jwk("RS256", "k")]})) == {("k", "RS256")}
    (found,) = usable({"keys": [{**small, "kid": "k", "alg": "RS256"}]}).values()
    with pytest.raises(jwt.InvalidKeyError):
        jwt.decode(signed("RS256", "k"), found, ["RS256"], options={"enforce_minimum_key_length": True})


@pytest.mark.parametrize("document", [None, [], {}, {"keys": None}, {"keys": {}}, "keys"])
def test_what_is_no_key_set_is_told(document: Any) -> None:
    """An issuer's error page is no sign that it has taken its keys back."""
    with pytest.raises(KeysError):
        usable(document)


async def test_rotation_is_seen_at_once_and_a_flood_of_names_reaches_nobody() -> None:
    """A name that is not known has the keys fetched, once for all who ask, and seldom: strangers make up thousands."""
    async with Issuer(public_jwk("ES256", "old")).serving() as issuer, checking(issuer) as authenticator:
        assert (await authenticator.principal(signed("ES256", "old"))).subject == "alice"
        issuer.keys = [public_jwk("ES256", "new")]
        assert (await authenticator.principal(signed("ES256", "new"))).subject == "alice"
        assert issuer.asked == 2
        assert await refusal(authenticator, signed("ES256", "old")) == "unauthorized"
        forged = [signed("ES256", f"name {n}", key="old") for n in range(200)]
        assert {await refusal(authenticator, token) for token in forged} == {"unauthorized"}
        await asyncio.gather(*(refusal(authenticator, token) for token in forged))
        assert issuer.asked <= 2 + module.UNKNOWN_BURST


async def test_keys_get_old() -> None:
    """One that was taken back opens nothing after the lifetime, although nobody asks for a new one."""
    keys = [public_jwk("ES256", "a"), public_jwk("ES256", "b")]
    async with Issuer(*keys).serving() as issuer, checking(issuer, lifetime_s=0.05) as authenticator:
        assert (await authenticator.principal(signed("ES256", "a"))).subject == "alice"
        del issuer.keys[0]

        async def is_refused() -> bool:
            return not await authenticator.recognises(signed("ES256", "a"))

        await eventually(is_refused)
        assert await authenticator.recognises(signed("ES256", "b"))


async def test_token_that_was_good_is_held_against_the_key_that_has_its_name_now() -> None:
    """That it was looked at before opens nothing: not once its key is another one, and not once it is revoked."""
    async with (
        Issuer(public_jwk("ES256", "a")).serving() as issuer,
        checking(issuer, lifetime_s=0.05) as found,
    ):
        token = signed("ES256", "a")
        for _ in range(2):
            assert (await found.principal(token)).subject == "alice"
            assert found.known(token) is not None
        issuer.keys = [{**public_jwk("ES256", "b"), "kid": "a"}]

        async def is_refused() -> bool:
            return not await found.recognises(token)

        await eventually(is_refused)
        assert found.known(token) is None
        assert await found.recognises(signed("ES256", "a", key="b"))


@pytest.mark.parametrize("answer", [500, 302, b"", b"<html>", b"[" * 5000, b'{"keys":7}', b" " * (300 << 10)])
async def test_issuer_in_trouble_is_unavailable_and_what_is_known_goes_on(answer: bytes | int) -> None:
    """Errors, redirects, rubbish, endless answers: nobody is called unauthorized for it who may be honest."""
    async with Issuer(public_jwk("ES256", "k")).serving() as issuer:
        issuer.answer = answer
        async with checking(issuer, jwt_secret=SECRET) as authenticator:
            assert await refusal(authenticator, signed("ES256", "k")) == "unavailable"
            assert (
                await authenticator.principal(jwt.encode({"sub": "bob"}, SECRET, "HS256"))
            ).subject == "bob"
            issuer.answer = None
            assert (await authenticator.principal(signed("ES256", "k"))).subject == "alice"
            issuer.answer = answer
            assert await refusal(authenticator, signed("ES256", "new")) == "unauthorized"
            assert (await authenticator.principal(signed("ES256", "k"))).subject == "alice"


async def test_issuer_that_hangs_or_is_not_there_has_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps a handshake as long as one fetch takes at most, and the loop not at all."""
    monkeypatch.setattr(module, "FETCH_S", 0.1)
    async with Issuer(public_jwk("ES256", "k")).serving() as issuer:
        issuer.hangs = True
        async with checking(issuer) as authenticator, asyncio.timeout(30):
            assert await refusal(authenticator, signed("ES256", "k")) == "unavailable"
    async with checking(issuer) as authenticator, asyncio.timeout(30):
        assert await refusal(authenticator, signed("ES256", "k")) == "unavailable"


# --- claims ------------------------------------------------------------------------------------------


def checked(**fields: Any) -> Authenticator:
    """An authenticator with a secret."""
    return Authenticator(Settings(_env_file=None, auth="jwt", jwt_secret=SECRET, **fields))


def of_secret(**claims: Any) -> str:
    """A token of alice's under the secret."""
    return jwt.encode({"sub": "alice", **claims}, SECRET, "HS256")


async def test_issuer_whose_clock_is_a_little_ahead_is_believed() -> None:
    """A few seconds before `nbf` and `iat` a token opens; after `exp` it does not, as an open socket closes then."""
    now = time.time()
    for claim in ("nbf", "iat"):
        assert (await checked().principal(of_secret(**{claim: int(now) + 4}))).subject == "alice"
        assert await refusal(checked(), of_secret(**{claim: int(now) + 60})) == "unauthorized"
        assert await refusal(checked(jwt_leeway_s=0), of_secret(**{claim: int(now) + 4})) == "unauthorized"
    assert await refusal(checked(), of_secret(exp=int(now) - 1)) == "unauthorized"


async def test_end_is_required_where_that_is_configured() -> None:
    """A token that never ends is for who wants it so."""
    assert (await checked().principal(of_secret())).expires_at is None
    strict = checked(jwt_require_exp=True)
    assert await refusal(strict, of_secret()) == "unauthorized"
    assert (await strict.principal(of_secret(exp=4_000_000_000))).expires_at == 4_000_000_000


@pytest.mark.parametrize(
    "url", ["http://issuer.example/", "ftp://x/", "https://", "https://u:p@x/", "file:///etc/passwd"]
)
def test_address_of_keys_must_be_one_that_nobody_can_forge(url: str) -> None:
    """Over plain HTTP from elsewhere the keys could be anybody's."""
    with pytest.raises(ValidationError, match="GATEWAY_JWKS_URL"):
        Settings(_env_file=None, auth="jwt", jwks_url=url)


async def test_revoked_token_ends_while_it_is_in_use(tmp_path: Path) -> None:
    """A line in the operator's file ends one token, or all of a subject's; another's is untouched."""
    file = tmp_path / "revoked"
    file.write_text("jti other\n")
    authenticator = checked(revoked_file=file)
    alice, bob = [
        await authenticator.principal(of_secret(sub=sub, jti=f"of {sub}")) for sub in ("alice", "bob")
    ]
    nameless = await authenticator.principal(of_secret(sub="None"))
    link = await authenticator.principal(of_secret(sub="carol", ends_with=["sub alice", "jti of bob"]))
    odd = await authenticator.principal(of_secret(sub="dave", ends_with="sub alice"))
    now = 0.0
    revoked = Revoked(file, lambda: now)
    assert not revoked.has(alice)
    for line, gone in {
        "jti of alice": [alice],
        "sub bob": [bob],
        "jti of bob": [bob, link],
        "jti None": [],
        "": [],
        "sub alice\nsub bob": [alice, bob, link],
    }.items():
        file.write_text(line + "\n\n")
        now += 10.0
        assert [who for who in (alice, bob, nameless, link, odd) if revoked.has(who)] == gone
    file.unlink()
    now += 10.0
    assert revoked.has(alice)
    assert not Revoked(None).has(Principal("alice", frozenset()))


async def test_revoked_token_is_refused(tmp_path: Path) -> None:
    """It says so: its client needs a new one."""
    (tmp_path / "revoked").write_text("sub alice\n")
    assert await refusal(checked(revoked_file=tmp_path / "revoked"), of_secret()) == "unauthorized"
