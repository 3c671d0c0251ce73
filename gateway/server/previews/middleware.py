"""Requests for `<label>.<preview host>`: to the site of that label, and to nothing of ours."""

import re
from typing import Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler
from multidict import CIMultiDictProxy

from gateway.agents.sites import NoSiteError, Sites
from gateway.server.previews.forward import Forwarder
from gateway.server.previews.hops import HEADER, Hops

IS_PREVIEW: Final = web.RequestKey("preview", bool)
"""Set on a request that is a site's: its answer is the site's, too."""
_LABEL: Final = re.compile(r"[0-9a-f]{32}")


class Previews:
    """Forwards what is for a preview; `preview_host` is the name, with or without a port, below which they are."""

    def __init__(self, sites: Sites, forwarder: Forwarder, hops: Hops, preview_host: str) -> None:
        self._sites = sites
        self._forwarder = forwarder
        self._hops = hops
        self._host = preview_host
        self._suffix = _suffix(preview_host)

    def add_to(self, app: web.Application) -> None:
        """Stand before everything else there, for as long as `app` lives."""

        @web.middleware
        async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
            is_preview = is_for_preview(request.headers, self._host)
            return await (self._answer(request) if is_preview else handler(request))

        async def close(_app: web.Application) -> None:
            await self._forwarder.aclose()

        app.middlewares.insert(0, middleware)
        app.on_cleanup.append(close)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        request[IS_PREVIEW] = True
        try:
            return await self._forward(request, _hosts(request.headers))
        except NoSiteError as error:
            return _told(error)

    async def _forward(self, request: web.Request, hosts: list[str]) -> web.StreamResponse:
        if len(hosts) > 1:
            raise NoSiteError(400, "A request has one Host.")
        label = hosts[0].removesuffix(self._suffix)
        if not _LABEL.fullmatch(label):
            raise NoSiteError(404, "There is no such preview.")
        with self._sites.used(label):
            has_hopped = self._hops.holds(request.headers.get(HEADER), label, self._sites.here)
            way = await self._sites.find(label, may_hop=not has_hopped)
            proof = self._hops.proof(label, way.url) if way.is_hop else None
            return await self._forwarder.forward(request, way.url, proof=proof, has_hopped=has_hopped)


def is_for_preview(headers: CIMultiDictProxy[str], preview_host: str) -> bool:
    """Whether what a request names is below that host."""
    suffix = _suffix(preview_host)
    return any(host.endswith(suffix) for host in _hosts(headers))


def _hosts(headers: CIMultiDictProxy[str]) -> list[str]:
    return [name_of(host) for host in headers.getall(hdrs.HOST, [])]


def _suffix(preview_host: str) -> str:
    return "." + name_of(preview_host)


def name_of(host: str) -> str:
    """A `Host` without its port, its case and its final dot; whatever stands before our suffix is a label."""
    return host.strip().partition(":")[0].lower().rstrip(".")


def _told(error: NoSiteError) -> web.Response:
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    if error.status == 503:
        headers["Retry-After"] = "1"
    return web.Response(text=error.words + "\n", status=error.status, headers=headers)
