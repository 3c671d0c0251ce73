"""Who may come in: decided on a request's path and headers alone. Pure."""

import hmac
import ipaddress
from http import HTTPStatus

from websockets.http11 import Request

from sandbox_bridge.settings import SandboxSettings

PATH = "/ws"
Refusal = tuple[HTTPStatus, str]


def refusal(request: Request, settings: SandboxSettings) -> Refusal | None:
    """Why `request` is not let in, as status and words, or None."""
    if request.path.partition("?")[0] != PATH:
        return HTTPStatus.NOT_FOUND, f"the sandbox protocol is spoken at {PATH}\n"
    # Browsers always say where a page comes from, and no page has business here.
    if request.headers.get_all("Origin"):
        return HTTPStatus.FORBIDDEN, "no browsers\n"
    hosts = request.headers.get_all("Host")
    if len(hosts) != 1 or not _is_ours(host_name(hosts[0]), settings):
        return HTTPStatus.FORBIDDEN, "not a host of this service; see SANDBOX_ALLOWED_HOSTS\n"
    if not _has_token(request, settings):
        return HTTPStatus.UNAUTHORIZED, "a bearer token is needed\n"
    return None


def host_name(header: str) -> str:
    """A Host header without its port, in lower case."""
    name = header.strip().lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.rpartition(":")[0] if ":" in name else name


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_ours(name: str, settings: SandboxSettings) -> bool:
    return name == settings.host.lower() or name in settings.allowed_hosts or is_loopback(name)


def _has_token(request: Request, settings: SandboxSettings) -> bool:
    if settings.token is None:
        return True
    expected = f"Bearer {settings.token.get_secret_value()}".encode()
    given = [value.encode() for value in request.headers.get_all("Authorization")]
    return len(given) == 1 and hmac.compare_digest(given[0], expected)
