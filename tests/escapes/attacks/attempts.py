"""How an attack tells what the kernel answered."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from typing import Any

DONE = "done"
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long


def answer(action: Callable[..., object], *arguments: Any) -> str:
    """The name of the error that `action` ends in, or `done`."""
    try:
        action(*arguments)
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    except ValueError as error:  # a limit that can't be raised, in Python's words
        return str(error)
    return DONE


def call(name: str, *arguments: Any) -> str:
    """The answer of the C library's function `name`."""
    return _answer_of(getattr(LIBC, name), arguments)


def syscall(number: int, *arguments: Any) -> str:
    """The answer of a system call that has no function."""
    return _answer_of(LIBC.syscall, (ctypes.c_long(number), *arguments))


def _answer_of(function: Callable[..., Any], arguments: tuple[Any, ...]) -> str:
    ctypes.set_errno(0)
    if function(*arguments) != -1:
        return DONE
    number = ctypes.get_errno()
    return errno.errorcode.get(number, str(number))


def in_child(action: Callable[[], object]) -> int:
    """The exit code of a child that does `action`, which may change what it runs in; 100 + n: signal n."""
    pid = os.fork()
    if pid == 0:
        try:
            action()
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 100 + os.WTERMSIG(status)
