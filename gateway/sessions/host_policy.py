"""Which hosts and origins are ours: checked before anything looks at a request."""

import re
from typing import Final

from gateway.settings import Settings

_HOST: Final = re.compile(r"(\[[0-9a-f.]*:[0-9a-f:.]*\]|[a-z0-9._-]+)(?::[0-9]{0,5})?", re.ASCII)


class HostPolicy:
    """Which `Host` names we answer to, and from which origins a browser may ask: DNS rebinding and CSWSH closed."""

    def __init__(self, settings: Settings) -> None:
        bound = f"[{settings.host.strip('[]')}]" if ":" in settings.host else settings.host
        self._hosts = {name.lower() for name in ("localhost", bound, *settings.allowed_hosts)}
        self._origins = {origin.lower().rstrip("/") for origin in settings.allowed_origins}

    def allows_host(self, host: str | None, *, reached: str | None = None) -> bool:
        """Whether a request's `Host` is one of ours, with any port.

        `reached` is the address that the connection came to: where we listen on all of them, each is ours. A name
        that somebody else lets point to us (DNS rebinding) is none of these.
        """
        name = host_name(host or "")
        if host is None or name is None:
            return False
        return host.lower() in self._hosts or name in self._hosts or name.strip("[]") == reached

    def allows_origin(self, origin: str | None, host: str) -> bool:
        """Whether a request with this `Origin` may be served: none, our own (name and port), or a listed one."""
        if origin is None:
            return True
        ours = {f"http://{host}".lower(), f"https://{host}".lower()}
        return origin.lower() in self._origins | ours


def host_name(host: str) -> str | None:
    """The name or address in a `Host`, in small letters; None where that is none (RFC 9110 section 7.2)."""
    found = _HOST.fullmatch(host.lower())
    return found and found[1]
