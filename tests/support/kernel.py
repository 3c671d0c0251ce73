"""What the kernel holds for sockets, by /proc; and what it gives networks by."""

from pathlib import Path

PAGE_MIB = 4096 / (1 << 20)


def tcp_mib() -> float:
    """What all TCP sockets of this machine hold in the kernel, both ends of each, in MiB."""
    line = next(li for li in Path("/proc/net/sockstat").read_text().splitlines() if li.startswith("TCP:"))
    words = line.split()
    return int(words[words.index("mem") + 1]) * PAGE_MIB


def send_queues(port: int) -> list[int]:
    """Bytes that each connection to our `port` has not sent, or sent and not heard of, yet."""
    queues = []
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, _, state, queue, *_ = line.split()
        if int(local.partition(":")[2], 16) == port and state == "01":
            queues.append(int(queue.partition(":")[0], 16))
    return queues


def cpu_s(pid: int) -> float:
    """CPU time that a process has used, all threads, in s."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def has_open_tun() -> bool:
    """Whether everybody may make network interfaces of his own, as `SANDBOX_MAX_NETWORK=full` needs it."""
    tun = Path("/dev/net/tun")
    return tun.exists() and tun.stat().st_mode & 0o6 == 0o6
