"""The agent `sandbox`: files and commands, run by a sandbox as they are."""

import asyncio
import dataclasses
import functools
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

import orjson

from gateway.agents.collected import Collected
from gateway.agents.runner import Agent, PlaceLostError, RunContext, TaskCancelledError, TaskFailedError
from gateway.agents.sandbox_handle import SandboxHandle
from gateway.agents.sandbox_input import SandboxInput, checked, has_stdin, want
from gateway.agents.sites import AS_SAID, AsSaid, RunSites, Sites
from gateway.errors import TASK_ERRORS
from gateway.events import MAX_TEXT_BYTES, Draft, cut_text, split_text
from gateway.files import Stored
from gateway.frames import DEFAULT_TIMEOUT_S
from gateway.tasks import TaskRecord, TaskStatus
from sandbox_bridge.bridge import Bridge, BridgeSession, FormerSession, TaskSpec
from sandbox_bridge.errors import SandboxBusy, SandboxLost, SessionDropped, TaskFailed
from sandbox_bridge.spec import FilePiece

MAX_WORDS: Final = 16
MAX_WORDS_BYTES: Final = 1 << 10
MAX_WORD_CHARS: Final = 64
"""What a sandbox may say of its progress in words of its own: so many, each so long, by such names."""
MAX_SAID_BYTES: Final = 256 << 20
"""What a sandbox may say in one attempt that holds to no limits but its owner's: all of it is kept until the task ends.
Others hold their tasks to `SANDBOX_MAX_OUTPUT_BYTES`."""
EVENT_BYTES: Final = 200
"""Of an event in the log, beside its data."""
END_GRACE_S: Final = 5.0
"""How much longer than its running time a task gets for its sandbox to tell of the end."""


async def run(context: RunContext, *, sites: Sites | AsSaid = AS_SAID) -> dict[str, Any]:
    """One attempt: a session in the sandbox from begin to end.

    `sites` says what is shown of the sites that it puts up.
    """
    bridge = context.bridge
    if bridge is None:
        raise PlaceLostError("sandbox_lost", "the sandbox is gone")
    try:
        async with context.session or bridge.open(context.sandbox_session, _spec(context)) as session:
            await _taken_up(session)
            async with asyncio.timeout(context.time_left_s + END_GRACE_S) as scope:
                return await _run_in(session, context, sites.of(context, bridge), scope)
    except TimeoutError:
        message = "The task ran longer than its timeout_s."
        raise TaskFailedError("timeout", message, exit_code=None, reason="timeout", result=None) from None
    except SandboxBusy as error:
        raise PlaceLostError("busy", str(error)) from error
    except SandboxLost as error:
        raise PlaceLostError("sandbox_lost", str(error)) from error
    except TaskFailed as error:
        raise _translated(error, cancel_wanted=context.cancel_wanted.is_set()) from error


def take_up(bridge: Bridge, task: TaskRecord, time_left_s: float) -> BridgeSession:
    """See `Agent.take_up`."""
    place = task.place or {}
    former = FormerSession(
        sandbox_id=task.sandbox_id or "",
        boot_id=place["boot_id"],
        after_seq=task.place_seq,
        timeout_s=time_left_s,
        is_paused=task.status is TaskStatus.PAUSED,
        inputs=task.inputs,
    )
    return bridge.adopt(place["session_id"], former)


async def _taken_up(session: BridgeSession) -> None:
    try:
        await session.wait_taken_up()
    except SessionDropped as error:
        raise PlaceLostError("instance_lost", str(error)) from error


async def _run_in(
    session: BridgeSession, context: RunContext, shown: RunSites | AsSaid, scope: asyncio.Timeout
) -> dict[str, Any]:
    context.on_output_durable = session.grant_nowait
    collected = Collected(context.keep_files, session.grant_nowait, session_id=context.sandbox_session)
    if context.session is not None:
        await _restore(collected, context)
    handle = SandboxHandle(session, scope, paused=context.task.status is TaskStatus.PAUSED)
    session.on_input_moved(lambda: context.steered_by(handle))
    context.steered_by(handle)
    try:
        await _tell(context, session, collected, shown, handle=handle)
        await collected.flush()
    except TaskFailed as error:
        await collected.flush()
        error.result = await shown.in_result(collected.told_of(error.result))
        raise
    finally:
        await collected.aclose()
    return await shown.in_result(collected.told_of(session.result)) or {}


async def _restore(collected: Collected, context: RunContext) -> None:
    whole = await context.kept_files()
    path = context.task.place_file
    await collected.restore(whole, path, context.kept_pieces(len(whole)))


async def _tell(
    context: RunContext,
    session: BridgeSession,
    collected: Collected,
    shown: RunSites | AsSaid,
    *,
    handle: SandboxHandle,
) -> None:
    said = _Said(context.bridge)
    async for progress in session:
        handle.busy()
        seq = session.taken_seq
        if progress.get("kind") == "file_chunk":
            await collected.take(progress, seq=seq)
        else:
            # What is durable is all up to one frame: neither files nor events may overtake the other.
            await collected.flush()
            drafts = events_of(await shown.in_progress(progress))
            if drafts:
                said.count(drafts)
                await context.emit(*drafts, place_seq=seq)
        handle.idle()


class _Said:
    """How much a sandbox has said."""

    def __init__(self, bridge: Bridge | None) -> None:
        info = bridge.info if bridge is not None else None
        self._is_bounded = info is not None and info.trust == "client"
        self._bytes = 0

    def count(self, drafts: list[Draft]) -> None:
        """It says more. Raises `TaskFailedError` where that is too much."""
        if not self._is_bounded:
            return
        self._bytes += sum(EVENT_BYTES + len(orjson.dumps(draft.data)) for draft in drafts)
        if self._bytes > MAX_SAID_BYTES:
            message = f"The sandbox has said more than {MAX_SAID_BYTES} bytes."
            raise TaskFailedError("resource_limit", message, exit_code=None, reason=None, result=None)


