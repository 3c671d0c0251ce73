"""What a jail holds in, and how all of it ends."""

import asyncio
import os
import secrets
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.sandbox_bridge.local.service import (
    Peer,
    Service,
    code_of,
    eventually,
    open_files,
    processes_with,
    progress,
    running_service,
    task,
    text_of,
)


@pytest.fixture
def marker() -> str:
    """A word that no other process on this machine has in its command line."""
    return f"marker-{secrets.token_hex(8)}"


def stubborn(marker: str) -> str:
    """A command that ignores TERM, leaves daemons that do so as well, and prints for ever."""
    loop = f"trap '' TERM HUP INT; : {marker}; while :; do echo {marker}; sleep 0.01; done"
    daemon = loop.replace("'", "'\\''")
    return f"setsid sh -c '{daemon}' & (setsid sh -c '{daemon}' &) ; {loop}"


async def started(peer: Peer, marker: str, session_id: str = "s") -> None:
    """Start a stubborn task and wait until all of it runs."""
    await peer.send(task(stubborn(marker), session_id=session_id))
    await peer.until(lambda frame: marker in text_of([frame]))
    assert eventually(lambda: len(processes_with(marker)) >= 3)


# --- what a task can't reach --------------------------------------------------------------------------


async def test_guest_is_nobody(peer: Peer) -> None:
    """A task has no root, no capabilities, no way to more, and is not the host's root either."""
    frames = await peer.run(
        "id -u; grep -E 'CapEff|CapBnd|NoNewPrivs' /proc/self/status | cut -f2; sleep 0.2"
    )
    assert text_of(frames).split() == ["1000", "0" * 16, "0" * 16, "1"]
    assert frames[-1]["result"]["isolation"]["host_uid"] != 0


async def test_processes_run_unprivileged_on_the_host(peer: Peer, marker: str) -> None:
    """Seen from the host, no process of a jail has uid 0."""
    await started(peer, marker)
    uids = {os.stat(f"/proc/{pid}").st_uid for pid in processes_with(marker)}  # noqa: PTH116 - /proc
    assert 0 not in uids


async def test_network_is_unreachable(peer: Peer) -> None:
    """There is no network but a loopback of its own."""
    script = "import socket; socket.create_connection(('192.0.2.1', 80), 2)"
    end = (await peer.run(f'python3 -c "{script}"'))[-1]
    assert "Network is unreachable" in end["error_info"]["result"]["commands"][0]["stderr"]


async def test_hosts_ports_are_not_there(service: Service, peer: Peer) -> None:
    """A jail's loopback is not the host's: not even our own port answers."""
    script = f"import socket; socket.create_connection(('127.0.0.1', {service.port}), 2)"
    end = (await peer.run(f'python3 -c "{script}"'))[-1]
    assert "Connection refused" in end["error_info"]["result"]["commands"][0]["stderr"]


async def test_hosts_files_are_not_there(peer: Peer, tmp_path: Path) -> None:
    """A file of the host can't be seen, however readable it is there."""
    secret = tmp_path / "secret"
    secret.write_text("secret")
    secret.chmod(0o644)
    paths = f"{secret} {Path(__file__)} /etc/hostname /root /home /run /sys /var /proc/1/root/etc/shadow"
    frames = await peer.run(f"for f in {paths}; do [ -e $f ] && echo $f; done; true")
    assert text_of(frames) == ""


async def test_system_is_read_only(peer: Peer) -> None:
    """Only the working directory, /tmp and shared memory can be written."""
    places = "/ /usr /usr/bin /etc /dev /proc /work /tmp /dev/shm"
    frames = await peer.run(f"for d in {places}; do (: > $d/x) 2>/dev/null && echo $d; done; true")
    assert text_of(frames).split() == ["/work", "/tmp", "/dev/shm"]  # noqa: S108 - inside


async def test_services_environment_stays_out() -> None:
    """Nothing of the service's environment is seen inside, not even through the jail's first process."""
    token = "0123456789abcdef"  # noqa: S105 - a test's own
    with running_service(SANDBOX_TOKEN=token, OTHER_WORD="hush") as service:
        headers = {"Authorization": f"Bearer {token}"}
        async with Peer(service.url, additional_headers=headers) as peer:
            frames = await peer.run("env; cat /proc/*/environ /proc/*/cmdline | tr '\\0' '\\n'")
    assert token not in text_of(frames)
    assert "hush" not in text_of(frames)
    names = {line.split("=")[0] for line in text_of(frames).splitlines() if "=" in line}
    assert names <= {"HOME", "PATH", "LANG", "PWD", "OLDPWD", "SHLVL", "_"}


