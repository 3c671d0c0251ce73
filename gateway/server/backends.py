"""The state store and the bus that the settings name."""

from collections.abc import Callable
from importlib import import_module
from typing import Final

from gateway.bus.base import Bus
from gateway.bus.memory import MemoryBus
from gateway.metrics import Metrics
from gateway.server import logs
from gateway.server.data_dir import StartError
from gateway.server.world import World
from gateway.settings import Settings
from gateway.state.backends import store_of
from gateway.state.base import StateStore

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
        return store_of(settings, world.clock, writer=world.writer, readers=world.readers)
    except ModuleNotFoundError as error:
        backend = settings.state_persistence_backend
        raise StartError(
            f"STATE_PERSISTENCE_BACKEND={backend} needs a package that is not installed ({error.name}):"
            f" pip install 'sentient-gateway[{backend}]'"
        ) from None


def make_bus(
    settings: Settings, metrics: Metrics, instance: str, *, note: Callable[..., None] = lambda _, **__: None
) -> Bus:
    """A bus that is not connected yet, `note` a flight recorder's. Raises `StartError` on an address that is none."""
    if settings.event_bus_backend == "memory":
        return MemoryBus()
    log = logs.get(instance=instance)

    def away() -> None:
        # Nothing is lost, but what comes from other instances comes late: its operator wants to know.
        log.warning("redis can't be used", problem=bus.problem)
        note("bus_away")

    def back(away_s: float) -> None:
        log.info("redis can be used again", away_s=round(away_s, 1))
        note("bus_back", away_ms=round(away_s * 1000))

    # Imported only where it is asked for: that takes as long as a quarter of a start.
    module = import_module("gateway.bus.redis.bus")
    try:
        bus = module.RedisBus(
            settings.redis_url.get_secret_value(),
            instance=instance,
            prefix=settings.redis_prefix,
            on_count=lambda what, count: metrics.bus.labels(what).inc(count),
            on_probe=metrics.relay_lag_seconds.observe,
            on_away=away,
            on_back=back,
        )
        metrics.probe_age_seconds.set_function(lambda: bus.probe_age_s)
    except ValueError as error:
        raise StartError(f"REDIS_URL can't be used: {error}") from None
    made: Bus = bus
    return made
