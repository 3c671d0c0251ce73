"""For agents and functions that were written synchronously: they run as they are, without holding up anybody else."""

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from typing import Any, ClassVar, Literal, ParamSpec

from gateway.agents.base import AsyncBaseAgent, TaskExecutionMode
from gateway.agents.sync_workers import WORKERS, in_process, in_thread
from gateway.tasks import Task

P = ParamSpec("P")


class AsyncMigrationWrapper(AsyncBaseAgent):
    """An agent whose `execute_task` is a synchronous one's, run in a thread, or in a process of its own.

    Where that takes `progress`, it is given a function to tell how far it is: `progress(phase=…, status=…,
    progress=…)`, which also is where it stands still while it is paused. To cancel a process ends it; a thread ends
    when it next tells its progress, and until then works on for nobody. A process needs an agent, and a result, that
    can be pickled. To register one, write a class: `class Mine(AsyncMigrationWrapper)` with a constructor
    that calls `super().__init__(Old())`.
    """

    is_heavy: ClassVar[bool] = True

    def __init__(self, sync_agent: Any, *, worker: Literal["thread", "process"] = "thread") -> None:
        super().__init__(str(getattr(sync_agent, "name", "UnknownAgent")))
        self.sync_agent = sync_agent
        self.__worker = worker

    async def execute_task(self, task: Task, mode: TaskExecutionMode | None = None) -> dict[str, Any]:
        """See `AsyncBaseAgent.execute_task`. Raises NotImplementedError where the agent has none."""
        return await super().execute_task(task, mode or TaskExecutionMode.BLOCKING)

    async def stream_execution(self, task: Task) -> AsyncGenerator[dict[str, Any], None]:
        """Its result, when it is there; what it tells meanwhile is told as it comes."""
        async with self.execution_context(task):
            await self._check_pause()
            result = await self.__called(task)
            yield {"phase": "complete", "status": "completed", "progress": 100, "result": result}

    async def __called(self, task: Task) -> Any:
        execute = getattr(self.sync_agent, "execute_task", None)
        if execute is None:
            raise NotImplementedError(f"{self.name} has no execute_task")
        if inspect.iscoroutinefunction(execute):
            return await execute(task)
        work = functools.partial(_call, self.sync_agent, task)
        run = in_process if self.__worker == "process" else in_thread
        result = await run(work, self.__tell)
        return await result if inspect.isawaitable(result) else result

    async def __tell(self, data: Mapping[str, Any]) -> None:
        await self.progress(**{"phase": "work", **data})
        await self._check_pause()


def migrated(kind: type[Any]) -> type[AsyncMigrationWrapper]:
    """The wrapper of a class whose constructor needs nothing, as a class that can be registered."""

    class Migrated(AsyncMigrationWrapper):
        def __init__(self) -> None:
            super().__init__(kind())

    return Migrated


def _call(sync_agent: Any, task: Task, progress: Callable[..., None]) -> Any:
    execute = sync_agent.execute_task
    wants = "progress" in inspect.signature(execute).parameters
    return execute(task, progress=progress) if wants else execute(task)


def async_compatible(sync_func: Callable[P, Any]) -> Callable[P, Coroutine[Any, Any, Any]]:
    """`sync_func` to be awaited: it runs in a thread of ours, with the caller's context variables.

    What is awaitable already, or gives an awaitable, is awaited.
    """

    @functools.wraps(sync_func)
    async def call(*args: P.args, **kwargs: P.kwargs) -> Any:
        if inspect.iscoroutinefunction(sync_func):
            return await sync_func(*args, **kwargs)
        result = await WORKERS.call(functools.partial(sync_func, *args, **kwargs))
        return await result if inspect.isawaitable(result) else result

    return call
