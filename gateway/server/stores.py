"""The state store of a gateway's process."""

from gateway.server.data_dir import StartError
from gateway.server.world import World
from gateway.settings import Settings
from gateway.state.base import StateStore
from gateway.state.chosen import chosen_store


def make_store(settings: Settings, world: World) -> StateStore:
    """A store that is not open yet. Raises `StartError` where what it stands on is not installed."""
    try:
        return chosen_store(settings, world.clock, writer=world.writer, readers=world.readers)
    except ModuleNotFoundError as error:
        raise StartError(
            f"STATE_PERSISTENCE_BACKEND=postgresql needs a package that is not installed ({error.name}):"
            " pip install 'sentient-gateway[postgresql]'"
        ) from None
