"""The door, the start and the refusal to start."""

import json
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus

from tests.sandbox_bridge.local.service import (
    Peer,
    Service,
    clean_environment,
    eventually,
    running_service,
    service_command,
)
from tests.support import waiting
from tests.support.kernel import has_open_tun

HAS_UPLINK = (
    all(shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") for name in ("slirp4netns", "nft"))
    and has_open_tun()
)
TOKEN = "0123456789abcdef"  # noqa: S105 - a test's own


def refused_start(tmp_path: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """A service that should not start, when it has ended."""
    return subprocess.run(
        service_command(*arguments),
        env=clean_environment(**settings),
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


async def status_of(url: str, **options: object) -> int:
    """The HTTP status that refuses a handshake."""
    with pytest.raises(InvalidStatus) as refusal:
        async with Peer(url, **options):
            pass
    return refusal.value.response.status_code


# --- the door -----------------------------------------------------------------------------------------


async def test_other_path_is_not_found(service: Service) -> None:
    """The protocol is spoken at /ws alone."""
    assert await status_of(service.url.replace("/ws", "/")) == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://127.0.0.1"},
        {"Origin": "null"},
        {"Host": "evil.example"},
        {"Host": "evil.example:80"},
    ],
)
async def test_browser_or_strange_host_is_forbidden(service: Service, headers: dict[str, str]) -> None:
    """A request with an Origin, or under another name, is refused 403."""
    assert raw_status(service, **({"Host": f"127.0.0.1:{service.port}"} | headers)) == 403


def raw_status(service: Service, **headers: str) -> int:
    """The status of an upgrade with just these headers."""
    with upgraded(service, **headers) as connection:
        return int(connection.recv(64).split()[1])


def upgraded(service: Service, **headers: str) -> socket.socket:
    """A socket on which an upgrade with just these headers was asked for."""
    upgrade = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        "Sec-WebSocket-Version": "13",
    }
    lines = ["GET /ws HTTP/1.1", *(f"{name}: {value}" for name, value in (upgrade | headers).items()), "", ""]
    connection = socket.create_connection(("127.0.0.1", service.port), 5)
    connection.sendall("\r\n".join(lines).encode())
    return connection


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:1", "[::1]:80", "LOCALHOST:9"])
async def test_loopback_names_are_ours(service: Service, host: str) -> None:
    """Loopback is us under each of its names."""
    assert raw_status(service, Host=host) == 101


async def test_missing_host_is_forbidden(service: Service) -> None:
    """A request that does not say whom it wants is refused."""
    assert raw_status(service) in {400, 403}


async def test_token_is_needed_where_one_is_set() -> None:
    """Without the right token the answer is 401, with it the door opens."""
    with running_service(SANDBOX_TOKEN=TOKEN) as service:
        assert await status_of(service.url) == 401
        wrong = {"Authorization": f"Bearer {TOKEN}x"}
        assert await status_of(service.url, additional_headers=wrong) == 401
        async with Peer(service.url, additional_headers={"Authorization": f"Bearer {TOKEN}"}) as peer:
            assert (await peer.hello())["type"] == "hello"


async def test_connections_are_bounded() -> None:
    """One connection too many is refused 503, and a place is free again when one goes."""
    with running_service(SANDBOX_MAX_CONNECTIONS="1") as service:
        async with Peer(service.url) as peer:
            await peer.hello()
            assert await status_of(service.url) == 503
        await waiting.eventually(lambda: is_let_in(service.url))


async def is_let_in(url: str) -> bool:
    """Whether there is a place for a peer now: one that goes may have heard so before its place is free."""
    try:
        async with Peer(url) as peer:
            await peer.hello()
    except InvalidStatus as refusal:
        assert refusal.response.status_code == 503
        return False
    return True


async def test_silent_sockets_are_hung_up_on() -> None:
    """Who connects and says nothing is not waited for."""
    with (
        running_service(SANDBOX_OPEN_TIMEOUT_S="0.3") as service,
        socket.create_connection(("127.0.0.1", service.port), 5) as silent,
    ):
        assert silent.recv(1) == b""


