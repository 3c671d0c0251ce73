"""What is kept of a sandbox's words, and what is counted of them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox_bridge.inbox import Inbox, credit_cost


def said(text: str) -> dict[str, Any]:
    """Output."""
    return {"kind": "output", "text": text}


@pytest.mark.parametrize(
    ("progress", "cost"),
    [
        ({"kind": "output", "text": "é✓"}, 5),
        ({"kind": "file_chunk", "base64": "AAAA"}, 4),
        ({"kind": "phase", "text": "free"}, 0),
        ({"kind": "output", "text": 7}, 0),
        ({"kind": ["output"]}, 0),
        ({}, 0),
    ],
)
def test_credit_is_spent_by_output_and_files(progress: dict[str, Any], cost: int) -> None:
    """The bytes of an output's text and of a file piece's base64 cost credit, and nothing else does."""
    assert credit_cost(progress) == cost


def test_frame_that_came_before_is_told_apart() -> None:
    """A number that came, or a lower one, is a double; frames without numbers never are."""
    inbox = Inbox(after_seq=3)
    assert [inbox.receive(seq) for seq in (3, 4, None, 4, 6, 5)] == [False, True, True, False, True, False]


def test_taken_seq_is_that_of_the_last_progress_taken() -> None:
    """Who stores what he takes knows how far he has got."""
    inbox = Inbox()
    for seq in (1, 2):
        inbox.receive(seq)
        inbox.put(said("x"), 1)
    inbox.take()
    assert (inbox.taken_seq, inbox.received_seq) == (1, 2)


def test_left_inbox_is_settled_with_whatever_comes() -> None:
    """Where nobody takes, nothing has to be said again."""
    inbox = Inbox()
    inbox.receive(1)
    inbox.put(said("x"), 1)
    inbox.close()
    inbox.receive(2)
    inbox.put(said("y"), 1)
    assert (inbox.settled_seq, inbox.take()) == (2, None)


@given(costs=st.lists(st.integers(0, 5), max_size=30), grants=st.lists(st.integers(0, 7), max_size=30))
def test_settled_is_what_is_granted_from_the_front(costs: list[int], grants: list[int]) -> None:
    """However it is granted, all frames up to `settled_seq` are paid for, and the next one is not."""
    inbox = Inbox()
    paid = 0
    for seq, cost in enumerate(costs, 1):
        inbox.receive(seq)
        inbox.put(said("x" * cost), cost)
        granted = min(grants.pop() if grants else 0, sum(costs[:seq]) - paid)
        paid += granted
        inbox.grant(granted)
        settled = inbox.settled_seq
        assert sum(costs[:settled]) + inbox.over_bytes == paid
        assert settled == seq or sum(costs[: settled + 1]) > paid
