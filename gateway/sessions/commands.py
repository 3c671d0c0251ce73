"""What each request of a client does, and the one border where an exception becomes an answer on the socket."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

from structlog.typing import FilteringBoundLogger

from gateway import frames, server_frames
from gateway.clock import Clock, is_id, rfc3339
from gateway.errors import GatewayError, StoreUnavailableError
from gateway.fanout.follow import Heard, ended
from gateway.fanout.outgoing import Outgoing
from gateway.fanout.relay import Relay
from gateway.fanout.replay import ReadLog
from gateway.fanout.watch import Watched, Watcher
from gateway.metrics import Metrics
from gateway.principal import Principal
from gateway.sessions.audit import READING, Audit
from gateway.sessions.auth import Authenticator
from gateway.sessions.connection_notes import ConnectionNotes
from gateway.sessions.quotas import Quotas
from gateway.sessions.subscriptions import Subscriptions
from gateway.shapes.base import Empty, Shape
from gateway.shapes.socket import Pong, Renewed, Watching
from gateway.shapes.tasks import Submitted, Subscribed, TaskAnswer, TaskPage
from gateway.shapes.workflows import CheckpointPage, Recovered, WorkflowAnswer, WorkflowPage
from gateway.state.recorder import Recorder
from gateway.state.values import Created
from gateway.tasks import TaskRecord
from gateway.work.control import Control
from gateway.work.workflows import Workflows, without_data
from gateway.workflow_record import to_wire


@dataclass(frozen=True, slots=True)
class Services:
    """What commands stand on; made once, in `server.app`."""

    control: Control
    workflows: Workflows
    relay: Relay
    outgoing: Outgoing
    read_log: ReadLog
    watched: Mapping[str, Watched]
    """The lists that can be watched, by topic."""
    authenticator: Authenticator
    audit: Audit
    recorder: Recorder
    quotas: Quotas
    clock: Clock
    metrics: Metrics
    log: FilteringBoundLogger


@dataclass(frozen=True, slots=True)
class Reply:
    """A good answer, and what begins once it is on its way."""

    result: Mapping[str, Any]
    then: Callable[[], None] | None = None


class Caller(Watcher, Protocol):
    """The connection a request came by, as far as a command needs it."""

    @property
    def session_id(self) -> str:
        """The session behind it."""

    @property
    def subscriptions(self) -> Subscriptions:
        """The tasks that it follows."""

    @property
    def notes(self) -> ConnectionNotes:
        """What the notes recorder is told of it."""

    def pay_for(self, rows: int) -> None:
        """Count a page of so many against its rate."""

    def in_turn(self) -> AbstractAsyncContextManager[None]:
        """Inside the block is something that takes long: see `Pace.in_turn`."""

    async def renew(self, principal: Principal) -> None:
        """Go on as `principal`; what it may not see is followed no more."""


async def answer(
    services: Services, caller: Caller, request: frames.Request
) -> tuple[bytes, Callable[[], None]]:
    """The answer's frame, good or bad, and what to do once it is queued."""
    code, principal, task_id = "ok", caller.principal, vars(request).get("task_id")
    try:
        reply = await _COMMANDS[type(request)](services, caller, request)
        task_id = reply.result.get("task", {}).get("task_id", task_id)
        frame = server_frames.result(request.id, reply.result)
        return frame, reply.then or _nothing
    except GatewayError as problem:
        code = problem.code
        return server_frames.error(request.id, problem), _nothing
    except StoreUnavailableError as problem:
        code = "unavailable"
        services.log.warning("store unavailable", error=str(problem))
        return server_frames.error(request.id, GatewayError(code)), _nothing
    except Exception as error:  # noqa: BLE001 - the border: a bug of ours is logged, and answered without its stack
        code = "internal"
        return server_frames.error(request.id, internal_error(services, error)), _nothing
    finally:
        services.metrics.asked.counts[request.type, code] += 1
        if request.type not in READING or code == "forbidden":
            flow = vars(request).get("workflow_id")
            services.audit.note(
                principal, request.type, code, via="socket", task_id=task_id, workflow_id=flow
            )


def internal_error(services: Services, error: Exception) -> GatewayError:
    """The answer to a bug of ours: an id that finds `error` in the log, and no more."""
    error_id = services.clock.new_id()
    services.log.error("internal error", error_id=error_id, exc_info=error)
    return GatewayError("internal", error_id=error_id)


def _nothing() -> None:
    pass


