"""A jail's way out, where it has one: nftables says to where, slirp4netns carries it there as an ordinary program.

Both are set up from outside, by whoever owns the jail's user namespace, before the first command. Those in the
jail have no right over its network. Whatever fails here, the jail has no network, or is none.
"""

import asyncio
import fcntl
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

import structlog

from sandbox_bridge.local.errors import JailError
from sandbox_bridge.local.jail import egress
from sandbox_bridge.local.jail.advice import advice_for
from sandbox_bridge.local.jail.egress import DEVICE, NOT_PUBLIC, Means
from sandbox_bridge.local.jail.pipes import close_all, readable
from sandbox_bridge.local.jail.profile import Profile, memory_file
from sandbox_bridge.settings import SandboxSettings

_PACKAGES = {
    "nft": "nftables",
    "slirp4netns": "slirp4netns",
    "nsenter": "util-linux",
    "prlimit": "util-linux",
}
_TUN = "/dev/net/tun"
_NS_GET_USERNS = 0xB701
_ADDRESSES_AND_ROUTES = 0x10 | 0x40  # RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE
_MAX_DESCRIPTORS = 512
"""Of a jail's connections to the outside at once: each is a port of the host."""
_MAX_ADDRESS_SPACE = 256 << 20
"""Of what carries them; a jail whose connections need more loses them all."""
_NEWS_AT_ONCE = 100
_KILL_S = 5.0
_COMPLAINT_BYTES = 2000

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Spaces:
    """The namespaces of a jail's network, as descriptors."""

    net: int
    user: int
    """The one that has all rights over `net`: not the one that tasks run in, but above."""


def find_means(settings: SandboxSettings) -> Means:
    """What gives a jail a network on this machine. Raises `JailError` where a part is missing."""
    # Where administrators' programs lie, which a plain user's PATH lacks.
    places = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    found = {program: shutil.which(program, path=places) for program in _PACKAGES}
    missing = {_PACKAGES[program] for program, path in found.items() if path is None}
    if missing:
        raise JailError(f"SANDBOX_MAX_NETWORK=full needs more: `apt install {' '.join(sorted(missing))}`")
    if not Path(_TUN).exists():
        raise JailError(f"{_TUN} is missing\nWhat to do: {advice_for(_TUN)}")
    means = Means(
        **{program: path or "" for program, path in found.items()},
        denied=(*NOT_PUBLIC, *settings.denied_networks),
        resolvers=settings.resolvers,
    )
    for address in means.resolvers:
        if egress.is_within([IPv4Network(address)], means.denied):
            raise JailError(f"SANDBOX_RESOLVERS: no task may reach {address}, which is not public")
    return means


@asynccontextmanager
async def uplink(profile: Profile, init_pid: int, init_fd: int) -> AsyncIterator[int]:
    """The way out of the jail whose first process is `init_pid`, until the block is left. Raises `JailError`.

    Gives the pidfd of the process that carries what goes there.
    """
    if profile.network is None:
        raise JailError("this sandbox gives no network")
    means = profile.network
    with _namespaces_of(init_pid, init_fd) as spaces, _address_news() as news:
        denied = {*means.denied, *own_networks()}
        await _filter(profile, means, spaces, denied)
        async with _router(profile, means, spaces) as router:
            loop = asyncio.get_running_loop()
            loop.add_reader(news, _cut_if_new, news, denied, router.process)
            try:
                yield router.pidfd
            finally:
                loop.remove_reader(news)


def own_networks() -> set[IPv4Network]:
    """What leads to this machine itself. Raises `JailError` where the kernel does not say."""
    try:
        networks = egress.own_networks(Path("/proc/thread-self/net/fib_trie").read_text(encoding="ascii"))
    except (OSError, ValueError, IndexError) as error:
        raise JailError(f"this machine's own addresses are not known: {error}") from None
    if not networks:
        raise JailError("this machine's own addresses are not known")
    return networks


@contextmanager
def _namespaces_of(init_pid: int, init_fd: int) -> Iterator[_Spaces]:
    fds: list[int] = []
    try:
        fds.append(os.open(f"/proc/{init_pid}/ns/net", os.O_RDONLY))
        fds.append(fcntl.ioctl(fds[0], _NS_GET_USERNS))
        # Its number was nobody else's, then.
        signal.pidfd_send_signal(init_fd, 0)
        if os.path.sameopenfile(fds[0], _own(fds, "net")) or os.path.sameopenfile(fds[1], _own(fds, "user")):
            raise JailError("the jail has no network of its own")
        yield _Spaces(*fds[:2])
    except OSError as error:
        raise JailError(f"the jail's network can't be entered: {error}") from error
    finally:
        close_all(fds)


def _own(fds: list[int], name: str) -> int:
    fds.append(os.open(f"/proc/thread-self/ns/{name}", os.O_RDONLY))
    return fds[-1]


