"""The `Host` of an agent that the gateway runs: its events, questions and checkpoints go to its run's context."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson
from pydantic_core import to_jsonable_python

from gateway.agents.runner import AgentHandle, RunContext, Sent
from gateway.agents.running_time import RunningTime
from gateway.events import Draft, cut_text

MAX_MESSAGE_BYTES: Final = 8 << 10
"""Of a line that an agent logs."""
MAX_QUESTION_BYTES: Final = 64 << 10
"""Of a question as JSON: it stands in its task, and so in every list of tasks, until it is answered."""
MAX_KEY_CHARS: Final = 200
"""Of a question's key: no input comes with a longer one."""


class Conversation:
    """The host of one run's agent. `handle` is set before the agent begins."""

    handle: AgentHandle

    def __init__(self, context: RunContext, time: RunningTime) -> None:
        self.heard = 0
        """How many inputs have come."""
        self._context = context
        self._time = time
        self._stopped_by: set[str] = set()
        self._answers: dict[str, Any] = {}
        self._moved = asyncio.Event()

    # --- what the agent says ------------------------------------------------------------------------------

    async def progress(self, data: Mapping[str, Any]) -> None:
        """See `Host.progress`; raises TypeError where an agent yields anything else."""
        # The first says so of almost all, for a tenth of what the second costs.
        if type(data) is not dict and not isinstance(data, Mapping):
            raise TypeError(f"an agent yields dicts, and this is a {type(data).__name__}")
        shaped: dict[str, Any] = to_jsonable_python(data)  # a copy, all through
        phase = shaped["phase"] = str(data.get("phase", "agent"))
        shaped["status"] = str(data.get("status", phase))
        shaped["progress"] = _percent(data.get("progress"))
        draft = Draft("progress", shaped)
        if not self._context.emit_nowait(draft):
            await self._context.emit(draft)

    def log(self, level: str, message: str) -> None:
        """See `Host.log`."""
        # What is no text, such as a file's name that is no UTF-8, is no reason to fail.
        text = message.encode(errors="replace").decode()
        self._context.emit_nowait(
            Draft("log", {"level": level, "message": cut_text(text, MAX_MESSAGE_BYTES)})
        )

    async def keep(self, agent_name: str, data: Mapping[str, Any]) -> str:
        """See `Host.keep`."""
        phase = data.get("phase")
        step_name = phase if isinstance(phase, str) else f"agent_{agent_name}_checkpoint"
        return await self._context.memory.keep(step_name, agent_name, data)

    async def load(self, checkpoint_id: str) -> dict[str, Any] | None:
        """See `Host.load`."""
        return await self._context.memory.load(checkpoint_id)

    def stands_still(self) -> None:
        """See `Host.stands_still`."""
        self._context.steered_by(self.handle)

    # --- what it asks -------------------------------------------------------------------------------------

    async def ask(self, key: str, prompt: str, schema: Mapping[str, Any] | None) -> Any:
        """See `Host.ask`."""
        # What earlier attempts were told comes first: nobody is asked twice.
        await self._until(lambda: self.heard >= self._context.task.inputs or key in self._answers)
        if key in self._answers:
            return self._answers[key]
        question = _question({"key": key, "prompt": prompt} | ({} if schema is None else {"schema": schema}))
        self.stop_time(key)
        await self._context.memory.asked(question)
        await self._until(lambda: key in self._answers)
        await self._context.memory.answered(key)
        self.start_time(key)
        return self._answers[key]

    def hear(self, sent: Sent) -> None:
        """The next input has come; what has no key answers nothing."""
        self.heard += 1
        if sent.key is not None:
            self._answers.setdefault(sent.key, sent.data)
        self._moved.set()

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            self._moved.clear()
            await self._moved.wait()

    # --- time ---------------------------------------------------------------------------------------------

    def stop_time(self, why: str) -> None:
        """The running time stands still, for one reason more."""
        self._stopped_by.add(why)
        self._time.stop()

    def start_time(self, why: str) -> None:
        """One reason less; with none it goes on."""
        self._stopped_by.discard(why)
        if not self._stopped_by:
            self._time.start()


def _question(asked: dict[str, Any]) -> dict[str, Any]:
    """What is asked, if it can be shown and answered. Raises ValueError, and TypeError for what JSON can't say."""
    if (size := len(orjson.dumps(asked))) > MAX_QUESTION_BYTES:
        raise ValueError(f"a question of {size} bytes; at most {MAX_QUESTION_BYTES} are asked")
    if not 1 <= len(asked["key"]) <= MAX_KEY_CHARS or "\0" in asked["key"]:
        raise ValueError(f"a question's key has 1 to {MAX_KEY_CHARS} characters and no NUL")
    return asked


def _percent(value: Any) -> float | None:
    if value is None or isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if 0 <= value <= 100 else None