async def _submit_task(services: Services, caller: Caller, request: frames.SubmitTask) -> Reply:
    if request.mode == "streaming":
        with caller.subscriptions.place():
            created = await _submit(services, caller, request)
            task = created.task
            then = await caller.subscriptions.add(task, task.first_seq - 1, head=task.last_seq)
        described = await services.control.describe(caller.principal, created.task)
        return Reply({"task": described, "replayed": created.replayed}, then)
    created = await _submit(services, caller, request)
    task = created.task
    if request.mode == "blocking":
        if not await ended(services.relay, services.read_log, task):
            raise GatewayError("unavailable", "The server restarts; the task goes on.", task_id=task.task_id)
        task = await services.control.again(task)
    described = await services.control.describe(caller.principal, task)
    return Reply({"task": described, "replayed": created.replayed})


async def _submit(services: Services, caller: Caller, request: frames.SubmitTask) -> Created:
    with services.metrics.submit_seconds.time():
        return await services.control.submit(
            caller.principal, caller.session_id, request, traceparent=caller.notes.traceparent
        )


async def _subscribe(services: Services, caller: Caller, request: frames.Subscribe) -> Reply:
    caller.principal.require("tasks:read")
    if not is_id(request.task_id):
        # A channel of the bus has its name: no words of a stranger's get into that.
        raise GatewayError("task_not_found")
    heard = Heard(request.task_id)
    async with services.relay.joined(heard):
        task = await services.control.get(caller.principal, request.task_id)
        if request.after_seq:
            _note_resume(services, caller, request, task)
        if request.after_seq > task.last_seq:
            raise GatewayError("invalid_cursor", last_seq=task.last_seq)
        after_seq = max(request.after_seq, task.first_seq - 1)
        then = await caller.subscriptions.add(task, after_seq, head=max(task.last_seq, heard.head))
    described = await services.control.describe(caller.principal, task)
    recovered = after_seq == request.after_seq
    return Reply({"task": described, "recovered": recovered, "first_seq": after_seq + 1}, then)


def _note_resume(services: Services, caller: Caller, request: frames.Subscribe, task: TaskRecord) -> None:
    after_seq, last_seq = request.after_seq, task.last_seq
    if after_seq >= last_seq:
        result = "live" if after_seq == last_seq else "invalid"
    else:
        result = "trimmed" if after_seq < task.first_seq - 1 else "log"
    services.metrics.resumes.labels(result).inc()
    caller.notes.resumed(task.task_id, result, after_seq=after_seq, last_seq=last_seq)


async def _unsubscribe(services: Services, caller: Caller, request: frames.Unsubscribe) -> Reply:
    await services.control.get(caller.principal, request.task_id)
    await caller.subscriptions.remove(request.task_id)
    return Reply({})


async def _cancel_task(services: Services, caller: Caller, request: frames.CancelTask) -> Reply:
    task = await services.control.cancel(caller.principal, request.task_id, request.reason)
    return Reply({"task": await services.control.describe(caller.principal, task)})


async def _pause_task(services: Services, caller: Caller, request: frames.PauseTask) -> Reply:
    task = await services.control.pause(caller.principal, request.task_id, request.reason)
    return Reply({"task": await services.control.describe(caller.principal, task)})


async def _resume_task(services: Services, caller: Caller, request: frames.ResumeTask) -> Reply:
    task = await services.control.resume(caller.principal, request.task_id, request.reason)
    return Reply({"task": await services.control.describe(caller.principal, task)})


async def _send_input(services: Services, caller: Caller, request: frames.SendInput) -> Reply:
    await services.control.send_input(caller.principal, request.task_id, request)
    return Reply({})


async def _resize(services: Services, caller: Caller, request: frames.Resize) -> Reply:
    await services.control.resize(caller.principal, request.task_id, request.cols, request.rows)
    return Reply({})


async def _get_task(services: Services, caller: Caller, request: frames.GetTask) -> Reply:
    task = await services.control.get(caller.principal, request.task_id)
    async with caller.in_turn() if request.include_input else nullcontext():
        described = await services.control.describe(
            caller.principal, task, include_input=request.include_input
        )
        return Reply({"task": described})


async def _delete_task(services: Services, caller: Caller, request: frames.DeleteTask) -> Reply:
    await services.control.delete(caller.principal, request.task_id)
    return Reply({})


async def _list_tasks(services: Services, caller: Caller, request: frames.ListTasks) -> Reply:
    return await _page(caller, "tasks", partial(services.control.list, caller.principal, request))


