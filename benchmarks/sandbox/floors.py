"""What the machine itself needs, measured in the same run as what is built on it."""

import asyncio
import os
import sqlite3
import subprocess
import time
from pathlib import Path

from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

_BWRAP = [
    *("bwrap", "--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session"),
    *("--clearenv", "--cap-drop", "ALL", "--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin"),
    *("--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64", "--proc", "/proc", "--dev", "/dev"),
    *("--tmpfs", "/tmp", "--tmpfs", "/work", "--chdir", "/work"),  # noqa: S108 - inside the jail
]
_PYTHON = ["/usr/bin/python3", "-I", "-S", "-c", "pass"]
TEXT_BYTES = 64 << 10


def bare_jail() -> "subprocess.Popen[bytes]":
    """A bubblewrap of the same make that starts a Python and ends."""
    return subprocess.Popen([*_BWRAP, *_PYTHON])


def cold_ms(count: int) -> float:
    """Milliseconds until `count` bare jails, all started at once, have run Python."""
    began = time.perf_counter()
    for process in [bare_jail() for _ in range(count)]:
        process.wait()
    return (time.perf_counter() - began) * 1000


def pipe_mb_s(size: int) -> float:
    """MB/s of the same program in a bare jail, its pipe read and thrown away."""
    command = [*_BWRAP, "/bin/sh", "-c", f"yes 0123456789abcde | head -c {size}"]
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        fd = process.stdout.fileno()
        while os.read(fd, TEXT_BYTES):
            pass
    return size / 1e6 / (time.perf_counter() - began)


async def socket_mb_s(size: int) -> float:
    """MB/s of text frames of 64 KiB from one `websockets` peer to another, both in this process."""
    text = "x" * TEXT_BYTES

    async def flood(peer: ServerConnection) -> None:
        for _ in range(size // TEXT_BYTES):
            await peer.send(text)

    async with serve(flood, "127.0.0.1", 0, compression=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        began = time.perf_counter()
        async with connect(f"ws://127.0.0.1:{port}", compression=None, proxy=None) as peer:
            taken = 0
            async for message in peer:
                taken += len(message)
    await asyncio.sleep(0)
    return taken / 1e6 / (time.perf_counter() - began)


def synced_rows_mb_s(folder: Path, rows: int) -> float:
    """MB/s of 64 KiB rows, each synced to the disk by SQLite before the next."""
    row = os.urandom(TEXT_BYTES)
    with sqlite3.connect(folder / "floor.db", isolation_level=None) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.execute("CREATE TABLE IF NOT EXISTS rows (id INTEGER PRIMARY KEY, data BLOB)")
        began = time.perf_counter()
        for _ in range(rows):
            database.execute("INSERT INTO rows (data) VALUES (?)", (row,))
        took = time.perf_counter() - began
    database.close()
    return rows * TEXT_BYTES / 1e6 / took
