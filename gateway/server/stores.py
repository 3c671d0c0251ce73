"""The state store of a gateway's process."""

from typing import Final

from gateway.server.data_dir import StartError
from gateway.server.world import World
from gateway.settings import Settings
from gateway.state.base import StateStore
from gateway.state.chosen import chosen_store

_ALONE: Final = (
    "the store is inside this gateway and serves it alone: no other instance can share its tasks, whatever"
    " EVENT_BUS_BACKEND says; sqlite, postgresql, and a server of SurrealDB in STATE_DATABASE_URL can be shared"
)


def limits_of(settings: Settings) -> list[str]:
    """What the configured store can't do that the rest of the configuration seems to count on."""
    if settings.serves_alone and settings.event_bus_backend != "memory":
        return [_ALONE]
    return []


def make_store(settings: Settings, world: World) -> StateStore:
    """A store that is not open yet. Raises `StartError` where what it stands on is not installed."""
    try:
        return chosen_store(settings, world.clock, writer=world.writer, readers=world.readers)
    except ModuleNotFoundError as error:
        backend = settings.state_persistence_backend
        raise StartError(
            f"STATE_PERSISTENCE_BACKEND={backend} needs a package that is not installed ({error.name}):"
            f" pip install 'sentient-gateway[{backend}]'"
        ) from None
