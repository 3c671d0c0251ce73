"""The keys of the tokens' issuer, as `gateway check` finds them."""

from gateway.server.checks.parts import Finding
from gateway.sessions.keys import KeysError, fetch, fetching
from gateway.settings import Settings


async def keys(settings: Settings) -> list[Finding]:
    """Whether they can be had, and what they are for."""
    url = settings.jwks_url
    if url is None or settings.auth == "none":
        return []
    try:
        async with fetching() as http:
            found = await fetch(http, url)
    except KeysError as error:
        return [Finding("keys", "fail", str(error), "correct GATEWAY_JWKS_URL, or start what serves it")]
    if not found:
        fix = "publish the public key there, with `use` sig or without, of RS256 to RS512, ES256 to ES512 or EdDSA"
        return [Finding("keys", "fail", "the issuer publishes none that tokens can be checked with", fix)]
    names = sorted({kid or "without a name" for kid, _ in found})
    algorithms = ", ".join(sorted({algorithm for _, algorithm in found}))
    return [Finding("keys", "ok", f"{len(names)} of the issuer's, for {algorithms}")]
