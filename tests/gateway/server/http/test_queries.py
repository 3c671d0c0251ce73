"""What HTTP takes beside the socket's bodies, within the same bounds."""

from typing import Any

import pytest

from gateway.errors import GatewayError
from gateway.frames import WishBody
from gateway.server.http.bodies import checked
from gateway.server.http.events import MAX_PAGE, EventsQuery
from gateway.server.http.routes import number


@pytest.mark.parametrize("wrong", [{"reason": "x" * 4097}, {"reason": "a\0"}, {"reason": 1}, {"why": "x"}])
def test_reason_has_the_sockets_bounds(wrong: dict[str, Any]) -> None:
    """A reason becomes part of an event, which has to fit into a frame."""
    with pytest.raises(GatewayError) as caught:
        checked(WishBody, wrong)
    assert caught.value.code == "bad_frame"
    assert checked(WishBody, {"reason": "x" * 4096}).reason == "x" * 4096


@pytest.mark.parametrize("wrong", [{"after_seq": -1}, {"limit": 0}, {"limit": MAX_PAGE + 1}, {"limit": "x"}])
def test_events_query_has_bounds(wrong: dict[str, Any]) -> None:
    """From 0 on, and no more than 10000 a page; 1000 where nothing is said."""
    with pytest.raises(GatewayError) as caught:
        checked(EventsQuery, wrong)
    assert caught.value.code == "bad_frame"
    assert (checked(EventsQuery, {}).after_seq, checked(EventsQuery, {}).limit) == (0, 1000)


@pytest.mark.parametrize(
    ("text", "read"),
    [("0", 0), ("7", 7), ("-1", "-1"), ("1.0", "1.0"), ("٣", "٣"), ("", ""), ("9" * 20, "9" * 20)],
)
def test_number_reads_digits_and_leaves_the_rest_to_be_refused(text: str, read: int | str) -> None:
    """What is no plain number stays text, which the query's type then refuses."""
    assert number(text) == read
