"""What a task may not ask of the kernel."""

import platform
import signal

import pytest

from tests.escapes.attacks import kernel
from tests.escapes.host import Host
from tests.escapes.range import Range

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="system calls by x86-64's numbers")


async def test_mounts_are_refused(attack: Range) -> None:
    """Nothing can be mounted, unmounted, moved or made writable again."""
    answers = await attack(kernel.mounts)
    assert "done" not in answers.values(), answers


async def test_nested_namespaces_are_refused(attack: Range) -> None:
    """No namespace of any kind, by any call: a new user namespace is the door to most of the kernel's bugs."""
    exits = await attack(kernel.nested_namespaces)
    assert 0 not in exits.values(), exits


async def test_processes_of_the_host_are_out_of_reach(attack: Range, host: Host) -> None:
    """A process's number on the host means nothing, or another, in the jail."""
    answers = await attack(kernel.other_processes, host.bait.pid)
    assert "done" not in answers.values(), answers


async def test_privileges_can_not_be_gained(attack: Range) -> None:
    """Nobody becomes somebody else or gets a capability."""
    answers = await attack(kernel.privileges)
    assert "done" not in answers.values(), answers


async def test_setuid_programs_run_as_ourselves(attack: Range) -> None:
    """A setuid bit means nothing in a jail, whose ever the file is."""
    ids = await attack(kernel.setuid_programs)
    assert ids["/work/id"] == ["1000", "1000"]
    assert {tuple(pair) for pair in ids.values()} == {("1000", "1000")}, ids


async def test_machine_can_not_be_changed(attack: Range) -> None:
    """Clock, name, modules, swap, log and power are the host's."""
    answers = await attack(kernel.machine)
    assert set(answers.values()) <= {"EPERM", "EACCES", "ENOSYS"}, answers


async def test_hosts_terminal_is_out_of_reach(attack: Range) -> None:
    """There is no terminal to type into that the host would read."""
    answers = await attack(kernel.terminal)
    assert "done" not in answers.values(), answers


async def test_priorities_can_not_be_raised(attack: Range) -> None:
    """A task runs before nobody, and raises no limit."""
    answers = await attack(kernel.priorities)
    assert "done" not in answers.values(), answers


async def test_calls_with_a_history_are_refused(attack: Range) -> None:
    """Keyrings, io_uring, bpf, perf, userfaultfd, tracing: what no task needs is not there for it."""
    answers = await attack(kernel.dangerous_calls)
    assert set(answers.values()) <= {"EPERM", "ENOSYS", "refused"}, answers


async def test_calls_by_another_machines_numbers_kill(attack: Range) -> None:
    """There is no way around the filter by the numbers of another machine: whoever tries is killed."""
    assert await attack(kernel.calls_of_other_machines) == {"x32": 100 + signal.SIGSYS}


async def test_own_terminal_takes_no_forged_input(attack: Range) -> None:
    """Nobody types for others, not even on a terminal of his own."""
    assert set((await attack(kernel.own_terminal)).values()) == {"EPERM"}
