"""Where synchronous code runs: threads of its own, so that it never takes those of the event loop, and processes.

What a process gives back is pickled, errors too, so that whoever waits gets what was raised: it is the same
somebody's code that also runs here, and no stranger's.

A thread can't be ended: who no longer waits for one leaves it to itself, and its slot is free once it is really
gone. It is a daemon's, so that it does not hold up the gateway's end. A process is killed, with what it has started.
"""

import asyncio
import contextlib
import contextvars
import functools
import multiprocessing
import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any, Final

LIMIT: Final = 32
"""Synchronous calls at once, of all agents: what is beyond waits."""
Tell = Callable[[Mapping[str, Any]], Awaitable[None]]
"""Told of progress; returns when the worker may go on."""
Work = Callable[[Callable[..., None]], Any]
"""Given a function to tell its progress by, which waits, it gives a result."""
_SPAWN: Final = multiprocessing.get_context("spawn")


class Workers:
    """At most `limit` threads; usable from any event loop."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._free = limit
        self._waiting: deque[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = deque()
        self._lock = threading.Lock()

    async def call(self, function: Callable[[], Any]) -> Any:
        """What `function` gives in a thread, with the caller's context variables."""
        await self._slot()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()
        context = contextvars.copy_context()

        def work() -> None:
            try:
                result = context.run(function)
            except BaseException as error:  # noqa: BLE001 -- told to whoever waits
                self._told(loop, done, functools.partial(done.set_exception, _plain(error)))
            else:
                self._told(loop, done, functools.partial(done.set_result, result))
            finally:
                self._release()

        threading.Thread(target=work, name="synchronous work", daemon=True).start()
        return await done

    @staticmethod
    def _told(
        loop: asyncio.AbstractEventLoop, done: "asyncio.Future[Any]", tell: Callable[[], object]
    ) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits
            loop.call_soon_threadsafe(lambda: done.done() or tell())

    async def _slot(self) -> None:
        with self._lock:
            if self._free > 0:
                self._free -= 1
                return
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((asyncio.get_running_loop(), turn))
        try:
            await turn
        except asyncio.CancelledError:
            self._leave(turn)
            raise

    def _leave(self, turn: "asyncio.Future[None]") -> None:
        with self._lock:
            left = len(self._waiting)
            self._waiting = deque(entry for entry in self._waiting if entry[1] is not turn)
        if len(self._waiting) == left:
            self._release()

    def _release(self) -> None:
        with self._lock:
            while self._waiting:
                loop, turn = self._waiting.popleft()
                with contextlib.suppress(RuntimeError):  # that loop has ended
                    loop.call_soon_threadsafe(_set, turn)
                    return
            self._free += 1


WORKERS: Final = Workers()


async def in_thread(work: Work, tell: Tell) -> Any:
    """What `work` gives in a thread. Once nobody waits for it, telling its progress ends it."""
    loop = asyncio.get_running_loop()

    def progress(**data: Any) -> None:
        if over.is_set():
            raise SystemExit("nobody waits for this work any more")
        asyncio.run_coroutine_threadsafe(_awaited(tell(data)), loop).result()

    over = threading.Event()
    try:
        return await WORKERS.call(lambda: work(progress))
    finally:
        over.set()


async def in_process(work: Work, tell: Tell) -> Any:
    """What `work`, which can be pickled, gives in a process of its own; that is gone when this returns."""
    talk, talk_there = _SPAWN.Pipe()
    life_there, life = _SPAWN.Pipe(duplex=False)
    process = _SPAWN.Process(target=_child, args=(work, talk_there, life_there), daemon=True)
    try:
        await WORKERS.call(process.start)
        talk_there.close()
        life_there.close()
        return await _listened(talk, tell)
    except EOFError:
        process.join(1)
        raise RuntimeError(f"the worker died with {process.exitcode}") from None
    finally:
        _end(process)
        for end in (talk, life, talk_there, life_there):
            end.close()


async def _listened(talk: "Connection[Any, Any]", tell: Tell) -> Any:
    while True:
        kind, what = await WORKERS.call(talk.recv)
        if kind == "result":
            return what
        if kind == "error":
            raise what
        await tell(what)
        talk.send(None)


def _end(process: "multiprocessing.process.BaseProcess") -> None:
    if process.pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.join(5)


def _child(work: Work, talk: "Connection[Any, Any]", life: "Connection[Any, Any]") -> None:
    os.setsid()
    threading.Thread(target=_ends_with, args=(life,), daemon=True).start()

    def progress(**data: Any) -> None:
        talk.send(("progress", data))
        talk.recv()

    try:
        answer = ("result", work(progress))
        pickle.dumps(answer)
    except BaseException as error:  # noqa: BLE001 -- told to whoever waits
        answer = ("error", _sendable(error))
    talk.send(answer)


def _ends_with(life: "Connection[Any, Any]") -> None:
    """End this process, and what it has started, when whoever wanted it has."""
    with contextlib.suppress(EOFError, OSError):
        life.recv()
    os.killpg(0, signal.SIGKILL)


def _sendable(error: BaseException) -> BaseException:
    """The error, or its words where it is not to be pickled and back."""
    try:
        return pickle.loads(pickle.dumps(_plain(error)))  # type: ignore[no-any-return]  # noqa: S301 -- what was raised here
    except Exception:  # noqa: BLE001 -- somebody's class may raise anything
        return RuntimeError(f"{type(error).__name__}: {error}")


def _plain(error: BaseException) -> BaseException:
    """What may be raised into an event loop: the end of a thread, or of an iterator, is none of the loop's."""
    may = isinstance(error, Exception) and not isinstance(error, StopIteration)
    return error if may else RuntimeError(f"{type(error).__name__}: {error}")


async def _awaited(told: Awaitable[None]) -> None:
    await told


def _set(turn: "asyncio.Future[None]") -> None:
    if not turn.done():
        turn.set_result(None)
