"""A PostgreSQL server of the tests' own: its data in a folder that goes with it, on a port that was free."""

import os
import pwd
import random
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from tests.support.secrets_scan import findings_in_cluster

SERVER_USER = "postgres"
"""Who runs the server where we are root, which it refuses."""
DEADLINE_S = 60
LIKE_A_SERVER = ("fsync=on", "synchronous_commit=off")
"""A server that syncs, and whose own default is weaker than what the gateway asks for."""
QUICK = ("fsync=off", "full_page_writes=off", "synchronous_commit=off")
"""For tests of what is written, not of how safely."""


def programs() -> Path | None:
    """Where the server's programs are, or None: distributions keep them out of the PATH."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: path.parts[-3])
    return folders[-1].parent if folders else None


def free_port() -> int:
    """A port that nobody listened on a moment ago, and that the kernel gives to nobody who connects or names none."""
    for port in random.SystemRandom().sample(range(20_000, 32_000), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("", port))
            return port
    raise RuntimeError("no port is free")


@dataclass
class Server:
    """A cluster; `start` and `stop` as often as wanted."""

    folder: Path
    bin: Path
    settings: Sequence[str] = QUICK
    password: str = field(default_factory=lambda: secrets.token_hex(8))
    port: int = field(default_factory=free_port)

    def dsn(self, database: str = "postgres", *, port: int | None = None) -> str:
        """How one of its databases is reached; by another `port` where something stands between."""
        return f"postgresql://gateway:{self.password}@127.0.0.1:{port or self.port}/{database}"

    def create(self) -> None:
        """Make the cluster."""
        secret = self.folder / "password"
        secret.write_text(self.password)
        _give_away(self.folder, secret)
        self._run(
            "initdb", "--no-sync", "--encoding=UTF8", "--locale=C", "--username=gateway",
            "--auth=scram-sha-256", f"--pwfile={secret}", "-D", self._data,
        )  # fmt: skip

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = [
            *self.settings,
            f"port={self.port}",
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
        ]
        words = " ".join(f"-c {option}" for option in options)
        self._run("pg_ctl", "start", "-w", "-D", self._data, "-l", str(self.folder / "log"), "-o", words)

    def stop(self, mode: str = "immediate") -> None:
        """Stop it; `immediate` is a crash: nothing is written any more."""
        self._run("pg_ctl", "stop", "-w", "-D", self._data, "-m", mode)

    @property
    def recoveries(self) -> int:
        """How often it has found, when it was started, that it had crashed."""
        return (self.folder / "log").read_text().count("was not properly shut down")

    @property
    def shutdowns(self) -> int:
        """How often it has ended in order."""
        return (self.folder / "log").read_text().count("database system is shut down")

    @property
    def running(self) -> bool:
        """Whether it was started and not stopped."""
        return (self.folder / "data" / "postmaster.pid").exists()

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    def _run(self, program: str, *words: str) -> None:
        done = subprocess.run(
            [self.bin / program, *words],
            user=SERVER_USER if os.getuid() == 0 else None,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            # A server that was started keeps what it inherits: a pipe would never end.
            stdout=(output := (self.folder / "output").open("w+")),
            stderr=subprocess.STDOUT,
            timeout=DEADLINE_S,
            check=False,
        )
        output.seek(0)
        told = output.read()
        output.close()
        if done.returncode:
            raise RuntimeError(f"{program} failed: {told}")


@contextmanager
def postgres_server(settings: Sequence[str] = QUICK) -> Iterator[Server]:
    """A running server, gone after the block. Raises RuntimeError where PostgreSQL is not installed, and AssertionError
    where a token or a secret has got into what it keeps."""
    found = programs()
    if found is None:
        raise RuntimeError("PostgreSQL is not installed; on Debian: apt install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="gateway-postgres-"))
    server = Server(folder, found, settings)
    try:
        _give_away(folder)
        server.create()
        server.start()
        yield server
    finally:
        if server.running:
            server.stop()
        left = findings_in_cluster(folder)
        shutil.rmtree(folder, ignore_errors=True)
    assert not left, f"secrets in PostgreSQL's files: {left}"


@asynccontextmanager
async def fresh_database(server: Server) -> AsyncIterator[str]:
    """The DSN of a place without tables, gone after the block: a schema, which is made sooner than a database."""
    name = f"test_{secrets.token_hex(8)}"
    await _ask(server, f"CREATE SCHEMA {name}")
    try:
        yield f"{server.dsn()}?search_path={name}"
    finally:
        await _ask(server, f"DROP SCHEMA {name} CASCADE")


async def _ask(server: Server, statement: str) -> None:
    connection = await asyncpg.connect(server.dsn())
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _give_away(*paths: Path) -> None:
    if os.getuid() == 0:
        user = pwd.getpwnam(SERVER_USER)
        for path in paths:
            os.chown(path, user.pw_uid, user.pw_gid)
