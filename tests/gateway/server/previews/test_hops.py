"""The proof of a hop: of one label, to one instance, by those who share the store."""

import pytest

from gateway.server.previews.hops import Hops

LABEL, OTHER_LABEL = "0" * 32, "1" * 32
HERE, THERE = "http://here:8080", "http://there:8080"


def test_proof_holds_for_its_label_at_its_instance() -> None:
    """Made by any instance of the store."""
    assert Hops(b"secret").holds(Hops(b"secret").proof(LABEL, HERE), LABEL, HERE)


@pytest.mark.parametrize(
    "said",
    [
        None,
        "",
        "é",
        "0" * 64,
        Hops(b"other secret").proof(LABEL, HERE),
        Hops(b"secret").proof(OTHER_LABEL, HERE),
        Hops(b"secret").proof(LABEL, THERE),
    ],
)
def test_what_a_stranger_says_is_none(said: str | None) -> None:
    """Of another store, label or instance, or made up; and an instance without an address is asked by nobody."""
    assert not Hops(b"secret").holds(said, LABEL, HERE)
    assert not Hops(b"secret").holds(Hops(b"secret").proof(LABEL, HERE), LABEL, None)
