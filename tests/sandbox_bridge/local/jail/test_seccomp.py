"""The filter of system calls: every number of every machine by a small interpreter, and the real thing in a jail."""

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox_bridge.local.jail.seccomp import MACHINES, program

ALLOW, KILL = 0x7FFF0000, 0x80000000
CLONE_THREAD = 0x3D0F00
SPECIAL = {"clone", "socket", "ioctl", "personality"}
_LOAD, _EQUAL, _GREATER, _ANY_BIT, _RETURN = 0x20, 0x15, 0x25, 0x45, 0x06


def verdict(machine: str, number: int, *args: int, arch: int | None = None, is_watched: bool = False) -> int:
    """What the filter says of one call, as the kernel would run it."""
    words = [*args, *[0] * (6 - len(args))]
    data = struct.pack("=IIQ6Q", number, MACHINES[machine].arch if arch is None else arch, 0, *words)
    code = list(struct.iter_unpack("=HBBI", program(machine, is_watched=is_watched)))
    value, at = 0, 0
    while True:
        kind, then, otherwise, constant = code[at]
        if kind == _RETURN:
            return int(constant)
        if kind == _LOAD:
            value = struct.unpack_from("=I", data, constant)[0]
            at += 1
            continue
        holds = {_EQUAL: value == constant, _GREATER: value > constant, _ANY_BIT: bool(value & constant)}[
            kind
        ]
        at += 1 + (then if holds else otherwise)


def refusal(number: int) -> int:
    """The verdict that lets a call fail with this error."""
    return 0x00050000 | number


@pytest.fixture(params=sorted(MACHINES))
def machine(request: pytest.FixtureRequest) -> str:
    """Each that there is a table of."""
    return str(request.param)


def test_each_number_is_allowed_or_refused(machine: str) -> None:
    """Of all numbers exactly the listed ones fail with EPERM, clone3 and the unknown do not exist."""
    table = MACHINES[machine]
    special = {getattr(table, name) for name in SPECIAL}
    verdicts = {number: verdict(machine, number) for number in range(600) if number not in special}
    refused = {number for number, said in verdicts.items() if said == refusal(errno.EPERM)}
    everywhere = {425, 426, 427, 428, 429, 430, 431, 432, 433, 438, 440, 442, 443, 447, 448}
    assert refused == set(table.refused.values()) | everywhere
    missing = {number for number, said in verdicts.items() if said == refusal(errno.ENOSYS)}
    assert missing == {435, *range(463, 600)}
    assert all(verdicts[number] == ALLOW for number in verdicts.keys() - refused - missing)


def test_memory_that_nobody_sees_is_not_to_be_had(machine: str) -> None:
    """Where memory is only watched, what belongs to no process and no disk does not exist; all else is the same."""
    for number in range(600):
        said = verdict(machine, number, is_watched=True)
        is_hidden = number in MACHINES[machine].hidden.values()
        assert said == (refusal(errno.ENOSYS) if is_hidden else verdict(machine, number))


def test_buffers_keep_their_size_where_memory_is_watched(machine: str) -> None:
    """A wish for a larger buffer is taken there, and nothing comes of it; all other options are set."""
    setsockopt = MACHINES[machine].setsockopt
    sizes = {(1, 7), (1, 8)}
    for level, option in [*sizes, (1, 9), (6, 7), (0, 8)]:
        asked = (3, level, option)
        is_taken = (level, option) in sizes
        assert verdict(machine, setsockopt, *asked, is_watched=True) == (refusal(0) if is_taken else ALLOW)
        assert verdict(machine, setsockopt, *asked) == ALLOW


@pytest.mark.parametrize("number", [0, 16, 0x40000000, 0x40000065])
def test_other_architectures_are_killed(machine: str, number: int) -> None:
    """A call by another machine's numbers, or by those of x32, ends the process."""
    foreign = verdict(machine, number, arch=0x40000003)
    assert foreign == KILL
    assert (verdict(machine, number) == KILL) is bool(number & 0x40000000)


@pytest.mark.parametrize("bit", [17, 25, 26, 27, 28, 29, 30])
def test_clone_makes_no_namespace(machine: str, bit: int) -> None:
    """`clone` makes processes and threads, and no namespace of any kind, whatever stands beside it."""
    clone = MACHINES[machine].clone
    assert verdict(machine, clone, CLONE_THREAD) == ALLOW
    assert verdict(machine, clone, 1 << bit | CLONE_THREAD) == refusal(errno.EPERM)


@given(family=st.integers(0, 60), kind=st.integers(0, 10), protocol=st.integers(0, 300))
def test_sockets_are_of_few_families(family: int, kind: int, protocol: int) -> None:
    """There are unix, IPv4 and IPv6 sockets, and netlink's for routes alone."""
    said = verdict("x86_64", MACHINES["x86_64"].socket, family, kind, protocol)
    is_routes = family == 16 and protocol == 0
    assert (said == ALLOW) is (family in {1, 2, 10} or is_routes)


@given(upper=st.integers(0, 0xFFFFFFFF))
def test_terminal_input_is_not_faked(upper: int) -> None:
    """TIOCSTI is refused whatever stands in the half of the number that the kernel does not look at."""
    ioctl = MACHINES["x86_64"].ioctl
    assert verdict("x86_64", ioctl, 0, upper << 32 | 0x5412) == refusal(errno.EPERM)
    assert verdict("x86_64", ioctl, 0, upper << 32 | 0x5413) == ALLOW


def test_personality_is_a_plain_one(machine: str) -> None:
    """Who asks for fixed addresses is refused; who asks which it is gets an answer."""
    personality = MACHINES[machine].personality
    assert verdict(machine, personality, 0xFFFFFFFF) == ALLOW
    assert verdict(machine, personality, 0x40000) == refusal(errno.EPERM)
