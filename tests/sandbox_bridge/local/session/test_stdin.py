"""What goes into a command: its standard input, and its terminal."""

import asyncio
import signal

import pytest

from sandbox_bridge.local.jail.profile import Profile
from sandbox_bridge.protocol import TtySize
from tests.sandbox_bridge.local.jails import Output, open_jail, read, run, shell

TTY = TtySize(cols=100, rows=30)


# --- standard input -----------------------------------------------------------------------------------


async def test_input_reaches_the_command_whole(profile: Profile) -> None:
    """A megabyte goes in as it was sent, through a pipe that is smaller, and ends where it is ended."""
    data = b"".join(b"%06d\n" % n for n in range(150_000))
    async with open_jail(profile) as jail:
        await jail.start(shell("cat; echo end", stdin=True))

        async def feed() -> None:
            await jail.write_stdin(data)
            jail.close_stdin_nowait()

        output = Output()
        async with asyncio.TaskGroup() as group:
            group.create_task(feed())
            await read(jail, output)
    assert output.stdout == data + b"end\n"


async def test_command_without_input_reads_nothing(profile: Profile) -> None:
    """Without `stdin` there is nothing to read, at once."""
    async with open_jail(profile) as jail:
        output = await run(jail, shell("cat; readlink /proc/self/fd/0"))
    assert output.stdout == b"/dev/null\n"


async def test_input_that_nobody_reads_is_dropped(profile: Profile) -> None:
    """Input for a command that has closed it, or has ended, goes nowhere and holds nobody up."""
    async with open_jail(profile) as jail:
        await jail.start(shell("exec <&-; echo closed; sleep 0.2", stdin=True))
        output = await read(jail, Output(), until=b"closed")
        await jail.write_stdin(b"x" * 1_000_000)
        assert (await read(jail, output)).exit_code == 0
        await jail.write_stdin(b"x" * 1_000_000)


async def test_input_waits_no_longer_than_its_command(profile: Profile) -> None:
    """Who waits for room in a command's input goes on when the command ends, whoever else holds it open."""
    async with open_jail(profile) as jail:
        await jail.start(shell("sleep 60 <&0 & sleep 0.1", stdin=True))
        async with asyncio.TaskGroup() as group:
            writing = group.create_task(jail.write_stdin(b"x" * 1_000_000))
            await read(jail, Output())
        assert writing.done()


async def test_each_command_has_its_own_input(profile: Profile) -> None:
    """What one command did not read is not the next one's."""
    async with open_jail(profile) as jail:
        for word in (b"one\n", b"two\n"):
            await jail.start(shell("read line; echo got $line", stdin=True))
            await jail.write_stdin(word + b"rest\n")
            assert (await read(jail, Output())).stdout == b"got " + word


# --- a terminal ---------------------------------------------------------------------------------------


async def test_terminal_is_one(profile: Profile) -> None:
    """A command on a terminal has it on all three streams, controls it, and knows its size."""
    async with open_jail(profile) as jail:
        output = await run(jail, shell("tty <&2; stty size; : > /dev/tty && echo mine", tty=TTY))
    assert output.stdout == b"/dev/pts/0\r\n30 100\r\nmine\r\n"


async def test_terminal_takes_a_new_size(profile: Profile) -> None:
    """A resize is seen by the command, which is told."""
    async with open_jail(profile) as jail:
        line = "trap 'stty size; exit' WINCH; echo up; while :; do sleep 0.01; done"
        await jail.start(shell(line, tty=TTY))
        output = await read(jail, Output(), until=b"up")
        jail.resize_nowait(120, 40)
        assert (await read(jail, output)).stdout == b"up\r\n40 120\r\n"


async def test_control_c_interrupts(profile: Profile) -> None:
    """A Ctrl-C typed ends the command by SIGINT."""
    async with open_jail(profile) as jail:
        await jail.start(shell("echo up; exec sleep 60", tty=TTY, stdin=True))
        output = await read(jail, Output(), until=b"up")
        await jail.write_stdin(b"\x03")
        output = await read(jail, output)
    assert output.end is not None
    assert int.from_bytes(output.end[1][:4], "big") == signal.SIGINT


@pytest.mark.parametrize("typed", [b"one\n", b"one"])
async def test_end_of_input_is_control_d(profile: Profile, typed: bytes) -> None:
    """Ended input ends what reads from a terminal, in the middle of a line, too."""
    async with open_jail(profile) as jail:
        await jail.start(shell("stty -echo; echo up; cat; echo end", tty=TTY, stdin=True))
        output = await read(jail, Output(), until=b"up")
        await jail.write_stdin(typed)
        jail.close_stdin_nowait()
        output = await read(jail, output)
    assert output.stdout.replace(b"\r\n", b"") == b"uponeend"


async def test_terminals_last_words_come_before_the_end(profile: Profile) -> None:
    """All that a command prints on its terminal is there when its end is, however slowly it is read."""
    async with open_jail(profile) as jail:
        await jail.start(shell("seq 50000", tty=TTY))
        output = await read(jail, Output())
    assert output.stdout == b"".join(b"%d\r\n" % n for n in range(1, 50001))
    assert output.exit_code == 0


async def test_terminal_goes_with_its_command(profile: Profile) -> None:
    """What a command leaves in the background neither holds up its end nor keeps its terminal."""
    async with open_jail(profile) as jail:
        output = await run(jail, shell("yes & trap '' HUP; yes & echo $!", tty=TTY))
        assert output.exit_code == 0
        again = await run(jail, shell("tty <&1", tty=TTY))
    assert again.stdout.startswith(b"/dev/pts/")


async def test_signal_reaches_a_terminals_foreground(profile: Profile) -> None:
    """A signal reaches whoever holds the terminal, also in a group of its own."""
    async with open_jail(profile) as jail:
        await jail.start(shell("set -m; trap '' TERM; (trap - TERM; echo up; sleep 60); exit 3", tty=TTY))
        output = await read(jail, Output(), until=b"up")
        jail.signal_nowait(signal.SIGTERM)
        assert (await read(jail, output)).exit_code == 3
