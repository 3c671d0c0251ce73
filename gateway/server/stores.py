"""The state store that the settings name."""

from importlib import import_module

from gateway.clock import Clock
from gateway.server.data_dir import StartError
from gateway.server.world import World
from gateway.settings import Settings
from gateway.state.base import StateStore
from gateway.state.sqlite import SqliteStore


def make_store(settings: Settings, world: World) -> StateStore:
    """A store that is not open yet. Raises `StartError` where what it stands on is not installed."""
    if settings.state_persistence_backend == "postgresql":
        return _postgresql(settings, world.clock)
    return SqliteStore(
        settings.data_dir / "gateway.db", clock=world.clock, writer=world.writer, readers=world.readers
    )


def _postgresql(settings: Settings, clock: Clock) -> StateStore:
    # Imported only where it is asked for: its driver is an extra.
    try:
        module = import_module("gateway.state.postgresql.store")
    except ModuleNotFoundError as error:
        raise StartError(
            f"STATE_PERSISTENCE_BACKEND=postgresql needs a package that is not installed ({error.name}):"
            " pip install 'sentient-gateway[postgresql]'"
        ) from None
    url = settings.state_database_url
    store: StateStore = module.PostgresqlStore(
        url.get_secret_value() if url is not None else "",
        clock=clock,
        connections=settings.database_connections,
    )
    return store
