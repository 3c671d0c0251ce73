"""What the operator of a local sandbox may set: from flags, then `SANDBOX_*`, then `.env`."""

from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

MIN_TOKEN_CHARS = 16


class SandboxSettings(BaseSettings):
    """Each field is read from `SANDBOX_<FIELD>`; a task's own limit counts below the matching `max_`."""

    model_config = SettingsConfigDict(env_prefix="SANDBOX_", env_file=".env", extra="ignore", frozen=True)

    # --- the door
    host: str = "127.0.0.1"
    """Address to listen on. Anything but loopback needs `token`: whoever gets in runs code here."""
    port: int = Field(default=8090, ge=0, le=65535)
    """TCP port; 0 lets the system pick one. 8090 is where the guide's clients look."""
    token: SecretStr | None = None
    """Bearer token that every peer must show; at least 16 characters, so that it can't be guessed."""
    join_token: SecretStr | None = None
    """Token that `sandbox-bridge join` shows to its gateway; it needs the scope `sandbox`."""
    allowed_hosts: Annotated[frozenset[str], NoDecode] = frozenset()
    """Names under which peers may reach us besides the bound address and loopback, with commas."""
    max_connections: int = Field(default=32, ge=1)
    """Sockets at once: each may hold one frame of 32 MiB in memory, so this bounds what a flood can take."""
    open_timeout_s: float = Field(default=5.0, gt=0)
    """How long a peer's whole opening handshake may take; a silent one would hold a file descriptor for ever."""
    close_timeout_s: float = Field(default=1.0, gt=0)
    """How long a peer's half of the closing handshake may take: a vanished one must not delay our end."""
    send_timeout_s: float = Field(default=300.0, gt=0)
    """How long a peer may read nothing of what it is sent. A slow one is waited for; one that reads nothing holds a
    place."""

    resume_s: float = Field(default=8.0, ge=0)
    """How long a session waits for a bridge that is silent (the protocol's number); 0: not at all."""

    # --- the jail
    isolation: Literal["bwrap", "none"] = "bwrap"
    """What keeps a task in. `none` keeps nothing in: only with `--unsafe-no-isolation`, and on loopback."""
    max_sessions: int = Field(default=8, ge=1, le=1000)
    """Tasks at once; the next is refused as `busy`. Eight keep a small machine busy without swapping."""
    warm: int = Field(default=2, ge=0, le=100)
    """Jails kept ready, so that a task starts in a few milliseconds; each idle one costs under 12 MiB. 0: none."""
    start_timeout_s: float = Field(default=10.0, gt=0)
    """How long a jail may take to be ready. It takes 0.05 s; a machine that needs 10 s is in trouble, and we say so."""
    cancel_grace_s: float = Field(default=0.5, ge=0)
    """How long after TERM the jail is killed. All must be gone within 1 s of a cancel."""
    open_files: int = Field(default=4096, ge=64)
    """What one process of a task may open at once: no program needs more, and all of it is the host's memory."""
    kill_timeout_s: float = Field(default=5.0, gt=0)
    """How long the kernel may take to remove a killed jail. It takes 0.02 s; beyond this we log and go on."""
    staging_timeout_s: float = Field(default=60.0, gt=0)
    """How long files sent ahead wait for their task, from the last piece on (the protocol's number)."""

    # --- sites
    max_sites: int = Field(default=32, ge=1)
    """Ended tasks whose site is up, each with its jail. One more, and the longest idle one is ended."""
    site_idle_s: float = Field(default=900.0, gt=0)
    """How long a site stays after its task has ended and its last request was made (the protocol's number)."""
    max_visits: int = Field(default=128, ge=1)
    """Connections to all sites at once, of three file descriptors each; one site may have a quarter of them."""

    # --- what a task may use: default and ceiling
    timeout_s: float = Field(default=300.0, gt=0)
    """Running time of a task that asks for none."""
    max_timeout_s: float = Field(default=86400.0, gt=0)
    """Ceiling of `timeout_s`: a day. A task that runs longer is a service, and belongs elsewhere."""
    output_bytes: int = Field(default=64 << 20, gt=0)
    """Output delivered per task before the rest is counted and dropped."""
    max_output_bytes: int = Field(default=64 << 20, gt=0)
    """Ceiling of `output_bytes`; all of it is stored by whoever watches."""
    disk_mb: int = Field(default=256, gt=0)
    """Size of the working directory, and of `/tmp`. It is memory, taken as it is written."""
    max_disk_mb: int = Field(default=256, gt=0)
    """Ceiling of `disk_mb`, and of a task's files sent ahead."""
    memory_mb: int = Field(default=512, gt=0)
    """Memory of a jail as a whole, its disks included; a kill for lack of memory fails the task."""
    max_memory_mb: int = Field(default=512, gt=0)
    """Ceiling of `memory_mb`."""
    processes: int = Field(default=128, gt=0)
    """Processes and threads of a jail: a fork bomb ends at this many."""
    max_processes: int = Field(default=128, gt=0)
    """Ceiling of `processes`."""
    idle_s: float | None = Field(default=None, gt=0)
    """How long a task may neither read nor write anything; no limit by default, since a compiler may be silent for
    long."""
    max_idle_s: float | None = Field(default=None, gt=0)
    """Ceiling of `idle_s`, and its value where a task names none."""
    cpu_s: float | None = Field(default=None, gt=0)
    """CPU time of a task, all its processes together; no limit by default, since `timeout_s` bounds it."""
    max_cpu_s: float | None = Field(default=None, gt=0)
    """Ceiling of `cpu_s`, and its value where a task names none."""
    network: Literal["none", "full"] = "none"
    """Network of a task that asks for none: nothing but its own loopback."""
    max_network: Literal["none", "full"] = "none"
    """Ceiling of `network`. `full`: public IPv4 addresses and nothing else; needs `slirp4netns` and `nft`."""
    resolvers: Annotated[tuple[IPv4Address, ...], NoDecode] = (IPv4Address("9.9.9.9"), IPv4Address("1.1.1.1"))
    """DNS resolvers of tasks with a network; public ones, for a task reaches no others."""
    denied_networks: Annotated[tuple[IPv4Network, ...], NoDecode] = ()
    """Networks that no task may reach, in addition to all that are not public; such as your own public addresses."""

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _split_commas(cls, value: object) -> object:
        if isinstance(value, str):
            return frozenset(name.strip().lower() for name in value.split(",") if name.strip())
        return value

    @field_validator("resolvers", "denied_networks", mode="before")
    @classmethod
    def _split_addresses(cls, value: object) -> object:
        return value.replace(",", " ").split() if isinstance(value, str) else value

    @field_validator("token")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < MIN_TOKEN_CHARS:
            raise ValueError(f"a token has at least {MIN_TOKEN_CHARS} characters")
        return value