async def _get_workflow(services: Services, caller: Caller, request: frames.GetWorkflow) -> Reply:
    async with caller.in_turn():
        wire = to_wire(await services.workflows.get(caller.principal, request.workflow_id))
        if not server_frames.fits(wire):
            raise GatewayError(
                "too_large", "The workflow's state is too large for a frame; HTTP has it whole."
            )
        return Reply({"workflow": wire})


async def _list_workflows(services: Services, caller: Caller, request: frames.ListWorkflows) -> Reply:
    return await _page(caller, "workflows", partial(services.workflows.list, caller.principal, request))


async def _list_checkpoints(services: Services, caller: Caller, request: frames.ListCheckpoints) -> Reply:
    find = partial(services.workflows.checkpoints, caller.principal, request.workflow_id, request)
    return await _page(caller, "checkpoints", find)


async def _page(caller: Caller, what: str, find: Callable[[], Awaitable[Mapping[str, Any]]]) -> Reply:
    async with caller.in_turn():
        found = await find()
    caller.pay_for(len(found[what]))
    return Reply(found)


async def _recover_workflow(services: Services, caller: Caller, request: frames.RecoverWorkflow) -> Reply:
    async with caller.in_turn():
        row, task = await services.workflows.recover(caller.principal, request.workflow_id, request)
        wire = to_wire(row)
    described = await services.control.describe(caller.principal, task)
    return Reply(
        {"workflow": wire if server_frames.fits(wire) else to_wire(without_data(row)), "task": described}
    )


async def _watch(services: Services, caller: Caller, request: frames.Watch) -> Reply:
    caller.principal.require("admin" if request.topic == "instances" else "tasks:read")
    caller.principal.require_whole()
    async with caller.in_turn():
        items = await services.watched[request.topic].add(caller)
    caller.pay_for(len(items))
    return Reply({"items": items})


async def _unwatch(services: Services, caller: Caller, request: frames.Unwatch) -> Reply:
    services.watched[request.topic].remove(caller)
    return Reply({})


async def _authenticate(services: Services, caller: Caller, request: frames.Authenticate) -> Reply:
    principal = await services.authenticator.renewed(request.token)
    if principal.subject != caller.principal.subject:
        raise GatewayError("forbidden", "A connection keeps its subject; open another for another.")
    await caller.renew(principal)
    return Reply({"subject": principal.subject, "expires_at": expiry(principal)})


async def _ping(services: Services, _caller: Caller, _request: frames.Ping) -> Reply:
    return Reply({"time": rfc3339(services.clock.now_ms())})


def expiry(principal: Principal) -> str | None:
    """When a principal's token ends, as the contract writes times."""
    return None if principal.expires_at is None else rfc3339(int(principal.expires_at * 1000))


_COMMANDS: Final[dict[type, Callable[[Services, Caller, Any], Awaitable[Reply]]]] = {
    frames.SubmitTask: _submit_task,
    frames.Subscribe: _subscribe,
    frames.Unsubscribe: _unsubscribe,
    frames.CancelTask: _cancel_task,
    frames.PauseTask: _pause_task,
    frames.ResumeTask: _resume_task,
    frames.SendInput: _send_input,
    frames.Resize: _resize,
    frames.GetTask: _get_task,
    frames.DeleteTask: _delete_task,
    frames.ListTasks: _list_tasks,
    frames.GetWorkflow: _get_workflow,
    frames.ListWorkflows: _list_workflows,
    frames.ListCheckpoints: _list_checkpoints,
    frames.RecoverWorkflow: _recover_workflow,
    frames.Watch: _watch,
    frames.Unwatch: _unwatch,
    frames.Authenticate: _authenticate,
    frames.Ping: _ping,
}

RESULTS: Final[Mapping[type, type[Shape]]] = {
    frames.SubmitTask: Submitted,
    frames.Subscribe: Subscribed,
    frames.Unsubscribe: Empty,
    frames.CancelTask: TaskAnswer,
    frames.PauseTask: TaskAnswer,
    frames.ResumeTask: TaskAnswer,
    frames.SendInput: Empty,
    frames.Resize: Empty,
    frames.GetTask: TaskAnswer,
    frames.DeleteTask: Empty,
    frames.ListTasks: TaskPage,
    frames.GetWorkflow: WorkflowAnswer,
    frames.ListWorkflows: WorkflowPage,
    frames.ListCheckpoints: CheckpointPage,
    frames.RecoverWorkflow: Recovered,
    frames.Watch: Watching,
    frames.Unwatch: Empty,
    frames.Authenticate: Renewed,
    frames.Ping: Pong,
}
"""What each command's good answer looks like."""
