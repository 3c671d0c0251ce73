"""The state store that the settings name."""

from concurrent.futures import Executor
from importlib import import_module

from gateway.clock import Clock
from gateway.settings import Settings
from gateway.state.base import StateStore
from gateway.state.sqlite.in_memory import MemoryStore
from gateway.state.sqlite.store import SqliteStore


def store_of(settings: Settings, clock: Clock, *, writer: Executor, readers: Executor) -> StateStore:
    """A store that is not open yet. Raises `ModuleNotFoundError` where what it stands on is not installed."""
    if settings.state_persistence_backend == "postgresql":
        return _postgresql(settings, clock)
    if settings.state_persistence_backend == "surrealdb":
        return _surrealdb(settings, clock)
    if settings.state_persistence_backend == "memory":
        return MemoryStore(settings.data_dir / "memory", clock=clock, writer=writer, readers=readers)
    return SqliteStore(settings.data_dir / "gateway.db", clock=clock, writer=writer, readers=readers)


def _postgresql(settings: Settings, clock: Clock) -> StateStore:
    # Imported only where it is asked for: its driver is an extra.
    module = import_module("gateway.state.postgresql.store")
    url = settings.state_database_url
    store: StateStore = module.PostgresqlStore(
        url.get_secret_value() if url is not None else "",
        clock=clock,
        connections=settings.database_connections,
    )
    return store


def _surrealdb(settings: Settings, clock: Clock) -> StateStore:
    module = import_module("gateway.state.surrealdb.store")
    store: StateStore = module.SurrealStore(settings.surrealdb_url, clock=clock)
    return store
