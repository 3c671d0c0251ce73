"""Every knob of the gateway: default, unit and reason. Flags win over the environment, that over `.env`."""

import ipaddress
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AliasChoices,
    BeforeValidator,
    Field,
    FilePath,
    SecretStr,
    StringConstraints,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from gateway.addresses import is_every_address, is_loopback

PREVIEW_HOST = r"^[a-zA-Z0-9-]{1,63}(\.[a-zA-Z0-9-]{1,63}){0,3}(:[0-9]{1,5})?$"
"""So short that a label fits before it."""


def _split(value: object) -> object:
    if not isinstance(value, str):
        return value
    return tuple(part.strip() for part in value.split(",") if part.strip())


CommaSeparated = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]


def _named(name: str) -> AliasChoices:
    return AliasChoices(name.lower(), name)


class _TabSettings(BaseSettings):
    """Settings of browser tabs as sandboxes."""

    pairing_s: float = Field(default=300.0, ge=1, le=3600)
    """How long a link that pairs a browser's tab works."""
    paired_s: float = Field(default=43_200.0, ge=1)
    """How long a paired tab may come back; never longer than the token of whoever paired it."""
    webcontainer_url: str = Field(default="https://stackblitz.com", pattern=r"^https?://[^/?#@\s;,']+$")
    """The origin that a tab loads its runtime from: the vendor's, or that of your own installation."""
    webcontainer_key: str | None = Field(default=None, pattern=r"^[\x21-\x7e]{1,200}$")
    """The API key that comes with the vendor's licence. It is no secret: each tab is given it."""


