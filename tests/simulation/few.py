"""What is done for many is done for the few of a seed."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from gateway.fanout import hub
from gateway.state.sqlite import newest


@contextmanager
def few_are_many() -> Iterator[None]:
    """Inside the block two followers are told in slices, and a commit of two tasks is a crowd's."""
    with patch.object(hub, "MANY", 2), patch.multiple(newest, CROWD=2, MOST=8, PARTS=4, RUN=3):
        yield
