"""The bus that the settings name."""

from importlib import import_module

from gateway.bus.base import Bus
from gateway.bus.memory import MemoryBus
from gateway.metrics import Metrics
from gateway.server.data_dir import StartError
from gateway.settings import Settings


def make_bus(settings: Settings, metrics: Metrics, instance: str) -> Bus:
    """A bus that is not connected yet. Raises `StartError` where its address can't be one."""
    if settings.event_bus_backend == "memory":
        return MemoryBus()
    # Imported only where it is asked for: that takes as long as a quarter of a start.
    module = import_module("gateway.bus.redis.bus")
    try:
        bus = module.RedisBus(
            settings.redis_url.get_secret_value(),
            instance=instance,
            prefix=settings.redis_prefix,
            on_count=lambda what: metrics.bus.labels(what).inc(),
            on_probe=metrics.relay_lag_seconds.observe,
        )
        metrics.probe_age_seconds.set_function(lambda: bus.probe_age_s)
    except ValueError as error:
        raise StartError(f"REDIS_URL can't be used: {error}") from None
    made: Bus = bus
    return made
