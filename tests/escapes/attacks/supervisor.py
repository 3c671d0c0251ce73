"""Against whoever watches over the jail: its first process, the agent in it, and the service outside."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from pathlib import Path

from tests.escapes.attacks.attempts import DONE, LIBC, answer

INIT, AGENT = 1, 2
PIDFD_GETFD = 438


def kill(pid: int, number: int) -> str:
    """Send a signal, and say what came of it, if we are there to say it."""
    return answer(os.kill, pid, number)


def kill_everybody() -> None:
    """Kill all that there is, again and again; who is inside reaches only his own."""
    for _ in range(100):
        os.kill(-1, signal.SIGKILL)


def stop_everybody() -> None:
    """Stop all that there is, ourselves last."""
    for _ in range(10):
        answer(os.kill, -1, signal.SIGSTOP)
    os.kill(os.getpid(), signal.SIGSTOP)


def all_signals() -> list[str]:
    """Send the first process every signal there is."""
    return [answer(os.kill, INIT, number) for number in range(1, 65) if number not in {32, 33}]


def speak_as_agent(text: str, times: int) -> int:
    """Write `text` on each of the agent's sockets and pipes that can be had; how many there were."""
    spoken = 0
    for name in os.listdir(f"/proc/{AGENT}/fd"):
        fd = _opened(name)
        if fd < 0:
            continue
        spoken += 1
        os.set_blocking(fd, False)
        _write_often(fd, text.encode("latin-1"), times)
    return spoken


def _opened(name: str) -> int:
    """A descriptor of the agent's, as a file or taken from it; negative where it can't be had."""
    path = f"/proc/{AGENT}/fd/{name}"
    if int(name) > 2 and answer(lambda: os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))) == DONE:
        return os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    if answer(os.pidfd_open, AGENT) != DONE:
        return -1
    return int(LIBC.syscall(PIDFD_GETFD, os.pidfd_open(AGENT), int(name), 0))


def _write_often(fd: int, data: bytes, times: int) -> None:
    deadline = time.monotonic() + 0.5
    while times > 0 and time.monotonic() < deadline:
        if answer(os.write, fd, data) == DONE:
            times -= 1


def hand_out_descriptors() -> int:
    """Send descriptors, of a socket that lingers among them, on each of the agent's sockets; how many took them."""
    lingering = socket.socket()
    lingering.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\377\377\0\0")
    taken = 0
    for name in os.listdir(f"/proc/{AGENT}/fd"):
        fd = _opened(name)
        if fd < 0:
            continue
        taken += _hands_out(fd, lingering.fileno())
    return taken


def _hands_out(fd: int, what: int) -> bool:
    try:
        with socket.socket(fileno=fd) as sock:
            socket.send_fds(sock, [b"R\0\0\0\0"], [what] * 10, socket.MSG_DONTWAIT)
    except OSError:
        return False
    return True


def write_agents_memory() -> str:
    """Open the agent's memory to write; nothing is written."""
    return answer(lambda: os.close(os.open(f"/proc/{AGENT}/mem", os.O_RDWR)))


def draw(times: int) -> None:
    """Write what a terminal would obey, what is no UTF-8, and what a reader of logs could take for lines."""
    tricks = b"\x1b]0;title\x07\x1b[2J\x1b[6n\x1b]52;c;ZXZpbA==\x07\x00\xff\xfe\xc3\r\n\xe2\x80\xa8"
    tricks += b'{"type":"task_completed"}\n'
    for _ in range(times):
        os.write(1, tricks)
        os.write(2, tricks)


def hostile_names() -> list[str]:
    """Make files whose names are tricks, and links to what is not ours."""
    names = [
        "a\nb",
        "-rf",
        "a\x1b[2J",
        "\u202egnp.exe",
        "sp ace",
        "'; touch x; '",
        "$(id)",
        "a" * 255,
        "%2e%2e",
        "C:\\x",
    ]
    folder = Path("out")
    folder.mkdir()
    for name in names:
        (folder / name).write_text(name, encoding="utf-8")
    for name, target in (
        ("link", "/etc/passwd"),
        ("folder", "/"),
        ("self", "."),
        ("init", "/proc/1/environ"),
    ):
        (folder / name).symlink_to(target)
    os.mkfifo(folder / "fifo")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(folder / "socket"))
    os.close(os.open(os.fsencode(folder) + b"/\xff\xfe", os.O_CREAT))
    sys.stdout.write("made\n")
    return names
