"""Sends an attack into a jail, and has what came of it."""

import inspect
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.escapes.attacks import attempts, inside
from tests.escapes.host import Bait
from tests.support.bare_client import Client, Frame, client

Result = TypeVar("Result")
_PACKAGE = Path(inside.__file__).parent


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attack's task ended."""

    report: Any
    """What the attack returned; None where it did not come to that."""
    end: Frame
    stdout: str
    stderr: str

    @property
    def reason(self) -> str | None:
        """The failure's reason, or None where the task completed."""
        reason: str | None = self.end.get("error_info", {}).get("reason")
        return reason

    @property
    def code(self) -> str | None:
        """The failure's code, or None where the task completed."""
        code: str | None = self.end.get("error_info", {}).get("code")
        return code


class Range:
    """Where attacks are made: each in a jail of its own, after it has proved that it is in one."""

    def __init__(self, url: str, bait: Bait) -> None:
        self.url = url
        self._bait = bait

    async def __call__(self, attack: Callable[..., Result], *arguments: Any) -> Result:
        """What `attack` returned inside; it must have come to its end."""
        outcome = await self.outcome(attack, *arguments)
        if outcome.end["type"] != "task_completed":
            pytest.fail(f"{attack.__name__}: {outcome.end}")
        result: Result = outcome.report
        return result

    async def outcome(
        self, attack: Callable[..., object], *arguments: Any, limits: dict[str, Any] | None = None
    ) -> Outcome:
        """How the task ended that ran `attack` as its only command."""
        async with client(self.url) as bare:
            await bare.greet()
            session_id = await self.start(bare, attack, *arguments, limits=limits)
            _, end = await bare.session(session_id)
        return _outcome(end)

    async def start(self, bare: Client, attack: Callable[..., object], *arguments: Any, **fields: Any) -> str:
        """Send the task over `bare`; returns its session's id. `fields` are the task's, None those left out."""
        session_id = f"escape-{secrets.token_hex(4)}"
        given = {name: value for name, value in fields.items() if value is not None}
        await bare.say(
            "execute_task",
            session_id,
            files=self.files(attack, *arguments),
            commands=[COMMAND, *given.pop("then", [])],
            **given,
        )
        return session_id

    def files(self, attack: Callable[..., object], *arguments: Any) -> dict[str, str]:
        """What the jail needs to make `attack`, after the proof that it is one."""
        order = {
            "marker": self._bait.marker,
            "file": self._bait.file,
            "module": attack.__module__,
            "attack": attack.__name__,
            "arguments": arguments,
        }
        sources = {Path(inspect.getfile(item)) for item in (attack, attempts, inside)}
        files = {f"tests/escapes/attacks/{path.name}": path.read_text(encoding="utf-8") for path in sources}
        return {**files, "order.json": json.dumps(order)}


COMMAND = {"argv": ["/usr/bin/python3", "-I", "-S", f"tests/escapes/attacks/{Path(inside.__file__).name}"]}


def _outcome(end: Frame) -> Outcome:
    result = end.get("result") or end["error_info"].get("result") or {"commands": []}
    first = (result["commands"] or [{"stdout": "", "stderr": ""}])[0]
    reports = [line for line in first["stdout"].splitlines() if line.startswith(inside.REPORT)]
    report = json.loads(reports[-1].removeprefix(inside.REPORT)) if reports else None
    return Outcome(report, end, first["stdout"], first["stderr"])
