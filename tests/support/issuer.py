"""An issuer of tokens: it signs them, and publishes its public keys by a real HTTP server on loopback."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import jwt
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

PATH = "/.well-known/jwks.json"


@cache
def private_key(algorithm: str, name: str = "") -> Any:
    """A private key for `algorithm`, the same for the same `name`."""
    if algorithm.startswith("RS"):
        return rsa.generate_private_key(65537, 2048)
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    curves = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
    return ec.generate_private_key(curves[algorithm])


def public_jwk(algorithm: str, kid: str | None, **more: Any) -> dict[str, Any]:
    """What is published of `private_key(algorithm, kid)`; None in `more` leaves a member out."""
    public = private_key(algorithm, kid or "").public_key()
    kinds: dict[str, Any] = {"R": RSAAlgorithm, "S": ECAlgorithm, "d": OKPAlgorithm}
    jwk = kinds["R" if algorithm[0] == "R" else algorithm[1]].to_jwk(public, as_dict=True)
    jwk.pop("key_ops", None)
    said = {**jwk, "kid": kid, "alg": algorithm, "use": "sig", **more}
    return {name: value for name, value in said.items() if value is not None}


def signed(algorithm: str, kid: str | None, *, key: str | None = None, **claims: Any) -> str:
    """A token of alice's, unless `claims` say otherwise, signed with `private_key(algorithm, key or kid)`."""
    headers = {} if kid is None else {"kid": kid}
    body = {"sub": "alice", "scope": "tasks:read tasks:write", **claims}
    return jwt.encode(body, private_key(algorithm, key or kid or ""), algorithm=algorithm, headers=headers)


class Issuer:
    """Publishes `keys`, or does as `answer` says."""

    def __init__(self, *keys: dict[str, Any]) -> None:
        self.keys = list(keys)
        self.answer: bytes | int | None = None
        """Other bytes, or a status; None publishes the keys."""
        self.hangs = False
        self.asked = 0
        self.url = ""

    async def _jwks(self, _request: web.Request) -> web.Response:
        self.asked += 1
        if self.hangs:
            await asyncio.Event().wait()
        if isinstance(self.answer, int):
            return web.Response(status=self.answer, headers={"Location": PATH})
        body = json.dumps({"keys": self.keys}).encode() if self.answer is None else self.answer
        return web.Response(body=body, content_type="application/json")

    @asynccontextmanager
    async def serving(self, port: int | None = None) -> AsyncIterator["Issuer"]:
        """It, at its `url`, inside the block."""
        app = web.Application()
        app.router.add_get(PATH, self._jwks)
        server = TestServer(app, host="127.0.0.1", port=port)
        await server.start_server()
        self.url = str(server.make_url(PATH))
        try:
            yield self
        finally:
            await server.close()