def test_flood_of_sockets_is_hung_up_on() -> None:
    """Silent sockets beyond the bound are closed at once, long before their deadline."""
    with (
        running_service(SANDBOX_MAX_CONNECTIONS="2", SANDBOX_OPEN_TIMEOUT_S="60") as service,
        ExitStack() as stack,
    ):
        for _ in range(6):
            last = stack.enter_context(socket.create_connection(("127.0.0.1", service.port), 5))
        assert is_hung_up(last)


def is_hung_up(connection: socket.socket) -> bool:
    """Whether the other side closes, in order or not, before the socket's timeout."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_frame_beyond_32_mib_closes_its_connection(service: Service) -> None:
    """Up to twice what a peer may send is read, to answer it; more is not."""
    with upgraded(service, Host="localhost") as connection:
        assert b" 101 " in connection.recv(1024)
        connection.sendall(b"\x81\xff" + (33 << 20).to_bytes(8, "big") + b"mask")
        assert connection.recv(4)[2:] == (1009).to_bytes(2, "big")


# --- the start ----------------------------------------------------------------------------------------


async def test_stdout_is_the_ready_line_alone() -> None:
    """Standard output says once where the service is, and nothing else; logs are JSON elsewhere."""
    with running_service() as service:
        async with Peer(service.url) as peer:
            await peer.run("echo hi")
        assert service.process.stdin is not None
        assert service.process.stdout is not None
        service.process.stdin.close()
        assert service.process.stdout.read() == b""
        assert eventually(lambda: service.process.poll() == 0)


@pytest.fixture
def fakes() -> Iterator[Path]:
    """A folder for programs that an unprivileged process can start; pytest's own are private."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_missing_bubblewrap_says_what_to_install(tmp_path: Path) -> None:
    """Without bubblewrap the service does not start: exit 3, and one message with what to do."""
    ended = refused_start(tmp_path, PATH=str(tmp_path))
    assert (ended.returncode, ended.stdout) == (3, "")
    assert ended.stderr == "the sandbox does not start: bubblewrap is missing: `apt install bubblewrap`\n"


@pytest.mark.parametrize(
    ("complaint", "advice"),
    [
        ("bwrap: Unknown option --disable-userns", "too old"),
        ("bwrap: No permissions to creating new namespace, likely because...", "seccomp=unconfined"),
        (
            "bwrap: Creating new namespace failed: nesting depth or max_*_namespaces exceeded (ENOSPC)",
            "max_user",
        ),
        ("bwrap: loopback: Failed RTM_NEWADDR: Operation not permitted", "AppArmor"),
        ("bwrap: setting up uid map: Operation not permitted", "AppArmor"),
        ("bwrap: Failed to make / slave: Permission denied", "forbids mounts"),
        ("bwrap: Can't mount proc on /newroot/proc: Operation not permitted", "systempaths"),
        ("bwrap: something nobody has seen", "bwrap --unshare-all"),
    ],
)
def test_failing_bubblewrap_is_explained(fakes: Path, complaint: str, advice: str) -> None:
    """Each known way in which a machine forbids the jail has its own words on what to do."""
    fake = fakes / "bwrap"
    fake.write_text(f'#!/bin/sh\necho "{complaint}" >&2\nexit 1\n')
    fake.chmod(0o755)
    ended = refused_start(fakes, PATH=f"{fakes}:{os.environ['PATH']}")
    assert (ended.returncode, ended.stdout) == (3, "")
    assert complaint in ended.stderr
    assert advice in ended.stderr


@pytest.mark.parametrize(
    ("left_out", "added", "words"),
    [
        (["--disable-userns"], [], "user namespaces was not disabled"),
        ([], ["--share-net"], "does not hold: only_loopback"),
        (["--seccomp"], [], "does not hold: system_calls_filtered"),
    ],
)
def test_weak_jail_is_refused(fakes: Path, left_out: list[str], added: list[str], words: str) -> None:
    """A jail that starts but does not hold is as good as none: the start names what failed."""
    fake = fakes / "bwrap"
    fake.write_text(
        "#!/usr/bin/python3\n"
        "import os, sys\n"
        "words = sys.argv[1:]\n"
        f"for word in {left_out}:\n"
        "    at = words.index(word)\n"
        "    del words[at : at + (2 if word == '--seccomp' else 1)]\n"
        f"os.execv('/usr/bin/bwrap', ['bwrap', *words[:1], *{added}, *words[1:]])\n"
    )
    fake.chmod(0o755)
    ended = refused_start(fakes, PATH=f"{fakes}:{os.environ['PATH']}")
    assert ended.returncode == 3
    assert words in ended.stderr


