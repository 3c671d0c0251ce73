"""What comes out of a jail: bytes, and nothing else, whoever speaks there."""

import pytest

from sandbox_bridge.local.errors import JailError, JailLostError
from sandbox_bridge.local.jail.profile import Profile
from tests.sandbox_bridge.local.jails import Output, hostile, open_jail, read, run, shell

EPIPE = "32"


# --- output -------------------------------------------------------------------------------------------


async def test_output_is_whole_and_told_apart(profile: Profile) -> None:
    """What a command prints comes out whole, its two streams apart, before its end."""
    async with open_jail(profile) as jail:
        output = await run(jail, shell("seq 100000; seq 5 >&2; exit 7"))
    assert output.stdout == b"".join(b"%d\n" % n for n in range(1, 100001))
    assert output.stderr == b"1\n2\n3\n4\n5\n"
    assert output.exit_code == 7


async def test_standard_streams_can_be_opened_by_name(profile: Profile) -> None:
    """`/dev/stdout` and `/dev/stderr` work as they do anywhere."""
    async with open_jail(profile) as jail:
        output = await run(jail, shell("echo out > /dev/stdout; echo err > /dev/stderr"))
    assert (output.stdout, output.stderr, output.exit_code) == (b"out\n", b"err\n", 0)


async def test_unread_output_holds_its_process_back(profile: Profile) -> None:
    """A command whose output nobody takes stands still, and nothing of it is piled up here."""
    async with open_jail(profile) as jail:
        await jail.start(shell("head -c 1000000 /dev/zero; touch done"))
        await read(jail, output := Output(), until=b"\0")
        assert len(output.stdout) < 200_000
        output = await read(jail, output)
        assert len(output.stdout) == 1_000_000


async def test_background_writes_on_after_its_command(profile: Profile) -> None:
    """A command's end does not wait for its background, whose later output comes with the next command."""
    async with open_jail(profile) as jail:
        first = await run(
            jail, shell("(until [ -e go ]; do sleep 0.01; done; echo later; : > said) & echo now")
        )
        second = await run(jail, shell(": > go; until [ -e said ]; do sleep 0.01; done"))
    assert (first.stdout, second.stdout) == (b"now\n", b"later\n")


async def test_guest_that_reopens_its_pipe_does_not_stop_the_host(profile: Profile) -> None:
    """Whatever a guest does to the pipe that it shares with us, the next command's output comes out."""
    script = (
        "import fcntl, os; end = os.open('/proc/self/fd/1', os.O_RDWR | os.O_NONBLOCK);"
        "fcntl.fcntl(end, 1031, 1 << 20); os.write(end, b'x' * 70000);"
        "fcntl.fcntl(1, fcntl.F_SETFL, os.O_DIRECT | os.O_NONBLOCK); [os.write(1, b'y') for _ in range(8)];"
        "os.posix_spawn('/bin/sh', ['sh', '-c', 'sleep 60 0<>/proc/self/fd/1'], {})"
    )
    async with open_jail(profile) as jail:
        await run(jail, shell(f'python3 -c "{script}"'))
        output = await run(jail, shell("head -c 1000000 /dev/zero; echo fine >&2"))
    assert (len(output.stdout), output.stderr) == (1_000_000, b"fine\n")


# --- a hostile agent ----------------------------------------------------------------------------------


async def test_jail_hands_nothing_to_the_host(profile: Profile) -> None:
    """Nothing can be queued towards the host on a socket, no byte and no descriptor."""
    source = (
        "problems = []\n"
        "for fd in (control, door):\n"
        "    for fds in ([], [0]):\n"
        "        try: socket.send_fds(socket.socket(fileno=os.dup(fd)), [b'x'], fds); problems.append('sent')\n"
        "        except OSError as error: problems.append(str(error.errno))\n"
        "tell(b'R')\n"
        "os.read(control, 1)\n"
        "os.write(stdout, ' '.join(problems).encode() + b'.')\n"
        "time.sleep(60)\n"
    )
    async with open_jail(hostile(profile, source)) as jail:
        output = await read(jail, Output(), until=b".")
    assert output.stdout.decode().strip(".").split() == [EPIPE] * 4


@pytest.mark.parametrize(
    "nonsense",
    [
        "os.write(report, b'\\xff' * 5000)",
        "tell(b'x', bytes(5))",
        "tell(b'n', b'no')",
        "os.close(report)",
        "os._exit(0)",
    ],
)
async def test_nonsense_is_a_lost_jail(profile: Profile, nonsense: str) -> None:
    """An agent that says what can't be, or hangs up, has lost its jail."""
    with pytest.raises(JailLostError):
        async with open_jail(
            hostile(profile, f"tell(b'R')\nos.read(control, 1)\n{nonsense}\ntime.sleep(60)\n")
        ) as jail:
            await jail.output.discard()


async def test_repeated_ends_are_not_drained_for(profile: Profile) -> None:
    """One end for each command: a flood of forged ones does not make the host read for each."""
    forged = "os.write(report, (b'x\\0\\0\\0\\5' + bytes(5)) * 6000)"
    source = f"tell(b'R')\nos.read(control, 4096)\n{forged}\ntime.sleep(60)\n"
    async with open_jail(hostile(profile, source)) as jail:
        await jail.start(shell("true"))
        with pytest.raises(JailLostError):
            await jail.output.discard()


async def test_agent_that_does_not_begin_is_no_jail(profile: Profile) -> None:
    """A jail whose agent says anything but that it is ready is not used."""
    with pytest.raises(JailError):
        async with open_jail(hostile(profile, "tell(b'K')\ntime.sleep(60)\n")):
            pass


async def test_bubblewraps_complaint_is_told(profile: Profile) -> None:
    """Where an agent does not come up, the words that were said on the way are in the error."""
    with pytest.raises(JailError, match="ZeroDivisionError"):
        async with open_jail(hostile(profile, "1 / 0\n")):
            pass
