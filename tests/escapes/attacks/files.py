"""Ways out by names."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

from tests.escapes.attacks.attempts import DONE, LIBC, answer

OWN = ("/work", "/tmp", "/dev/shm")
MAX_FILE_BYTES = 4 << 20


def writable_places() -> list[str]:
    """Each folder outside our own in which a file can be made, and each file there that can be opened to write."""
    found = []
    for folder, folders, names in os.walk("/"):
        folders[:] = [
            name for name in folders if f"{folder}/{name}".replace("//", "/") not in (*OWN, "/proc")
        ]
        if answer(_make, f"{folder}/escape") == DONE:
            found.append(folder)
        if not folder.startswith("/usr/"):  # all of it is one mount, and its files are many
            found += [path for name in names if _opens(path := f"{folder}/{name}")]
    return found


def _make(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    os.unlink(path)


def _opens(path: str) -> bool:
    if not stat.S_ISREG(os.lstat(path).st_mode):
        return False
    return answer(lambda: os.close(os.open(path, os.O_WRONLY))) == DONE


def writable_settings() -> list[str]:
    """Each file below /proc that can be opened to write and is not a process's own. Nothing is written."""
    found = []
    for folder, folders, names in os.walk("/proc"):
        folders[:] = [
            name for name in folders if not (folder == "/proc" and (name.isdigit() or "self" in name))
        ]
        found += [path for name in names if _opens(path := f"{folder}/{name}")]
    return found


def mounts() -> list[str]:
    """Each mount with its options: the kernel's own list."""
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    return [f"{line.split()[4]} {line.split()[5]} {line.split(' - ')[1].split()[0]}" for line in lines]


def devices() -> list[str]:
    """Each device there is, but for terminals."""
    paths = (f"{folder}/{name}" for folder, _, names in os.walk("/dev") for name in names)
    return sorted(path for path in paths if _is_device(path) and not path.startswith("/dev/pts"))


def _is_device(path: str) -> bool:
    mode = os.lstat(path).st_mode
    return stat.S_ISCHR(mode) or stat.S_ISBLK(mode)


def make_devices() -> dict[str, str]:
    """Make the machine's memory, its first disk, and the kernel's log."""
    nodes = {"memory": (stat.S_IFCHR, 1, 1), "disk": (stat.S_IFBLK, 254, 0), "log": (stat.S_IFCHR, 1, 11)}
    return {
        f"{name} in {folder}": answer(os.mknod, f"{folder}/{name}", kind | 0o666, os.makedev(major, minor))
        for name, (kind, major, minor) in nodes.items()
        for folder in OWN
    }


def links(target: str, folder: str) -> dict[str, str]:
    """Reach `target`, a file in `folder`, through links of every kind."""
    os.symlink(target, "soft")
    os.symlink(folder, "folder")
    os.symlink(f"/proc/1/root{target}", "through init")
    os.symlink(f"/proc/self/root/../../..{target}", "through us")
    own = os.open("/usr/bin/id", os.O_RDONLY)
    return {
        "soft": answer(_read, "soft"),
        "folder": answer(_read, f"folder/{Path(target).name}"),
        "write": answer(_write, "soft"),
        "make": answer(_write, "folder/new"),
        "through init": answer(_read, "through init"),
        "through us": answer(_read, "through us"),
        "dots": answer(_read, "../" * 40 + target.lstrip("/")),
        "hard": answer(os.link, target, "hard"),
        "hard to a program": answer(os.link, "/usr/bin/id", "/work/hard"),
        "hard by its number": answer(_link_fd, own),
        "rename": answer(os.rename, "/usr/bin/id", "/work/id"),
        "exchange": answer(os.rename, "/work", "/usr/work"),
    }


def _read(path: str) -> bytes:
    return Path(path).read_bytes()


def _write(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))


def _link_fd(fd: int) -> None:
    if LIBC.linkat(fd, b"", -100, b"/work/hard", 0x1000):
        raise OSError(1, "refused")


def descriptors() -> dict[str, str]:
    """What we were given: each open file, and what it is."""
    return {fd: os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")[:-1]}


def neighbours_descriptors() -> list[str]:
    """Each file that a process beside us has open, and that we can open through /proc."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            names = os.listdir(f"/proc/{pid}/fd")
        except OSError:
            continue
        targets = {f"/proc/{pid}/fd/{name}": _target(f"/proc/{pid}/fd/{name}") for name in names}
        found += [f"{path} {target}" for path, target in targets.items() if _leads_out(path, target)]
    return found


def _target(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _leads_out(path: str, target: str) -> bool:
    """Whether it is a file or folder whose name is not one of ours."""
    is_named = target.startswith("/") and os.path.exists(path)
    return is_named and not os.path.exists(target)


def words(word: str) -> list[str]:
    """Each file, environment, command line and memory segment that contains `word`."""
    found = []
    for folder, folders, names in os.walk("/"):
        folders[:] = [
            name for name in folders if (folder, name) != ("/", "usr") and name not in {"sys", "task"}
        ]
        found += [path for name in names if _contains(path := f"{folder}/{name}", word.encode())]
    return found


def _contains(path: str, word: bytes) -> bool:
    if path in {"/work/order.json", "/proc/kmsg"} or path.endswith(("/mem", "/pagemap", "/clear_refs")):
        return False
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        return stat.S_ISREG(os.fstat(fd).st_mode) and word in os.read(fd, MAX_FILE_BYTES)
    except OSError:
        return False
    finally:
        os.close(fd)


def shared_memory(key: int, name: str) -> dict[str, str]:
    """Attach the host's segments."""
    return {
        "system v": "found" if LIBC.shmget(key, 0, 0) >= 0 else "not there",
        "posix": answer(_read, f"/dev/shm/{name}"),
        "list": Path("/proc/sysvipc/shm").read_text(encoding="ascii").partition("\n")[2],
    }


def leave_behind(word: str, key: int) -> None:
    """Leave `word` wherever another session could find it."""
    for folder in OWN:
        Path(folder, "left").write_text(word, encoding="ascii")
    LIBC.shmget(key, 4096, 0o1666)  # refused where memory is only watched
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(f"\0{word}")
        sock.listen()


def core_file() -> list[str]:
    """Crash, and list what has appeared."""
    pid = os.fork()
    if pid == 0:
        os.abort()
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status)
    return [path.name for folder in OWN for path in Path(folder).glob("*core*")]