class Settings(_TabSettings):
    """The gateway's settings; each is read from `GATEWAY_<FIELD>` unless it says another name."""

    model_config = SettingsConfigDict(
        env_prefix="GATEWAY_",
        env_file=".env",
        extra="ignore",
        populate_by_name=True,
        frozen=True,
        use_attribute_docstrings=True,
    )

    # --- where ---
    host: str = "127.0.0.1"
    """Address to listen on. Anything but loopback needs `auth=jwt`."""
    port: int = Field(default=8080, ge=0, le=65535)
    """Port to listen on; 0 picks a free one."""
    processes: int = Field(default=1, ge=1, le=64)
    """Processes that serve at `port`; the kernel spreads clients over them. More than one needs the bus `redis`. Each
    also has a port of its own, one of those that follow `port`, for its metrics and the sites of its tasks. Each counts
    its clients' limits by itself."""
    data_dir: Path = Path("data")
    """Where SQLite and the lock live."""
    local_sandbox: bool = True
    """Whether to start a local sandbox of our own."""
    websocket_url: CommaSeparated = Field(default=(), validation_alias=_named("WEBSOCKET_URL"))
    """Sandbox services to dial."""
    sandbox_token: SecretStr | None = Field(default=None, validation_alias=_named("SANDBOX_TOKEN"))
    """Bearer token shown to the sandbox services of `websocket_url`."""

    agents: CommaSeparated = ()
    """Agents of your own, each `name=package.module:Class`, in addition to the entry points of installed packages."""

    # --- backends ---
    event_bus_backend: Literal["memory", "redis"] = Field(
        default="memory", validation_alias=_named("EVENT_BUS_BACKEND")
    )
    """What carries events between instances; with `memory` there can be only one."""
    redis_url: SecretStr = Field(
        default=SecretStr("redis://localhost:6379/0"), validation_alias=_named("REDIS_URL")
    )
    """Where Redis is, for the bus `redis`: `redis://user:password@host:port/0`, `rediss://` with TLS."""
    redis_prefix: str = Field(default="gateway", pattern=r"^[a-z0-9._-]{1,64}$")
    """Prefix of our names in Redis: the same for all instances of one store, and for no others."""
    state_persistence_backend: Literal["sqlite", "postgresql", "surrealdb", "memory"] = Field(
        default="sqlite", validation_alias=_named("STATE_PERSISTENCE_BACKEND")
    )
    """Where tasks and logs are kept; `postgresql` and `surrealdb` need the extra of that name, `memory` is lost with
    its process."""
    state_database_url: SecretStr | None = Field(default=None, validation_alias=_named("STATE_DATABASE_URL"))
    """Where the database is: `postgresql://user:password@host/name`, with the parameters of libpq, or
    `ws://user:password@host:8000/namespace/name` for SurrealDB, whose engine keeps its data below `data_dir` where none
    is given."""
    database_connections: int = Field(default=10, ge=2)
    """Connections to the database that one instance keeps."""

    celery_broker_url: SecretStr | None = Field(default=None, validation_alias=_named("CELERY_BROKER_URL"))
    """The broker by which Celery's workers are offered tasks of heavy agents, which then run there and not in gateways;
    needs the extra `celery`."""

    # --- one of many ---
    lease_s: float = Field(default=10.0, ge=0.5)
    """How long an instance counts as alive without renewing its lease. It stops what it runs after 80 % of that."""
    lease_renew_s: float = Field(default=3.0, ge=0.1)
    """How often the lease is renewed: often enough to survive two failed renewals."""
    takeover_s: float = Field(default=13.0, ge=1.0)
    """How long after an owner's last renewal its tasks are taken over. By then its lease is over, and so are the 8 s
    for which a sandbox keeps a session without its bridge, which may have lived until the renewal that did not come."""

    # --- who may come in ---
    auth: Literal["none", "jwt"] = "none"
    """`none` is for loopback only: everybody is `anonymous`, with every scope but `sandbox:server`."""
    jwt_secret: SecretStr | None = None
    """HS256 key, at least 32 bytes (RFC 7518 section 3.2)."""
    jwks_url: str | None = None
    """Where the issuer of tokens publishes its public keys (RS256 to RS512, ES256 to ES512, EdDSA): an `https://`
    address, or an `http://` one of this machine."""
    jwks_lifetime_s: float = Field(default=300.0, ge=1)
    """How long fetched keys are used: a key that the issuer has withdrawn is accepted for so long at most. A new key is
    fetched at once."""
    jwt_audience: str | None = None
    """What a token's `aud` must be, if set. Set it if your issuer serves other services: their tokens would work
    here."""
    jwt_leeway_s: float = Field(default=5.0, ge=0, le=60)
    """How far the issuer's clock may be ahead: a token is accepted so long before its `nbf` or `iat`. Its `exp` gets no
    leeway."""
    jwt_require_exp: bool = False
    """Whether a token without `exp` is refused."""
    share_max_s: int = Field(default=604_800, ge=0, le=31_536_000)
    """How long a link that shows a task may work at most; 0 turns such links off. They need `jwt_secret`."""
    revoked_file: FilePath | None = None
    """Revoked tokens: a file with a line `jti ID` or `sub NAME` for each, checked for changes every second."""
    audit_file: Path | None = None
    """The audit log: a file to which every submit, steering, delete, recovery, and connected sandbox is appended, with
    who did it, and refusals; a JSON object a line. Rotate it yourself."""
    allowed_origins: CommaSeparated = ()
    """Browser origins that are allowed in addition to our own."""
    allowed_hosts: CommaSeparated = ()
    """`Host` names that are served in addition to the bound address and localhost."""
    trusted_proxies: CommaSeparated = ()
    """Addresses, and networks such as `10.1.0.0/16`, of proxies in front of us, whose `X-Forwarded-For` is believed.
    From anybody else that header is ignored."""

    # --- sites of tasks ---
    preview_host: Annotated[str, StringConstraints(to_lower=True, pattern=PREVIEW_HOST)] | None = None
    """DNS name, with a wildcard record and certificate, below which each site gets an origin of its own. Needed for
    other machines to see sites; must serve nothing else."""
    advertise_url: str | None = Field(default=None, pattern=r"^https?://[^/?#@]+/?$")
    """Where the other instances reach this one, `http://host:port`: they forward requests for sites of its own sandbox
    to it. Without it, the address where it listens, unless that is every address."""
    site_idle_s: float = Field(default=900.0, gt=0)
    """How long a site stays after its task has ended and its last request was made (the protocol's number)."""

    # --- limits ---
    max_frame_bytes: int = Field(default=1 << 20, ge=64 << 10)
    """Largest frame taken or sent on the client socket."""
    max_input_bytes: int = Field(default=256 << 20, ge=0)
    """Bytes of the files that are uploaded with a task; JSON is bounded by `max_body_bytes`."""
    max_body_bytes: int = Field(default=32 << 20, ge=1)
    """Largest JSON body by HTTP."""
    max_inflight: int = Field(default=64, ge=1)
    """Requests of one connection under way at once, blocking submits included."""
    max_subscriptions: int = Field(default=1000, ge=1)
    """Subscriptions of one connection."""
    max_connections: int = Field(default=10_000, ge=1)
    """Client sockets in all: each costs some 24 KiB and a file descriptor."""
    max_connections_per_subject: int = Field(default=1000, ge=0)
    """Client sockets of one subject, and its streams and blocking submits by HTTP; 0 turns the limit off."""
    max_connections_per_address: int = Field(default=1000, ge=0)
    """Connections of any kind from one address (in IPv6, from one /64 network); 0 turns the limit off. This machine is
    not counted; behind a proxy of `trusted_proxies` the forwarded address is."""
    handshakes_per_s: float = Field(default=100.0, ge=0)
    """Handshakes of such an address, on average; its burst is as many as it may have connections. 0 turns the limit
    off."""
    max_running_per_subject: int = Field(default=32, ge=0)
    """Tasks of one subject that run at once; 0 turns the limit off."""
    max_queued_per_subject: int = Field(default=50_000, ge=0)
    """Tasks of one subject that wait to run; 0 turns the limit off."""
    max_stored_bytes_per_subject: int = Field(default=10 << 30, ge=0)
    """Bytes of one subject's tasks in the store (input, logs, results, files; a running task counts once it has ended),
    and of workflows beside them. Whoever has more can submit nothing until some are deleted or expire. 0, or
    `auth=none`: no limit."""
    submits_per_s: float = Field(default=1000.0, ge=0)
    """Tasks that one subject submits, on average, over all its connections; 0 turns the limit off."""
    submit_burst: int = Field(default=2000, ge=1)
    """How many tasks one subject may submit at once (the burst)."""
    requests_per_s: float = Field(default=100.0, ge=0)
    """Requests of a session, on average; ten times as many for a subject by HTTP, and for its frames from one address
    (more are delayed). 0 turns these limits off."""
    request_burst: int = Field(default=200, ge=1)
    """Requests of one session at once (the burst); ten times as many for the other two."""

    # --- times ---
    heartbeat_ms: int = Field(default=25_000, ge=100)
    """How often a client is pinged: below the 30 to 60 s after which proxies drop a silent connection."""
    handshake_timeout_s: float = Field(default=10.0, gt=0)
    """How long a peer may take to send a request's header, and how long an idle connection is kept alive."""
    start_wait_s: float = Field(default=5.0, ge=0)
    """How long the start waits for the local sandbox before it reports ready without it."""
    drain_s: float = Field(default=60.0, ge=0)
    """How long running tasks may go on after SIGTERM."""
    queue_s: float = Field(default=300.0, ge=0)
    """How long a task may wait while no live sandbox fits it, before it fails with `no_sandbox`."""
    retention_s: float = Field(default=604_800.0, ge=0)
    """How long a log is kept whole after its task has ended; then only its last event is kept."""
    task_retention_s: float = Field(default=2_592_000.0, ge=0)
    """How long a task (row, result, files) is kept after its end, and a workflow after its last task is gone."""
    retention_bytes: int = Field(default=10 << 30, ge=0)
    """What SQLite's file may use before tasks are removed early, those that ended longest ago first; 0 turns the limit
    off. On PostgreSQL and SurrealDB, which do not report free space, tasks are removed by age alone."""
    pause_hold_s: float = Field(default=900.0, ge=0)
    """How long a paused task keeps its sandbox; then that is given up, and resuming is a new attempt."""
    blocking_http_s: float = Field(default=60.0, ge=0)
    """How long a blocking submit by HTTP waits before it answers 202."""

    # --- logs ---
    log_format: Literal["auto", "console", "json"] = "auto"
    """`auto` is `console` on a terminal, else `json`."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least level that is logged."""

    def advertised(self, bound: str) -> str | None:
        """Where the others reach this instance, which listens at the URL `bound`.

        None where nobody knows, and where there are no others: whoever was there before is dead.
        """
        if self.advertise_url is not None:
            return self.advertise_url.rstrip("/")
        return None if self.is_alone or is_every_address(self.host) else bound

    def own_port(self, number: int, port: int) -> int:
        """Where one of the processes that share `port`, which may have been any, is itself; 0 is a free one."""
        return port + 1 + number if self.port or self.advertise_url is not None else 0

    def of_process(self, number: int, port: int) -> "Settings":
        """Those of one of the processes that share `port`; others are told where it is itself."""
        if self.advertise_url is None:
            return self.model_copy(update={"port": port})
        url, own_port = urlsplit(self.advertise_url), self.own_port(number, port)
        host = url.netloc.removesuffix(f":{url.port}")
        return self.model_copy(update={"port": port, "advertise_url": f"{url.scheme}://{host}:{own_port}"})

    @property
    def is_alone(self) -> bool:
        """Whether the store is in the data directory, and no other process has that while this one does."""
        has_lock = self.event_bus_backend == "memory" and self.state_persistence_backend == "sqlite"
        return has_lock or self.serves_alone

    @property
    def loopback(self) -> bool:
        """Whether only this machine can connect."""
        return is_loopback(self.host)

    @model_validator(mode="after")
    def _safe(self) -> Self:
        if self.auth == "none" and not self.loopback:
            raise ValueError(
                f"will not serve {self.host} without authentication: set GATEWAY_AUTH=jwt and GATEWAY_JWT_SECRET"
                " or GATEWAY_JWKS_URL, or listen on 127.0.0.1"
            )
        if self.auth == "jwt" and self.jwt_secret is None and self.jwks_url is None:
            raise ValueError(
                "GATEWAY_AUTH=jwt needs GATEWAY_JWT_SECRET (at least 32 bytes) or GATEWAY_JWKS_URL"
            )
        if self.jwks_url is not None:
            _check_jwks_url(self.jwks_url)
        if self.jwt_secret is not None and len(self.jwt_secret.get_secret_value().encode()) < 32:
            raise ValueError("GATEWAY_JWT_SECRET is too short: HS256 needs at least 32 bytes")
        _check_database_url(self)
        for url in self.websocket_url:
            _check_sandbox_url(self, url)
        for proxy in self.trusted_proxies:
            _check_network(proxy)
        _check_leases(self)
        _check_processes(self)
        return self

    @property
    def surrealdb_url(self) -> str:
        """What is dialled, or the folder of the engine in this process."""
        url = self.state_database_url
        return (
            f"surrealkv://{self.data_dir.absolute() / 'surrealdb'}" if url is None else url.get_secret_value()
        )

    @property
    def serves_alone(self) -> bool:
        """Whether its database can be no other instance's."""
        own = {"memory"} if self.state_database_url else {"memory", "surrealdb"}
        return self.state_persistence_backend in own