async def test_sessions_do_not_see_each_other(service: Service, peer: Peer, marker: str) -> None:
    """Two sessions share no files and no processes."""
    await peer.send(task(f"echo {marker} > /tmp/a; echo {marker} > a; echo up; sleep 5", session_id="one"))
    await peer.until(lambda frame: text_of([frame]) == "up\n")
    async with Peer(service.url) as other:
        frames = await other.run("ls -A /tmp /work /dev/shm; ls /proc | grep -c '^[0-9]'")
    # The jail's init, the agent, the shell, ls and, if it is there already, grep: nobody else.
    *folders, count = text_of(frames).split()
    assert folders == ["/dev/shm:", "/tmp:", "/work:"]  # noqa: S108 - inside
    assert count in {"4", "5"}


async def test_agents_source_has_no_path(peer: Peer) -> None:
    """The agent came in without a path that a task could read or replace."""
    frames = await peer.run("cat /proc/2/cmdline | tr '\\0' ' '; ls -l /proc/2/fd | grep -c memfd")
    command_line, memory_files = text_of(frames).rsplit(" ", 1)
    assert "/dev/fd/" in command_line
    assert memory_files.strip() == "0"


async def test_task_inherits_nothing(peer: Peer) -> None:
    """A command has the three standard descriptors, and none of the agent's or the host's."""
    assert text_of(
        await peer.run({"argv": ["python3", "-c", "import os; print(os.listdir('/dev/fd'))"]})
    ) == (
        "['0', '1', '2', '3']\n"  # 3 is the listing itself
    )


# --- how it ends --------------------------------------------------------------------------------------


async def test_cancel_leaves_nothing_behind(peer: Peer, marker: str) -> None:
    """Within 1 s of a cancel all is gone, whatever it traps and wherever it hid, before the last frame."""
    await started(peer, marker)
    began = time.monotonic()
    await peer.send({"type": "cancel_task", "session_id": "s"})
    frames = await peer.until_end()
    assert processes_with(marker) == []
    assert time.monotonic() - began < 1.0
    info = frames[-1]["error_info"]
    assert (info["code"], info["exit_code"], info["reason"]) == ("cancelled", None, "cancelled")
    assert info["result"]["status"] == "cancelled"
    assert progress(frames, "command")[-1]["reason"] == "cancelled"


async def test_cancelled_command_may_clean_up(peer: Peer) -> None:
    """TERM comes first: a command that ends on it in time has its own last words and exit code."""
    await peer.send(task("trap 'echo bye; exit 9' TERM; echo up; while :; do sleep 0.01; done"))
    await peer.until(lambda frame: text_of([frame]) == "up\n")
    await peer.send({"type": "cancel_task", "session_id": "s"})
    frames = await peer.until_end()
    assert text_of(frames) == "bye\n"
    assert (code_of(frames[-1]), frames[-1]["error_info"]["exit_code"]) == ("cancelled", 9)


async def test_cancel_of_a_command_that_has_just_ended(peer: Peer, marker: str) -> None:
    """A command that ended before our TERM keeps its own end; what was cancelled has no exit code."""
    await peer.send(task(f": {marker}; echo up; sleep 0.3; :", "sleep 60"))
    await peer.until(lambda frame: text_of([frame]) == "up\n")
    shell = min(processes_with(marker))
    agent = parent_of(shell)
    os.kill(agent, signal.SIGSTOP)
    assert eventually(lambda: processes_with(marker) == [])
    await peer.send({"type": "cancel_task", "session_id": "s"})
    await peer.send({"type": "health_check"})
    await peer.until(lambda frame: frame["type"] == "health")
    os.kill(agent, signal.SIGCONT)
    info = (await peer.until_end())[-1]["error_info"]
    assert (info["code"], info["exit_code"], info["reason"]) == ("cancelled", None, "cancelled")
    assert [(c["exit_code"], c["reason"]) for c in info["result"]["commands"]] == [(0, "exit")]


