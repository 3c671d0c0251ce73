"""Logs that a test configures in its own process, as a command does."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import structlog


@contextmanager
def logs_restored() -> Iterator[None]:
    """After the block logs are as they were: the next test's would go to a stream that is closed by then."""
    root = logging.getLogger()
    before, handlers, level = structlog.get_config(), root.handlers, root.level
    try:
        yield
    finally:
        structlog.configure(**before)
        root.handlers = handlers
        root.setLevel(level)
