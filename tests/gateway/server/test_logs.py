"""A line of the log is one line, whoever said what is in it."""

import json
import subprocess
import sys
from typing import Final

import pytest

SAID: Final = "alice\n2026-01-01 [info] FAKE \x1b[31m\u202e\r\0"
SCRIPT: Final = """
import logging, sys
from gateway.server import logs
said, kind = sys.argv[1].encode().decode("unicode_escape"), sys.argv[2]
logs.configure(kind, "info")
log = logs.get(instance="i")
log.info("client connected", subject=said)
logging.getLogger("library").warning("heard %s", said)
try:
    secret_token = "ey" + "secret"
    raise ValueError(said)
except ValueError:
    log.exception("the agent failed", task_id=said)
log.debug("not at this level")
"""


def lines_of(kind: str) -> list[str]:
    """What is written to standard error in that form."""
    said = SAID.encode("unicode_escape").decode()
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, said, kind], capture_output=True, check=True, timeout=60
    )
    text = done.stderr.decode()
    assert "eysecret" not in text, "a variable of a frame is in the log"
    assert not set(text) & {"\x1b", "\u202e", "\r", "\0"}
    return text.removesuffix("\n").split("\n")


def test_json_line_is_one_object() -> None:
    """Also of a library, and of an exception with its stack; nothing below the level."""
    told = [json.loads(line) for line in lines_of("json")]
    assert [line["event"][:5] for line in told] == ["clien", "heard", "the a"]
    assert all({"timestamp", "level", "event"} <= line.keys() for line in told)
    assert (told[0]["subject"], told[1]["library"]) == (SAID, "library")


@pytest.mark.parametrize("kind", ["console"])
def test_console_line_begins_with_its_time(kind: str) -> None:
    """Or it is part of a stack, and says so."""
    lines = lines_of(kind)
    begun = [line for line in lines if not line.startswith("  | ")]
    assert len(begun) == 3
    assert all(line.startswith("20") and "[" in line for line in begun)
    assert len(lines) > len(begun)
