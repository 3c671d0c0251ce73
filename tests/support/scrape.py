"""What Prometheus would read of a gateway."""

from collections.abc import Mapping

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from tests.support.gateway import GatewayProcess


async def metrics_of(gateway: GatewayProcess, headers: Mapping[str, str] | None = None) -> dict[str, float]:
    """The values by name, with the labels' values, where there are any, in `{}`."""
    async with (
        aiohttp.ClientSession(gateway.url, headers=headers) as http,
        http.get("/metrics") as answer,
    ):
        text = await answer.text()
    found = dict[str, float]()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(value for name, value in sample.labels.items() if name != "le")
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found
