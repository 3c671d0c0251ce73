"""Under the real filter, in a real jail: common tools work, and what is refused is refused by the kernel."""

import os
import shutil
import signal
import subprocess

import pytest

from sandbox_bridge.local.jail import seccomp
from sandbox_bridge.local.jail.profile import memory_file

NODE = """
const { Worker } = require("worker_threads"), { execSync } = require("child_process"), zlib = require("zlib");
const worker = new Worker("require('worker_threads').parentPort.postMessage(6 * 7)", { eval: true });
worker.on("message", (said) => {
    const buffer = new SharedArrayBuffer(1 << 20);
    require("http").createServer((_, answer) => answer.end("page")).listen(0, "127.0.0.1", async function () {
        const page = await (await fetch(`http://127.0.0.1:${this.address().port}`)).text();
        console.log(said, String(execSync("echo child")).trim(), zlib.gzipSync("x").length, buffer.byteLength, page);
        process.exit();
    });
});
"""
PYTHON = """
import asyncio, multiprocessing, socket, sqlite3, subprocess, sys, tempfile, threading
results = []
threads = [threading.Thread(target=results.append, args=(i,)) for i in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
said = subprocess.run(["echo", "child"], capture_output=True, text=True).stdout.strip()
with multiprocessing.get_context("fork").Pool(2) as pool:
    squares = pool.starmap(pow, [(2, 2), (3, 2)])
async def child():
    process = await asyncio.create_subprocess_exec("echo", "async", stdout=subprocess.PIPE)
    return (await process.communicate())[0].decode().strip()
sqlite3.connect(tempfile.mktemp()).execute("create table t (x)")
socket.getaddrinfo("127.0.0.1", 80)
print(sorted(results), said, squares, asyncio.run(child()))
"""
GCC = """
cd /tmp && printf '#include <stdio.h>\\n#include <pthread.h>\\nvoid *f(void *x) { puts("thread"); return x; }
int main() { pthread_t t; pthread_create(&t, 0, f, 0); pthread_join(t, 0); return 0; }' > a.c
gcc -O2 a.c -o a -pthread && ./a
"""
GIT = """
cd /tmp && git init -q r && cd r && echo x > f && git add f &&
git -c user.name=n -c user.email=e@e commit -qm message && git gc -q && git log --format=%s
"""
REFUSED = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def errno_of(number, *args):
    ctypes.set_errno(0)
    said = libc.syscall(number, *args)
    return ctypes.get_errno() if said == -1 else 0
print([errno_of(*call) for call in CALLS])
"""
EPERM, ENOSYS, EAFNOSUPPORT = 1, 38, 97
CALLS = {
    "mount": ((165, 0, 0, 0, 0, 0), EPERM),
    "unshare a user namespace": ((272, 0x10000000), EPERM),
    "clone a user namespace": ((56, 0x10000011, 0, 0, 0, 0), EPERM),
    "clone3": ((435, 0, 0), ENOSYS),
    "ptrace": ((101, 0, 0, 0, 0), EPERM),
    "keyctl": ((250, 0, -3, 0), EPERM),
    "bpf": ((321, 0, 0, 0), EPERM),
    "io_uring_setup": ((425, 1, 0), EPERM),
    "userfaultfd": ((323, 0), EPERM),
    "perf_event_open": ((298, 0, 0, -1, -1, 0), EPERM),
    "a packet socket": ((41, 17, 3, 0), EAFNOSUPPORT),
    "a vsock": ((41, 40, 1, 0), EAFNOSUPPORT),
    "TIOCSTI": ((16, 0, 0x5412, 0), EPERM),
    "TIOCSTI with an upper half": ((16, 0, 0x100005412, 0), EPERM),
    "a newer call": ((463, 0, 0, 0), ENOSYS),
}

only_here = pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are x86_64's")


@pytest.fixture(params=[False, True], ids=["limited", "watched"])
def is_watched(request: pytest.FixtureRequest) -> bool:
    """Whether the kernel limits memory, or we watch it."""
    return bool(request.param)


def filtered(*command: str, is_watched: bool) -> subprocess.CompletedProcess[str]:
    """A command's end, under the filter."""
    program = memory_file("seccomp", seccomp.program(os.uname().machine, is_watched=is_watched))
    links = [word for name in ("bin", "lib", "lib64") for word in ("--symlink", f"usr/{name}", f"/{name}")]
    try:
        return subprocess.run(
            [
                *("bwrap", "--unshare-all", "--unshare-user", "--die-with-parent", "--new-session"),
                *("--ro-bind", "/usr", "/usr", *links, "--proc", "/proc", "--dev", "/dev"),
                *("--tmpfs", "/tmp", "--ro-bind-try", "/etc/alternatives", "/etc/alternatives"),  # noqa: S108
                *("--setenv", "HOME", "/tmp", "--seccomp", str(program), *command),  # noqa: S108 - inside
            ],
            pass_fds=[program],
            env={"PATH": "/usr/bin:/bin"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(program)


@pytest.mark.parametrize(
    ("tool", "command", "said"),
    [
        pytest.param("node", ["node", "-e", NODE], "42 child 21 1048576 page\n", id="node"),
        pytest.param(
            "python3", ["/usr/bin/python3", "-c", PYTHON], "[0, 1, 2, 3] child [4, 9] async\n", id="python"
        ),
        pytest.param("gcc", ["sh", "-c", GCC], "thread\n", id="gcc"),
        pytest.param("git", ["sh", "-c", GIT], "message\n", id="git"),
    ],
)
def test_common_tools_work(tool: str, command: list[str], said: str, *, is_watched: bool) -> None:
    """Threads, workers, child processes, servers, compilers and version control run as ever."""
    if shutil.which(tool, path="/usr/bin") is None:
        pytest.skip(f"{tool} is not installed")
    ended = filtered(*command, is_watched=is_watched)
    assert (ended.stdout, ended.returncode) == (said, 0), ended.stderr


@only_here
def test_what_is_refused_is_refused() -> None:
    """Each call that the filter names fails with the error that it names."""
    script = f"CALLS = {[call for call, _ in CALLS.values()]}\n{REFUSED}"
    ended = filtered("/usr/bin/python3", "-c", script, is_watched=False)
    assert ended.stdout == f"{[number for _, number in CALLS.values()]}\n", ended.stderr


@only_here
def test_hidden_memory_is_not_to_be_had() -> None:
    """Where memory is watched, there is no memory that no process maps."""
    calls = [(319, b"name", 0), (29, 0, 4096, 0o1600), (68, 0, 0o1600), (64, 0, 1, 0o1600)]
    ended = filtered("/usr/bin/python3", "-c", f"CALLS = {calls}\n{REFUSED}", is_watched=True)
    assert ended.stdout == f"{[ENOSYS] * 4}\n", ended.stderr


@only_here
def test_x32_call_kills() -> None:
    """A call by the numbers of x32 ends its process."""
    script = "import ctypes; ctypes.CDLL(None).syscall(0x40000000 + 39); print('alive')"
    ended = filtered("/usr/bin/python3", "-c", script, is_watched=False)
    assert (ended.stdout, ended.returncode) == ("", 128 + signal.SIGSYS)
