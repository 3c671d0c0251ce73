"""What a task may use: its own wishes under the operator's ceilings. Pure."""

from dataclasses import dataclass
from typing import Literal

from sandbox_bridge.protocol import Limits
from sandbox_bridge.settings import SandboxSettings

MIN_MEMORY_MB = 16
"""A jail takes 4 MB of it before its first command."""


class BadInputError(ValueError):
    """A task that can't be taken as it is; the text says why, to its sender."""


@dataclass(frozen=True, slots=True)
class TaskLimits:
    """The limits in force for one task; None is no limit."""

    timeout_s: float
    idle_s: float | None
    cpu_s: float | None
    memory_mb: int
    processes: int
    disk_mb: int
    output_bytes: int
    network: Literal["none", "full"]


def settle(asked: Limits, settings: SandboxSettings) -> TaskLimits:
    """`asked` over the defaults. Raises `BadInputError` where it is more than the operator allows."""
    _check_ceilings(asked, settings)
    return TaskLimits(
        timeout_s=asked.timeout_s or min(settings.timeout_s, settings.max_timeout_s),
        idle_s=asked.idle_s or _least(settings.idle_s, settings.max_idle_s),
        cpu_s=asked.cpu_s or _least(settings.cpu_s, settings.max_cpu_s),
        memory_mb=asked.memory_mb or min(settings.memory_mb, settings.max_memory_mb),
        processes=asked.processes or min(settings.processes, settings.max_processes),
        disk_mb=asked.disk_mb or min(settings.disk_mb, settings.max_disk_mb),
        output_bytes=asked.output_bytes or min(settings.output_bytes, settings.max_output_bytes),
        network=asked.network or _default_network(settings),
    )


def _default_network(settings: SandboxSettings) -> Literal["none", "full"]:
    return "full" if settings.network == settings.max_network == "full" else "none"


def _least(default: float | None, ceiling: float | None) -> float | None:
    return min((bound for bound in (default, ceiling) if bound is not None), default=None)


def _check_ceilings(asked: Limits, settings: SandboxSettings) -> None:
    if asked.network == "full" and settings.max_network != "full":
        raise BadInputError(
            "limits.network: this sandbox gives no network; its operator would have to set SANDBOX_MAX_NETWORK=full"
        )
    ceilings = {
        "timeout_s": settings.max_timeout_s,
        "idle_s": settings.max_idle_s,
        "cpu_s": settings.max_cpu_s,
        "memory_mb": settings.max_memory_mb,
        "processes": settings.max_processes,
        "disk_mb": settings.max_disk_mb,
        "output_bytes": settings.max_output_bytes,
    }
    if asked.memory_mb is not None and asked.memory_mb < MIN_MEMORY_MB:
        raise BadInputError(
            f"limits.memory_mb: {asked.memory_mb} is less than the {MIN_MEMORY_MB} that a jail needs"
        )
    for name, ceiling in ceilings.items():
        value = getattr(asked, name)
        if value is not None and ceiling is not None and value > ceiling:
            raise BadInputError(f"limits.{name}: {value} is more than this sandbox's {ceiling}")
