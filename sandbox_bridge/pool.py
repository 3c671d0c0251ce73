"""The sandboxes there are, and which of them to give a task to. Decides only; does no I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sandbox_bridge.bridge import Bridge
from sandbox_bridge.handshake import SandboxInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """What a task asks of its sandbox; the defaults ask for nothing special."""

    runtime: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    """Each must be there with this value."""
    capabilities: frozenset[str] = frozenset()
    """Each must be offered."""
    extended: bool = False
    """It speaks more than the core protocol."""
    subject: str | None = None
    """Whose task it is, where it asks for a sandbox: a `client` one is only for its own subject's that do."""

    def fits(self, info: SandboxInfo) -> bool:
        """Whether a task that wants this may run in the sandbox that `info` describes."""
        is_own = self.subject is not None and self.subject == info.subject
        return (
            (info.trust == "server" or is_own)
            and self.runtime in (None, info.runtime)
            and self.labels.items() <= info.labels.items()
            and self.capabilities <= info.capabilities
            and (info.extended or not self.extended)
        )


ANY = Want()


class Pool:
    """Bridges by address."""

    def __init__(self) -> None:
        self._bridges: dict[str, Bridge] = {}

    def add(self, bridge: Bridge) -> None:
        """Take `bridge` in. Raises `ValueError` if its address is there already."""
        if bridge.address in self._bridges:
            raise ValueError(f"there is a bridge to {bridge.address} already")
        self._bridges[bridge.address] = bridge

    def remove(self, bridge: Bridge) -> None:
        """Choose `bridge` no more; its sessions run on. Raises `KeyError` if it is not here."""
        del self._bridges[bridge.address]

    def at(self, address: str) -> Bridge | None:
        """The bridge to that address, or None."""
        return self._bridges.get(address)

    @property
    def bridges(self) -> tuple[Bridge, ...]:
        """All of them, in the order in which they came."""
        return tuple(self._bridges.values())

    @property
    def free(self) -> int:
        """Sessions that there is room for now, in all of them."""
        return sum(bridge.free for bridge in self._bridges.values())

    def choose(self, want: Want | None = None, *, taken: Mapping[Bridge, int] | None = None) -> Bridge | None:
        """The fitting bridge with the most room, of equals the first; None if none has any.

        `taken` counts the places already given away, whether their sessions have begun or not.
        """
        rooms = {bridge: _room(bridge, (taken or {}).get(bridge, 0)) for bridge in self._fitting(want or ANY)}
        best = max(rooms, key=lambda bridge: rooms[bridge], default=None)
        return best if best is not None and rooms[best] > 0 else None

    def fits(self, want: Want | None = None) -> bool:
        """Whether some live sandbox, busy or free, would do."""
        return bool(self._fitting(want or ANY))

    def _fitting(self, want: Want) -> list[Bridge]:
        return [
            bridge for bridge in self._bridges.values() if bridge.info is not None and want.fits(bridge.info)
        ]

    def __repr__(self) -> str:
        return f"<Pool free={self.free} {list(self._bridges.values())}>"


def _room(bridge: Bridge, taken: int) -> int:
    return min(bridge.free, bridge.info.max_sessions - taken) if bridge.info is not None else 0