async def test_cancel_at_any_moment_of_the_start(peer: Peer) -> None:
    """A cancel right behind its task, or a little later, always ends it, once."""
    for step in range(20):
        session_id = str(step)
        await peer.send(task("sleep 60", session_id=session_id))
        await pass_time(step * 0.002)
        await peer.send({"type": "cancel_task", "session_id": session_id})
        assert code_of((await peer.until_end(session_id))[-1]) == "cancelled"
    await peer.send({"type": "health_check"})
    assert (await peer.recv())["active_sessions"] == 0


async def test_cancel_does_not_wait_for_credit(bridge: Peer, marker: str) -> None:
    """A session whose output nobody takes is cancelled as fast as any other."""
    await bridge.send(task(f"yes {marker}"))
    await bridge.until(lambda frame: bool(text_of([frame])))
    began = time.monotonic()
    await bridge.send({"type": "cancel_task", "session_id": "s"})
    assert code_of((await bridge.until_end())[-1]) == "cancelled"
    assert time.monotonic() - began < 1.0
    assert processes_with(marker) == []


async def test_dropped_socket_ends_its_sessions(service: Service, marker: str) -> None:
    """When the socket drops, what ran for it is killed, and nobody else's."""
    async with Peer(service.url) as other:
        await other.send(task("sleep 1; echo fine"))
        async with Peer(service.url) as peer:
            await started(peer, marker)
            peer.socket.transport.abort()
        assert eventually(lambda: processes_with(marker) == [])
        assert text_of(await other.until_end()) == "fine\n"


async def test_ended_command_takes_its_background_along(peer: Peer, marker: str) -> None:
    """When the task ends, what it left in the background is gone before the last frame."""
    await peer.run(f"setsid sh -c ': {marker}; sleep 60; :' & sleep 0.1")
    assert processes_with(marker) == []


@pytest.mark.parametrize("way", ["kill -9", "stdin", "TERM"])
async def test_jails_die_with_their_service(way: str, marker: str) -> None:
    """However the service ends, its jails end with it; when asked to, it exits 0."""
    with running_service() as service:
        async with Peer(service.url) as peer:
            await started(peer, marker)
            process = service.process
            assert process.stdin is not None
            match way:
                case "kill -9":
                    process.kill()
                case "stdin":
                    process.stdin.close()
                case "TERM":
                    process.terminate()
            code = await asyncio.to_thread(process.wait, 10)
        assert eventually(lambda: processes_with(marker) == [])
        assert code == (-signal.SIGKILL if way == "kill -9" else 0)


async def test_jail_dies_with_its_service_without_its_agent(marker: str) -> None:
    """Also a jail whose agent can't act any more dies with a service that was killed."""
    with running_service() as service:
        async with Peer(service.url) as peer:
            await peer.send(task(f"kill -STOP 2; {stubborn(marker)}"))
            assert eventually(lambda: len(processes_with(marker)) >= 3)
            service.process.kill()
    assert eventually(lambda: processes_with(marker) == [])


@pytest.mark.parametrize("step", range(6))
async def test_service_killed_while_jails_start_leaves_none(step: int, marker: str) -> None:
    """A service killed at any moment of a jail's start leaves nothing running."""
    with running_service() as service:
        async with Peer(service.url) as peer:
            for number in range(8):
                await peer.send(task(f": {marker}; sleep 60; :", session_id=str(number)))
            await pass_time(step * 0.008)
            service.process.kill()
    # A jail's processes leave the service's session only when the jail stands.
    assert eventually(lambda: not session_exists(service.process.pid))
    assert eventually(lambda: processes_with(marker) == [])


def parent_of(pid: int) -> int:
    """The process that started `pid`."""
    return int(Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[1])


async def pass_time(seconds: float) -> None:
    """Let a moment go by, where the moment itself is what is tried."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.Event().wait()


def session_exists(session: int) -> bool:
    """Whether a process of that session of the system is alive; one that waits to be reaped is not."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text("ascii").rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            return True
    return False


async def test_no_descriptor_is_left_open(service: Service, peer: Peer) -> None:
    """Sessions leave no file descriptors, children or threads behind in the service."""
    await peer.run("true")
    before = open_files(service)
    for _ in range(5):
        await peer.run("exit 1")
    assert eventually(lambda: open_files(service) <= before)
