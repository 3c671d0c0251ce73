"""No way out by names: files, links, devices, descriptors, memory."""

import secrets

from tests.escapes.attacks import files
from tests.escapes.host import Host
from tests.escapes.range import Range
from tests.support.bare_client import client

DEVICES = {f"/dev/{name}" for name in ("full", "null", "random", "tty", "urandom", "zero", "ptmx", "console")}


OWN_KINDS = {"tmpfs", "proc", "devpts"}
OWN_SETTINGS = (
    "/proc/sys/fs/mqueue/",
    *(f"/proc/sys/kernel/{name}" for name in ("auto_msgmni", "msg", "sem", "shm", "ns_last_pid", "pid_max")),
    "/proc/pressure/",
)
"""What the kernel keeps for each IPC or process namespace, a jail's own; and what only asks to be told of pressure."""


async def test_system_can_not_be_written(attack: Range) -> None:
    """Outside its own three folders a task finds no folder and no file to write."""
    assert await attack(files.writable_places) == []


async def test_kernels_settings_can_not_be_written(attack: Range) -> None:
    """No setting below /proc, sysrq-trigger included, opens for writing."""
    found = await attack(files.writable_settings)
    assert [path for path in found if not path.startswith(OWN_SETTINGS)] == []


async def test_mounts_are_read_only_or_the_jails_own(attack: Range) -> None:
    """What is the host's is mounted read-only and without setuid; nothing is mounted below what a task can write."""
    mounts = [line.split(" ") for line in await attack(files.mounts)]
    assert {path for path, _, _ in mounts} >= {"/", "/usr", "/proc", "/dev", "/work", "/tmp", "/dev/shm"}
    for path, options, kind in mounts:
        assert "nosuid" in options.split(","), path
        assert "ro" in options.split(",") or kind in OWN_KINDS or path in DEVICES, path
        assert not path.startswith(("/work/", "/tmp/", "/dev/shm/")), path


async def test_devices_are_the_harmless_ones(attack: Range) -> None:
    """No disk, no memory, no log, no tunnel, no hypervisor."""
    assert set(await attack(files.devices)) <= DEVICES


async def test_devices_can_not_be_made(attack: Range) -> None:
    """Whatever number a device has, nobody makes a node for it."""
    assert set((await attack(files.make_devices)).values()) == {"EPERM"}


async def test_links_lead_nowhere(attack: Range, host: Host) -> None:
    """No link, of either kind, reaches a file of the host."""
    answers = await attack(files.links, host.bait.file, host.bait.folder)
    assert "done" not in answers.values(), answers


async def test_nothing_is_inherited(attack: Range) -> None:
    """A command has an input and two outputs, and neither is a file of the host."""
    given = await attack(files.descriptors)
    assert set(given) == {"0", "1", "2"}
    assert given["0"] in {"/dev/null"} or given["0"].startswith("pipe:")
    assert all(given[fd].startswith("pipe:") for fd in "12")


async def test_neighbours_hold_nothing_of_the_host(attack: Range) -> None:
    """Through no process of the jail a file of the host can be opened."""
    assert await attack(files.neighbours_descriptors) == []


async def test_hosts_secrets_are_nowhere(attack: Range, host: Host) -> None:
    """The service's environment, and all that is the host's, is in no file and no process that can be seen."""
    assert await attack(files.words, host.bait.marker) == []


async def test_hosts_shared_memory_is_not_there(attack: Range, host: Host) -> None:
    """Neither kind of shared memory is shared with the host."""
    found = await attack(files.shared_memory, host.bait.shm_key, host.bait.posix_shm)
    assert found == {"system v": "not there", "posix": "ENOENT", "list": ""}


async def test_crash_leaves_no_core_file(attack: Range) -> None:
    """A crash writes nothing, and starts no crash handler of the host."""
    assert await attack(files.core_file) == []


async def test_sessions_leave_each_other_nothing(attack: Range) -> None:
    """What one session has left, in files or memory, no other finds: while it runs, and after."""
    word, key = f"left-{secrets.token_hex(8)}", secrets.randbelow(1 << 30) + 1
    async with client(attack.url) as bare:
        await bare.greet()
        first = await attack.start(bare, files.leave_behind, word, key, then=["echo left; sleep 1000"])
        second = await attack(files.words, word)
        memory = await attack(files.shared_memory, key, "left")
        await bare.say("cancel_task", first)
        _, end = await bare.session(first)
    assert [command["exit_code"] for command in end["error_info"]["result"]["commands"]] == [0, None]
    assert (second, memory["system v"]) == ([], "not there")