def _check_leases(settings: Settings) -> None:
    if settings.lease_s < 3 * settings.lease_renew_s:
        raise ValueError("GATEWAY_LEASE_S must be at least three times GATEWAY_LEASE_RENEW_S")
    if settings.takeover_s < settings.lease_s + settings.lease_renew_s:
        raise ValueError(
            "GATEWAY_TAKEOVER_S must be at least GATEWAY_LEASE_S and GATEWAY_LEASE_RENEW_S together"
        )


def _check_processes(settings: Settings) -> None:
    if settings.processes == 1:
        return
    if settings.event_bus_backend == "memory" or settings.serves_alone:
        raise ValueError(
            f"{settings.processes} processes hear of each other by Redis: set EVENT_BUS_BACKEND=redis and REDIS_URL,"
            " and let them share a store that others may open, too (sqlite or postgresql)"
        )
    if settings.port + settings.processes > 65535:
        raise ValueError("GATEWAY_PORT is too high: each process has one of the ports behind it")


def _check_database_url(settings: Settings) -> None:
    backend, url = settings.state_persistence_backend, settings.state_database_url
    if backend == "postgresql" and url is None:
        raise ValueError(
            "STATE_PERSISTENCE_BACKEND=postgresql needs STATE_DATABASE_URL=postgresql://user:password@host/name"
        )
    if (
        backend == "surrealdb"
        and url is not None
        and urlsplit(url.get_secret_value()).scheme not in {"ws", "wss"}
    ):
        raise ValueError(
            "STATE_DATABASE_URL: SurrealDB is dialled by ws://user:password@host:8000/namespace/name (or wss://);"
            " remove it to keep the data below GATEWAY_DATA_DIR"
        )


def _check_sandbox_url(settings: Settings, url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in {"ws", "wss"} or not parts.hostname:
        raise ValueError(f"WEBSOCKET_URL: {url!r} is not a ws:// or wss:// address")
    here = is_loopback(parts.hostname) or parts.hostname == settings.host
    if here and (parts.port or 80) == settings.port and parts.path.rstrip("/") in {"/ws", ""}:
        raise ValueError(
            f"WEBSOCKET_URL={url} is this gateway's own client socket. It names sandbox services: change that line"
            " to where `sandbox-bridge serve` listens, such as WEBSOCKET_URL=ws://localhost:8090/ws, or remove it"
        )


def _check_network(text: str) -> None:
    try:
        ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(f"GATEWAY_TRUSTED_PROXIES: {error}") from None


def _check_jwks_url(url: str) -> None:
    parts = urlsplit(url)
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))
    if not is_safe or not parts.hostname or parts.username is not None:
        # What comes over plain HTTP can be another's keys, and what is in a URL gets into logs.
        raise ValueError(
            "GATEWAY_JWKS_URL must be https://…, or http:// to this machine, without user and password"
        )
