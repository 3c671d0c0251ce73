"""An executor that runs its work at once, so that logic over threads stays on virtual time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class InlineExecutor(Executor):
    """Runs each call in the caller's own thread, before `submit` returns.

    A virtual clock can't wait for a thread: to it, a thread takes no time or for ever. Here it takes none.
    """

    def __init__(self) -> None:
        self._closed = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run `fn` now; its result or its exception is in the future returned.

        Raises RuntimeError after `shutdown`, as a thread pool does.
        """
        if self._closed:
            raise RuntimeError("cannot schedule new futures after shutdown")
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - a future carries whatever its work raised
            future.set_exception(error)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more work; there is none left to wait for."""
        self._closed = True


class GatedExecutor(InlineExecutor):
    """An inline executor with a gate: while it is shut, what is submitted waits, as if the disk were slow.

    Meanwhile `looptime` lets time pass no faster than it does: it takes a call under way for a thread's.
    """

    def __init__(self) -> None:
        super().__init__()
        self._shut = False
        self._waiting: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run `fn` now, or when the gate opens."""
        if not self._shut:
            return super().submit(fn, *args, **kwargs)
        future: Future[T] = Future()
        self._waiting.append((future, lambda: fn(*args, **kwargs)))
        return future

    def shut(self) -> None:
        """Let nothing through from now on."""
        self._shut = True

    def open(self) -> None:
        """Let through what waits, in order, and all that comes."""
        self._shut = False
        waiting, self._waiting = self._waiting, []
        for future, call in waiting:
            try:
                future.set_result(call())
            except Exception as error:  # noqa: BLE001 - a future carries whatever its work raised
                future.set_exception(error)
