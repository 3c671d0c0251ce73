"""Who is whose child, as the kernel tells it."""

from pathlib import Path


def children(pid: int) -> list[int]:
    """The children of a process, whichever of its threads has started them; none of one that is gone."""
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(word) for thread in threads for word in (thread / "children").read_text("ascii").split()]
    except OSError:
        return []


def descendants(pid: int) -> list[int]:
    """The processes below `pid`, all generations, dead ones that wait to be reaped left out."""
    found: list[int] = []
    for child in children(pid):
        found += descendants(child)
        if _is_alive(child):
            found.append(child)
    return found


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