async def _filter(profile: Profile, means: Means, spaces: _Spaces, denied: set[IPv4Network]) -> None:
    """Put the filter into the jail's network. Raises `JailError`."""
    words = [means.nsenter, "--preserve-credentials", _fd("--user=", spaces.user), _fd("--net=", spaces.net)]
    text = memory_file("rules", egress.rules(denied).encode())
    try:
        async with _program(profile, [*words, means.nft, "-f", "-"], spaces, stdin=text) as nft:
            await nft.ended()
            if nft.process.wait() != 0:
                raise JailError(f"no filter for the jail's network: nft says {nft.complaint()!r}")
    finally:
        os.close(text)


@asynccontextmanager
async def _router(profile: Profile, means: Means, spaces: _Spaces) -> AsyncIterator["_Program"]:
    """slirp4netns, ready: without any right but that of the jail's uid, and with nothing of the host's files."""
    ready_read, ready_write = os.pipe()
    # It ends with the last that holds the other end, which is us: however we end.
    exit_read, exit_write = os.pipe()
    # In the jail's user namespace from its start, for only there has it the right to shut itself in.
    words = [
        *(means.prlimit, f"--nofile={_MAX_DESCRIPTORS}", f"--as={_MAX_ADDRESS_SPACE}", "--core=0"),
        *(means.nsenter, "--preserve-credentials", _fd("--user=", spaces.user)),
        *(means.slirp4netns, "--configure", "--mtu=65520", "--disable-host-loopback", "--disable-dns"),
        *("--enable-sandbox", "--enable-seccomp", f"--ready-fd={ready_write}", f"--exit-fd={exit_read}"),
        *("--netns-type=path", _fd("", spaces.net), DEVICE),
    ]
    try:
        async with _program(profile, words, spaces, ready_write, exit_read) as slirp:
            os.close(ready_write)
            ready_write = -1
            await readable([ready_read])
            if not os.read(ready_read, 1):
                await slirp.ended()
                raise JailError(f"no way out for the jail's network: slirp4netns says {slirp.complaint()!r}")
            yield slirp
    finally:
        close_all([ready_read, exit_read, exit_write] + ([ready_write] if ready_write >= 0 else []))


def _fd(option: str, fd: int) -> str:
    return f"{option}/proc/self/fd/{fd}"


@dataclass(frozen=True, slots=True)
class _Program:
    process: subprocess.Popen[bytes]
    pidfd: int
    stderr: int

    async def ended(self) -> None:
        await readable([self.pidfd])

    def complaint(self) -> str:
        with suppress(BlockingIOError):
            return os.read(self.stderr, _COMPLAINT_BYTES).decode(errors="replace").strip()
        return ""


@asynccontextmanager
async def _program(
    profile: Profile, words: list[str], spaces: _Spaces, *fds: int, stdin: int = subprocess.DEVNULL
) -> AsyncIterator[_Program]:
    """A program of the host, run as the jails are, until the block is left. Raises `JailError`."""
    program = _start(profile, words, (spaces.net, spaces.user, *fds), stdin)
    try:
        yield program
    finally:
        await _end(program)


def _start(profile: Profile, words: list[str], fds: tuple[int, ...], stdin: int) -> _Program:
    stderr_read, stderr_write = os.pipe()
    # Nobody reads it but at a failure: what there is no room for is lost, and holds nobody up.
    os.set_blocking(stderr_read, False)
    os.set_blocking(stderr_write, False)
    drop_to = profile.drop_to
    try:
        process = subprocess.Popen(  # noqa: S603 - no shell, our own words
            words,
            pass_fds=fds,
            env={},
            cwd="/",
            process_group=profile.process_group,
            stdin=stdin,
            stdout=subprocess.DEVNULL,
            stderr=stderr_write,
            user=drop_to,
            group=drop_to,
            extra_groups=None if drop_to is None else [],
        )
    except OSError as error:
        os.close(stderr_read)
        raise JailError(str(error)) from error
    finally:
        os.close(stderr_write)
    return _Program(process, os.pidfd_open(process.pid), stderr_read)


async def _end(program: _Program) -> None:
    program.process.kill()
    try:
        async with asyncio.timeout(_KILL_S):
            await program.ended()
        program.process.wait()
    except TimeoutError:
        log.critical("uplink_does_not_die", pid=program.process.pid)
    finally:
        close_all([program.pidfd, program.stderr])


@contextmanager
def _address_news() -> Iterator[socket.socket]:
    """A socket that can be read once this machine's addresses or routes have changed."""
    try:
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
    except OSError as error:
        raise JailError(f"this machine's own addresses can't be watched: {error}") from error
    with sock:
        sock.bind((0, _ADDRESSES_AND_ROUTES))
        yield sock


def _cut_if_new(news: socket.socket, denied: set[IPv4Network], router: subprocess.Popen[bytes]) -> None:
    """End a jail's network where this machine has an address that its filter does not know."""
    for _ in range(_NEWS_AT_ONCE):
        try:
            news.recv(1 << 16)
        except BlockingIOError:
            break
        except OSError:  # more than it could hold: we look all the same
            continue
    try:
        is_known = egress.is_within(own_networks(), denied)
    except JailError:
        is_known = False
    if not is_known:
        log.warning("network_cut", reason="this machine has a new address")
        router.kill()