def test_network_without_its_programs_is_refused(fakes: Path) -> None:
    """A sandbox that is to give a network, and has nothing to hold it in, does not start."""
    for name in ("bwrap", "python3"):
        (fakes / name).symlink_to(f"/usr/bin/{name}")
    ended = refused_start(fakes, PATH=str(fakes), SANDBOX_MAX_NETWORK="full")
    assert (ended.returncode, ended.stdout) == (3, "")
    assert "`apt install" in ended.stderr
    assert "slirp4netns" in ended.stderr


@pytest.mark.skipif(not HAS_UPLINK, reason="needs slirp4netns, nft and /dev/net/tun")
@pytest.mark.parametrize(
    ("program", "does", "words"),
    [
        ("nft", "echo not in this kernel >&2; exit 1", "modprobe nf_tables"),
        ("nft", "exit 0", "does not hold: no_way_to_10.0.2.2"),
        ("slirp4netns", "echo no tap >&2; exit 1", "PrivateDevices"),
        ("slirp4netns", "exec sleep 60", "did not start in time"),
    ],
)
def test_weak_network_is_refused(fakes: Path, program: str, does: str, words: str) -> None:
    """A filter or a way out that fails, or only seems to be there, is as good as none."""
    fake = fakes / program
    fake.write_text(f"#!/bin/sh\n{does}\n")
    fake.chmod(0o755)
    ended = refused_start(
        fakes,
        PATH=f"{fakes}:{os.environ['PATH']}",
        SANDBOX_MAX_NETWORK="full",
        SANDBOX_START_TIMEOUT_S="1",
    )
    assert (ended.returncode, ended.stdout) == (3, "")
    assert words in ended.stderr


@pytest.mark.skipif(not HAS_UPLINK, reason="needs slirp4netns, nft and /dev/net/tun")
def test_resolver_that_no_task_may_reach_is_refused(tmp_path: Path) -> None:
    """A private resolver would be asked in vain."""
    ended = refused_start(tmp_path, SANDBOX_MAX_NETWORK="full", SANDBOX_RESOLVERS="9.9.9.9,10.0.0.1")
    assert (ended.returncode, ended.stdout) == (3, "")
    assert "10.0.0.1" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "settings", "words"),
    [
        (["--host", "0.0.0.0"], {}, "SANDBOX_TOKEN"),  # noqa: S104 - refused
        ([], {"SANDBOX_TOKEN": "short"}, "at least 16"),
        ([], {"SANDBOX_ISOLATION": "none"}, "--unsafe-no-isolation"),
        (
            ["--unsafe-no-isolation", "--host", "0.0.0.0"],  # noqa: S104 - refused
            {"SANDBOX_ISOLATION": "none", "SANDBOX_TOKEN": "0123456789abcdef"},
            "loopback only",
        ),
        ([], {"SANDBOX_DENIED_NETWORKS": "5.6.7.8/24"}, "SANDBOX_DENIED_NETWORKS"),
        ([], {"SANDBOX_MAX_SESSIONS": "0"}, "SANDBOX_MAX_SESSIONS"),
        (["--parent-stdin"], {}, "standard input"),
        (["--host", "192.0.2.1"], {"SANDBOX_TOKEN": TOKEN}, "can't listen"),
    ],
)
def test_wrong_setting_is_refused(
    tmp_path: Path, arguments: list[str], settings: dict[str, str], words: str
) -> None:
    """What can't be meant is refused at the start, with the reason, and without showing a secret."""
    ended = refused_start(tmp_path, *arguments, **settings)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "short" not in ended.stderr


def test_taken_port_is_told(tmp_path: Path, service: Service) -> None:
    """A port that somebody else has is named."""
    ended = refused_start(tmp_path, "--port", str(service.port))
    assert ended.returncode == 2
    assert str(service.port) in ended.stderr


def test_logs_are_json_lines(tmp_path: Path) -> None:
    """What the service logs can be read by machines."""
    with subprocess.Popen(
        service_command("--parent-stdin"),
        env=clean_environment(),
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        _, logs = process.communicate(timeout=20)
    assert process.returncode == 0
    assert [json.loads(line)["event"] for line in logs.splitlines()] == ["sandbox_ready"]
