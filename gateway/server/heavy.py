"""Where tasks of heavy agents go."""

from importlib import import_module
from typing import Any

from structlog.typing import FilteringBoundLogger

from gateway.server.data_dir import StartError
from gateway.settings import Settings
from gateway.work.offers import Offers


def make_offers(settings: Settings, log: FilteringBoundLogger) -> Offers | None:
    """To Celery's workers, where the settings name a broker. Raises `StartError` where that can't be."""
    if settings.celery_broker_url is None:
        return None
    return Offers(broker_of(settings).sender(settings), log=log)


def broker_of(settings: Settings) -> Any:
    """The module that knows Celery, which is an extra. Raises `StartError` where the settings can't mean it."""
    if settings.is_alone:
        raise StartError(
            "CELERY_BROKER_URL: Celery's workers share the store with gateways: give all EVENT_BUS_BACKEND=redis"
        )
    try:
        return import_module("gateway.server.celery_broker")
    except ModuleNotFoundError as error:
        raise StartError(
            f"CELERY_BROKER_URL needs a package that is not installed ({error.name}):"
            " pip install 'sentient-gateway[celery]'"
        ) from None
