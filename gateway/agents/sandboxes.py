"""The sandboxes of this instance, as people are told of them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sandbox_bridge.bridge import Bridge, SandboxInfo
from sandbox_bridge.pool import ANY, Pool, Want

MAX_TOLD: Final = 1000
"""Sandboxes that the other instances are told of: what is told is read by all of them, again and again."""


@dataclass(frozen=True, slots=True)
class Described:
    """A sandbox in words for whoever may see it: its `subject`, and admins. None: admins only."""

    subject: str | None
    item: dict[str, Any]


class Sandboxes:
    """Describes the bridges of `pool`; remembers who was at an address while nobody is."""

    def __init__(self, pool: Pool, *, instance: str) -> None:
        self._pool = pool
        self._instance = instance
        self._last: dict[str, SandboxInfo] = {}

    def described(self) -> dict[tuple[str, str], Described]:
        """Each sandbox by its address and id; one that has never been reached has its address for an id."""
        self.look()
        found = [(bridge.address, self._describe(bridge)) for bridge in self._pool.bridges]
        return {(address, one.item["sandbox_id"]): one for address, one in found}

    def told(self) -> list[dict[str, Any]]:
        """What the other instances are told, for `told_sandboxes` and `told_fits` there."""
        self.look()
        return [
            {
                "address": bridge.address,
                "extended": bridge.info is not None and bridge.info.extended,
                "subject": (one := self._describe(bridge)).subject,
                "item": one.item,
            }
            for bridge in self._pool.bridges[:MAX_TOLD]
        ]

    def bridge_to(self, sandbox_id: str, boot_id: str) -> Bridge | None:
        """The bridge to that start of one of the operator's sandboxes, connected or away."""
        self.look()
        for bridge in self._pool.bridges:
            info = self._last.get(bridge.address)
            if info is not None and info.trust == "server" and info.sandbox_id == sandbox_id:
                return bridge if info.boot_id == boot_id else None
        return None

    def is_connected(self, address: str) -> bool:
        """Whether there is a bridge to that address, and a sandbox behind it."""
        return any(b.address == address and b.info is not None for b in self._pool.bridges)

    def look(self) -> None:
        """See who is there; to be called when that has changed."""
        bridges = self._pool.bridges
        self._last = {b.address: info for b in bridges if (info := b.info or self._last.get(b.address))}

    def _describe(self, bridge: Bridge) -> Described:
        info = self._last.get(bridge.address)
        item = {
            "sandbox_id": info.sandbox_id if info else bridge.address,
            "instance": self._instance,
            "connected": bridge.info is not None,
            "problem": bridge.problem,
            "runtime": info.runtime if info else "unknown",
            "trust": info.trust if info else "server",
            "subject": info.subject if info else None,
            "labels": dict(info.labels) if info else {},
            "capabilities": sorted(info.capabilities) if info else [],
            "active": bridge.active,
            "max_sessions": info.max_sessions if info else 0,
            "isolation": dict(info.isolation) if info else {},
        }
        return Described(info.subject if info else None, item)


def told_sandboxes(told: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], Described]:
    """What an instance told of its sandboxes, as `Sandboxes.described` gave it there."""
    return {
        (one["address"], one["item"]["sandbox_id"]): Described(one["subject"], one["item"]) for one in told
    }


def told_fits(told: Iterable[Mapping[str, Any]], want: Want | None) -> bool:
    """Whether one of those that were told of, busy or free, would do for a task that wants this."""
    return any(one["item"]["connected"] and (want or ANY).fits(_info_of(one)) for one in told)


def _info_of(told: Mapping[str, Any]) -> SandboxInfo:
    item = told["item"]
    return SandboxInfo(
        address=told["address"],
        sandbox_id=item["sandbox_id"],
        boot_id="",
        runtime=item["runtime"],
        max_sessions=item["max_sessions"],
        capabilities=frozenset(item["capabilities"]),
        labels=item["labels"],
        trust=item["trust"],
        subject=item["subject"],
        extended=told["extended"],
    )
