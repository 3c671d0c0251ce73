"""The log of real work: each line is an object that says whose it is, and nothing of what people said."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import running_gateway
from tests.support.http_calls import SECRET, as_client, token

pytestmark = pytest.mark.journey

WORD = "quince-marmalade"
"""What a user says, everywhere that a user can say something."""


def is_of_run(line: dict[str, Any]) -> bool:
    """Whether a line is about an attempt."""
    return "attempt" in line


async def test_every_line_says_whose_it_is(tmp_path: Path) -> None:
    """Instance in all, session and subject of clients, task, attempt and trace of runs; no token, no text of users."""
    env = {"GATEWAY_AUTH": "jwt", "GATEWAY_JWT_SECRET": SECRET, "GATEWAY_LOG_LEVEL": "debug"}
    async with running_gateway(tmp_path / "data", env=env) as gateway:
        async with as_client(gateway, "mallory\nlevel=error") as me:
            given = {"commands": [f"echo {WORD}; echo {WORD} >&2; exit 3"], "files": {WORD: WORD}}
            task_id = await me.submit(input=given, labels={WORD: WORD}, idempotency_key=WORD)
            await me.until_ended(task_id)
            await me.ask("cancel_task", task_id=task_id, reason=WORD)
            await me.ask(WORD)
        assert await gateway.stop() == 0
    text = (tmp_path / "data.log").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert len({line["instance"] for line in lines}) == 1, [line for line in lines if "instance" not in line]
    of_clients = [line for line in lines if line["event"].startswith("client ")]
    assert {line["session_id"] for line in of_clients} == {me.welcome["session_id"]}
    assert {line["subject"] for line in of_clients} == {"mallory\nlevel=error"}
    assert len(of_clients) == 2
    runs = [line for line in lines if is_of_run(line)]
    assert {(line["task_id"], line["attempt"], line["trace_id"]) for line in runs} == {
        (task_id, 1, task_id.replace("-", ""))
    }
    assert WORD not in text
    assert token("mallory\nlevel=error").split(".")[1] not in text
