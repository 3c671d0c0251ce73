"""What every cage does, whatever this machine makes it of.

Each kind runs on its own, so that the means that a better one hides are held to the same rules. What a kind does not
have here is a watchdog's work, which is one of the kinds.
"""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator

import pytest

from sandbox_bridge.local.jail.cages.base import Cage, CageError, CageLimits
from sandbox_bridge.local.jail.cages.finder import Cages, find_cages
from tests.sandbox_bridge.local.jail.cages.cell import AMPLE, Cell, cell, left_behind
from tests.support.processes import children_of, until

TICKER = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        while True:
            print("tick"); time.sleep(0.01)
    os._exit(0)
time.sleep(1000)
"""
FORK_CHAIN = """
import os, time
print("go")
if os.fork():
    time.sleep(1000)  # the jail ends with its first command
while True:
    if os.fork():
        os._exit(0)
"""
"""Never the same process for long: whoever stops one is late."""
THREADS = """
import ctypes, os, threading, time
if os.fork() == 0:
    def spin():
        while True:
            print("tick"); time.sleep(0.01)
    threading.Thread(target=spin).start()
    ctypes.CDLL(None).pthread_exit(None)
time.sleep(1000)
"""
"""A process whose first thread is dead, and another one lives."""


@pytest.fixture(params=["best", "cgroup2", "cgroup1", "watchdog"])
async def cages(request: pytest.FixtureRequest) -> AsyncIterator[Cages]:
    """What this machine has, all of it or one kind only."""
    found = await find_cages(counts_processes=True, only=None if request.param == "best" else request.param)
    folders = [folder for folder in found._folders.values() if folder is not None]
    yield found
    # The kernel may still be busy with the dead of the last test.
    await until(lambda: not any(map(left_behind, folders)), within_s=5, what="empty control groups")
    found.close()
    assert [folder.path for folder in folders if folder.path.exists()] == []


@pytest.fixture
def cage(cages: Cages) -> Cage:
    """One of them."""
    return cages.make()


async def stands_still(running: Cell, cage: Cage) -> bool:
    """Whether a jail says and does nothing for a while."""
    running.drain()
    before = cage.usage().cpu_s
    return not running.speaks(0.1) and cage.usage().cpu_s == before


@pytest.mark.parametrize("script", [TICKER, THREADS], ids=["daemon", "threads"])
async def test_freeze_stops_all_and_thaw_lets_go(cage: Cage, script: str) -> None:
    """Once frozen, nothing in there says or does anything more, a daemon's child neither; thawed, it goes on."""
    with cell(cage, script) as running:
        running.line()
        await cage.freeze()
        assert await stands_still(running, cage)
        await cage.freeze()
        assert await stands_still(running, cage)
        await cage.thaw()
        assert running.line() == "tick"


async def test_jail_that_runs_already_is_taken_in_whole(cage: Cage) -> None:
    """The first process's child, born before it was taken in, is held like itself."""
    with cell(cage, "import time\nwhile True: print('tick'); time.sleep(0.01)", is_late=True) as running:
        await cage.freeze()
        assert await stands_still(running, cage)
        await cage.thaw()
        assert running.line() == "tick"


async def test_jail_that_is_elsewhere_is_told(cages: Cages) -> None:
    """A jail that is not in a cage is not taken for held."""
    empty = cages.make()
    with cell(cages.make(), "import time; time.sleep(1000)") as running, pytest.raises(CageError):
        empty.check(running.init_pid)
    empty.close()


async def test_freeze_catches_who_always_forks(cage: Cage) -> None:
    """A process that forks and ends, again and again, stands still as well."""
    with cell(cage, FORK_CHAIN) as running:
        running.line()
        await cage.freeze()
        used = cage.usage().cpu_s
        assert not running.speaks(0.1)
        assert cage.usage().cpu_s == pytest.approx(used, abs=0.005)


async def test_freeze_holds_those_who_wake_each_other(cage: Cage) -> None:
    """Processes that do nothing but wake all others stand still as well."""
    script = """
import os, signal, time
for _ in range(5):
    if os.fork() == 0:
        os.setsid()
        print("up")
        while True: os.kill(-1, signal.SIGCONT)
time.sleep(1000)
"""
    with cell(cage, script) as running:
        for _ in range(5):
            running.line()
        await cage.freeze()
        assert await stands_still(running, cage)


async def test_stopped_before_stays_stopped(cage: Cage) -> None:
    """A process that stopped itself is not woken by a pause's end."""
    script = """
import os, signal, time
if os.fork() == 0:
    print("stops"); os.kill(os.getpid(), signal.SIGSTOP); print("woken")
while True: time.sleep(1000)
"""
    with cell(cage, script) as running:
        assert running.line() == "stops"
        await asyncio.to_thread(running.speaks, 0.05)
        await cage.freeze()
        await cage.thaw()
        assert not running.speaks(0.1)


