"""The audit log: who changed what, by which way and token, and who was not let."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import running_gateway
from tests.support.http_calls import SECRET, as_client, bearer, call, session

pytestmark = pytest.mark.journey


async def test_what_is_changed_is_noted_and_what_is_read_is_not(tmp_path: Path) -> None:
    """One JSON object a line: when, who, by which token, what, to what, and how it went; no token, and no input."""
    file = tmp_path / "audit.jsonl"
    env = {"GATEWAY_AUTH": "jwt", "GATEWAY_JWT_SECRET": SECRET, "GATEWAY_AUDIT_FILE": str(file)}

    def lines() -> list[dict[str, Any]]:
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    async with running_gateway(tmp_path / "data", "--no-local-sandbox", env=env) as gateway:
        async with as_client(gateway, jti="j1") as me:
            task_id = await me.submit("echo hush", mode="background")
            await me.ask("get_task", task_id=task_id)
            await me.ask("cancel_task", task_id=task_id, reason="x\n{}")
        async with session(gateway, bearer("bob")) as http:
            await call(http, "GET", "/v1/tasks")
            made = (await call(http, "POST", "/v1/tasks", json={})).headers["Location"]
            await call(http, "POST", f"/v1/tasks/{task_id}/pause", json={})
            shared = (await call(http, "POST", f"{made}/share")).body
            file.rename(tmp_path / "rotated")
            await call(http, "GET", "/metrics")
        before = [json.loads(line) for line in (tmp_path / "rotated").read_text().splitlines()]
        told = [(line["subject"], line["via"], line["action"], line["outcome"]) for line in before + lines()]
        assert told == [
            ("alice", "socket", "submit_task", "ok"),
            ("alice", "socket", "cancel_task", "ok"),
            ("bob", "http", "submit_task", "ok"),
            ("bob", "http", "pause_task", "task_not_found"),
            ("bob", "http", "share_task", "ok"),
            ("bob", "http", "metrics", "forbidden"),
        ]
        assert [line.get("task_id") for line in before] == [
            task_id,
            task_id,
            None,
            task_id,
            made.rpartition("/")[2],
        ]
        assert (before[0]["token_id"], before[2]["made"]) == ("j1", made)
        assert before[4]["made"] == shared["token_id"]
        assert {"time", "instance", "narrow"} <= before[0].keys()
        text = (tmp_path / "rotated").read_text() + file.read_text()
        assert "hush" not in text
        assert SECRET not in text
        assert shared["token"] not in text
