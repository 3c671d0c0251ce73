"""All the wires of one jail: made together, the inner ends let go of as soon as it has them."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from sandbox_bridge.local.wires import Outlet, Tap


@dataclass(frozen=True, slots=True)
class Wires:
    """The host's ends."""

    outlet: Outlet
    report: Tap
    """What the agent says."""
    stdout: Tap
    stderr: Tap
    door: socket.socket
    """What its sites need is handed in here."""


@contextmanager
def wiring(inner: ExitStack, owner: int | None) -> Iterator[tuple[Wires, tuple[int, ...]]]:
    """The host's ends until the block is left, and the inner ones, in the agent's order, until `inner` is.

    The outputs belong to the uid `owner`, so that who has one can also open it by name, as /dev/stderr.
    """
    with ExitStack() as ours:
        outlet, control = _outlet(ours, inner)
        report, inner_report = _tap(ours, inner, None)
        stdout, inner_stdout = _tap(ours, inner, owner)
        stderr, inner_stderr = _tap(ours, inner, owner)
        door, inner_door = _door(ours, inner)
        wires = Wires(outlet, report, stdout, stderr, door)
        yield wires, (control, inner_report, inner_stdout, inner_stderr, inner_door)


def pipe(readers: ExitStack, writers: ExitStack) -> tuple[int, int]:
    """A new pipe, its read end closed with the one stack, its write end with the other."""
    read_end, write_end = os.pipe()
    readers.callback(os.close, read_end)
    writers.callback(os.close, write_end)
    return read_end, write_end


def _outlet(ours: ExitStack, inner: ExitStack) -> tuple[Outlet, int]:
    outer_end, inner_end = socket.socketpair()
    inner.enter_context(inner_end)
    outlet = Outlet(outer_end)
    ours.callback(outlet.close)
    return outlet, inner_end.fileno()


def _tap(ours: ExitStack, inner: ExitStack, owner: int | None) -> tuple[Tap, int]:
    read_end, write_end = os.pipe()
    tap = Tap(read_end)
    ours.callback(tap.close)
    inner.callback(os.close, write_end)
    if owner is not None:
        os.fchown(write_end, owner, owner)
    return tap, write_end


def _door(ours: ExitStack, inner: ExitStack) -> tuple[socket.socket, int]:
    # Bounded by the kernel, in messages: a jail that takes none fills it, and that is all.
    outer_end, inner_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.enter_context(outer_end)
    inner.enter_context(inner_end)
    outer_end.shutdown(socket.SHUT_RD)
    return outer_end, inner_end.fileno()