@pytest.mark.parametrize("is_frozen", [True, False])
async def test_kill_takes_all_at_once(cage: Cage, *, is_frozen: bool) -> None:
    """A kill ends all of it within 0.1 s, frozen or not, and nothing of it runs on before."""
    with cell(cage, TICKER) as running:
        running.line()
        if is_frozen:
            await cage.freeze()
            running.drain()
        began = time.monotonic()
        cage.kill_nowait()
        await until(lambda: running.process.poll() is not None, within_s=2, what="the jail's end")
        assert time.monotonic() - began < 0.1
        if is_frozen:
            running.drain()


async def test_memory_bomb_is_told(cage: Cage) -> None:
    """Who takes more than the limit is killed and counted by the kernel, or seen by who watches."""
    script = """
import time
kept = []
for _ in range(60):
    kept.append(bytearray(b"x") * (4 << 20)); time.sleep(0.005)
print("has all"); time.sleep(1000)
"""
    limits = CageLimits(memory_bytes=64 << 20, processes=16)
    with cell(cage, script, limits=limits) as running:
        if cage.enforces_memory:
            await until(lambda: cage.usage().oom_kills > 0, within_s=10, what="an OOM kill")
            running.drain()
        else:
            seen = lambda: cage.usage().memory_bytes > limits.memory_bytes  # noqa: E731 - two words
            await until(seen, within_s=10, what="too much memory")


async def test_limits_can_be_changed_later(cage: Cage) -> None:
    """A cage made with ample limits gets its task's own, smaller or larger, when the task comes."""
    with cell(cage, "print('up'); import time; time.sleep(1000)") as running:
        running.line()
        cage.set_limits(CageLimits(memory_bytes=64 << 20, processes=8))
        cage.set_limits(CageLimits(memory_bytes=1 << 30, processes=100))
        assert cage.usage().memory_bytes < 64 << 20


async def test_disks_count_as_memory(cage: Cage) -> None:
    """What a jail writes to its disks is memory of its own."""
    script = "open('/tmp/x', 'wb').write(bytes(32 << 20)); print('written'); import time; time.sleep(1000)"
    with cell(cage, script) as running:
        running.line()
        assert cage.usage().memory_bytes > 32 << 20


async def test_small_files_count_as_memory(cage: Cage) -> None:
    """Many empty files are not free."""
    script = """
import time
for i in range(20000): open(f"/tmp/{i}", "w").close()
print("made"); time.sleep(1000)
"""
    with cell(cage, script) as running:
        running.line()
        assert cage.usage().memory_bytes > 16 << 20


async def test_shared_memory_counts_once(cage: Cage) -> None:
    """Processes that share their pages after a fork are not taken for a bomb."""
    script = """
import os, time
kept = bytearray(b"x") * (40 << 20)
for _ in range(5):
    if os.fork() == 0: time.sleep(1000)
print("forked"); time.sleep(1000)
"""
    with cell(cage, script, limits=CageLimits(memory_bytes=128 << 20, processes=16)) as running:
        running.line()
        assert 40 << 20 < cage.usage().memory_bytes < 128 << 20
        assert cage.usage().oom_kills == 0


async def test_cpu_time_is_counted_with_the_dead(cage: Cage) -> None:
    """Time of processes that have ended is not forgotten."""
    script = """
import os, time
if os.fork() == 0:
    while time.process_time() < 0.3: pass
    os._exit(0)
os.wait(); print("done"); time.sleep(1000)
"""
    with cell(cage, script) as running:
        running.line()
        assert 0.25 < cage.usage().cpu_s < 2


async def test_fork_bomb_is_held_and_counted(cages: Cages) -> None:
    """Beyond the limit forks fail, and are counted, where the kernel does that."""
    script = """
import os, time
made = 0
for _ in range(100):
    try:
        if os.fork() == 0: time.sleep(1000)
        made += 1
    except BlockingIOError: pass
print(made); time.sleep(1000)
"""
    cage = cages.make()
    with cell(cage, script, limits=CageLimits(memory_bytes=256 << 20, processes=20)) as running:
        made = int(running.line())
        if cages.description["processes"] != "rlimit":
            assert made == 18
            assert cage.usage().refused_forks == 82


async def test_usage_outlives_the_jail(cage: Cage) -> None:
    """When all is dead, what the kernel has counted can still be read, until the cage is closed."""
    with cell(cage, "print('up')") as running:
        running.wait(5)
        assert cage.usage().memory_bytes < 64 << 20
        await cage.freeze()
        await cage.thaw()
        cage.kill_nowait()


async def test_cage_without_a_jail_is_empty(cage: Cage) -> None:
    """A cage whose jail was never made can be asked, killed and closed."""
    cage.set_limits(AMPLE)
    assert cage.usage().cpu_s == 0
    cage.kill_nowait()
    cage.close()


async def test_signals_reach_a_frozen_jail_later(cage: Cage) -> None:
    """A signal to a frozen process takes effect once it is thawed."""
    script = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: print("term"))
print("up")
while True: time.sleep(1000)
"""
    with cell(cage, script) as running:
        running.line()
        pid = children_of(running.init_pid)[0]
        await cage.freeze()
        os.kill(pid, signal.SIGTERM)
        assert not running.speaks(0.1)
        await cage.thaw()
        assert running.line() == "term"
