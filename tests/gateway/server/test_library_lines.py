"""What libraries log comes out as our own lines do."""

import asyncio
import logging

import pytest

from gateway.server import logs
from tests.support.logs_restored import logs_restored


def test_what_asyncio_says_without_an_exception_is_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its handler gives False for the exception that there is none of; the words must not be lost for that."""
    theirs = logging.getLogger(
        "asyncio"
    )  # as in a process of its own: other tests' libraries may have turned it off
    for name, value in (
        ("disabled", False),
        ("propagate", True),
        ("level", logging.NOTSET),
        ("handlers", []),
    ):
        monkeypatch.setattr(theirs, name, value)
    theirs.manager._clear_cache()  # type: ignore[attr-defined]
    with logs_restored():
        logs.configure("json", "warning")
        loop = asyncio.new_event_loop()
        loop.call_exception_handler({"message": "a connection was left open"})
        loop.close()
    said = capsys.readouterr().err
    assert "a connection was left open" in said
    assert "TypeError" not in said
