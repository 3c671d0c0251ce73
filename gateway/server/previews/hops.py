"""The proof with which one instance asks another for a site that only that one can reach.

A request that carries it is not handed on a second time. It is a MAC of the label and of who is asked, by a secret of
the store's: instances make it without asking each other, and nobody else can. No site ever sees it.
"""

import hashlib
import hmac
from typing import Final

HEADER: Final = "Gateway-Hop"


class Hops:
    """Makes and checks the proofs; `secret` is the store's."""

    def __init__(self, secret: bytes) -> None:
        self._key = hmac.digest(secret, b"a preview's hop between instances", hashlib.sha256)

    def proof(self, label: str, holder: str) -> str:
        """For asking `holder`, an instance's URL, for the site of `label`."""
        return hmac.digest(self._key, f"{label}\n{holder}".encode(), hashlib.sha256).hex()

    def holds(self, said: str | None, label: str, holder: str | None) -> bool:
        """Whether what a request said is the proof for asking `holder`."""
        if said is None or holder is None:
            return False
        return hmac.compare_digest(said.encode(), self.proof(label, holder).encode())