def _spec(context: RunContext) -> TaskSpec:
    limits = dict(context.input.get("limits") or {})
    time_left_s = max(context.time_left_s, 0.001)
    limits["timeout_s"] = min(limits.get("timeout_s", _usual(context, time_left_s)), time_left_s)
    spec = TaskSpec.parse({**context.input, "limits": limits})
    stored = context.input_files
    ahead = None if stored is None else lambda: _pieces(stored())
    return dataclasses.replace(spec, traceparent=context.task.span, ahead=ahead)


def _usual(context: RunContext, time_left_s: float) -> float:
    """What a task that asks for no limit of its own may take: nobody has asked for the default, whatever it is."""
    info = context.bridge.info if context.bridge is not None else None
    if context.task.timeout_s != DEFAULT_TIMEOUT_S or info is None or info.max_timeout_s is None:
        return time_left_s
    return min(time_left_s, info.max_timeout_s)


async def _pieces(stored: AsyncIterator[Stored]) -> AsyncIterator[FilePiece]:
    async for piece in stored:
        yield FilePiece(piece.path, piece.data, piece.last)


def _translated(error: TaskFailed, *, cancel_wanted: bool) -> Exception:
    if error.code == "cancelled":
        if cancel_wanted:
            return TaskCancelledError()
        # Its sandbox was told so by somebody else, or goes: that is not the task's own failure.
        return PlaceLostError("sandbox_lost", "the sandbox ended the task, which nobody had wished")
    code = error.code if error.code in TASK_ERRORS else "command_failed"
    details = {"exit_code": error.exit_code, "reason": error.reason, "result": error.result}
    return TaskFailedError(code, cut_text(error.message, 4096), **details)


# --- what a sandbox says, as events; it may say anything ------------------------------------------------


def _int(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 53 else None


def _word(value: Any, fallback: str) -> str:
    return cut_text(value, 200) if isinstance(value, str) else fallback


def _percent(value: Any) -> float | None:
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else None
    return number if number is not None and 0 <= number <= 100 else None


def _stream(value: Any) -> str:
    return "stderr" if value == "stderr" else "stdout"


def _output(said: Mapping[str, Any]) -> dict[str, Any] | None:
    text = said.get("text")
    if not isinstance(text, str) or not text:
        return None
    return {
        "stream": _stream(said.get("stream")),
        "text": text,
        "command": _int(said.get("command")) or 0,
    }


def _output_gap(said: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "stream": _stream(said.get("stream")),
        "dropped_bytes": _int(said.get("dropped_bytes")),
        "reason": _word(said.get("reason"), "limit"),
    }


def _command(said: Mapping[str, Any]) -> dict[str, Any]:
    command = said.get("command")
    data = {
        "index": _int(said.get("index")) or 0,
        "command": cut_text(command, MAX_TEXT_BYTES) if isinstance(command, str) else "",
        "exit_code": _int(said.get("exit_code")),
    }
    reason = said.get("reason")
    return data | {"reason": _word(reason, "exit")} if reason is not None else data


def _phase(said: Mapping[str, Any]) -> dict[str, Any]:
    phase = _word(said.get("phase"), "sandbox")
    named = {
        "phase": phase,
        "status": _word(said.get("status"), phase),
        "progress": _percent(said.get("progress")),
    }
    return _more(said) | named


def _more(said: Mapping[str, Any]) -> dict[str, Any]:
    """The words and numbers that a peer of the original protocol, which names no kinds, says of its own."""
    if "kind" in said:
        return {}
    found = [(key, value) for key, value in said.items() if isinstance(value, str | int | float)]
    return {
        key: cut_text(value, MAX_WORDS_BYTES) if isinstance(value, str) else value
        for key, value in found[:MAX_WORDS]
        if len(key) <= MAX_WORD_CHARS and (isinstance(value, str) or abs(value) < 1 << 53)
    }


def _server_ready(said: Mapping[str, Any]) -> dict[str, Any]:
    url = said.get("url")
    shown = isinstance(url, str) and url.startswith(("http://", "https://")) and len(url) <= 2048
    scope = "browser" if said.get("scope") == "browser" else "gateway"
    return {"port": _int(said.get("port")), "url": url if shown else None, "scope": scope}


_EVENTS: Final[Mapping[str, tuple[str, Callable[[Mapping[str, Any]], dict[str, Any] | None]]]] = {
    "output": ("output", _output),
    "output_gap": ("output_gap", _output_gap),
    "command": ("command", _command),
    "server_ready": ("server_ready", _server_ready),
    "phase": ("progress", _phase),
}


def events_of(progress: Mapping[str, Any]) -> list[Draft]:
    """What a sandbox said of its progress as events of ours, whatever it said; none where it says nothing."""
    kind, translate = _EVENTS.get(str(progress.get("kind")), ("progress", _phase))
    data = translate(progress)
    if data is None:
        return []
    if kind == "output":
        # Output is never cut: a sandbox is given credit for all that it said, once that is durable.
        return [Draft(kind, data | {"text": text}) for text in split_text(data["text"], MAX_TEXT_BYTES)]
    return [Draft(kind, data)]


SANDBOX: Final = Agent(
    name="sandbox",
    input_model=SandboxInput,
    check=checked,
    run=run,
    want=want,
    takes_files=True,
    takes_input=has_stdin,
    takes_text=True,
    take_up=take_up,
)


def showing(sites: Sites) -> Agent:
    """The agent, which shows its sandboxes' sites as `sites` says."""
    return dataclasses.replace(SANDBOX, run=functools.partial(run, sites=sites))
