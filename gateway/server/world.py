"""The inputs of a gateway's process: clock, threads, sockets, bus. The simulation gives other ones."""

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field

from gateway.bus.base import Bus
from gateway.clock import Clock
from gateway.sessions.intake import Intake, best


@dataclass(frozen=True, slots=True)
class World:
    """What differs between a real process and a simulated one. `writer` has one worker."""

    clock: Clock
    writer: Executor
    readers: Executor
    unsafe_no_isolation: bool = False
    """Whether a sandbox of its own may run tasks without any jail: said on the command line, and nowhere else."""
    serves_clients: bool = True
    """Whether it is a gateway, and not a worker, which runs tasks alone."""
    own_port: int | None = None
    """Where it listens beside the port that it shares with other processes, if it does; 0 picks a free one."""
    intake: Intake | None = field(default_factory=best)
    """Reads clients' sockets, which are ours with it; without it they are the loop's."""
    bus: Callable[[str], Bus] | None = None
    """Makes the bus of an instance, where that is not the one that the settings name."""
