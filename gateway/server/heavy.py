"""Where tasks of heavy agents go."""

from importlib import import_module

from structlog.typing import FilteringBoundLogger

from gateway.server.data_dir import StartError
from gateway.settings import Settings
from gateway.work.offers import Offers


def make_offers(settings: Settings, log: FilteringBoundLogger) -> Offers | None:
    """To Celery's workers, where the settings name a broker. Raises `StartError` where that can't be."""
    if settings.celery_broker_url is None:
        return None
    try:
        broker = import_module("gateway.server.celery_broker")
    except ModuleNotFoundError as error:
        raise StartError(
            f"CELERY_BROKER_URL needs a package that is not installed ({error.name}):"
            " pip install 'sentient-gateway[celery]'"
        ) from None
    return Offers(broker.sender(settings), log=log)
