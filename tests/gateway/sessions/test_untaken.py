"""Answers that their client does not take."""

from pathlib import Path
from typing import Any

import pytest

from gateway.sessions import connection
from gateway.sessions.client_socket import ClientSocket
from tests.support.gateway import client
from tests.support.in_process import serving
from tests.support.waiting import eventually

SIZE = 250_000
ASKED = 60


async def test_who_takes_no_answers_is_heard_no_more_until_he_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fifteen MiB of them are not kept: his socket is not read. Once he takes them he has all, and is heard again."""
    sockets: list[ClientSocket] = []

    def made(*given: Any, **named: Any) -> ClientSocket:
        sockets.append(ClientSocket(*given, **named))
        return sockets[-1]

    monkeypatch.setattr(connection, "ClientSocket", made)
    async with (
        serving(tmp_path / "data") as url,
        # Whoever has two messages to look at reads no more.
        client(url.replace("http", "ws", 1) + "/ws", max_queue=2) as me,
    ):
        task = (await me.ask("submit_task", mode="background", input={"commands": ["#" * SIZE]}))["task"]
        transport = sockets[0].transport

        async def is_not_read() -> bool:
            return not transport.is_reading()

        sent = [await me.send("get_task", task_id=task["task_id"], include_input=True) for _ in range(ASKED)]
        await eventually(is_not_read)
        sent.append(await me.send("ping"))
        assert [(await me.answer(one))["type"] for one in sent] == ["result"] * (ASKED + 1)
        assert transport.is_reading()
