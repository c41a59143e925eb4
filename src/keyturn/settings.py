"""Settings: environment variables in, one frozen value out. An unknown or unfit one stops the start."""

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import urlsplit

import platformdirs

from keyturn.core.api_key import DEFAULT_PREFIX, ApiKeyFormat
from keyturn.core.jwk import Algorithm
from keyturn.core.loopback import is_loopback
from keyturn.core.networks import Network, read_network
from keyturn.errors import CannotStart

ENVIRONMENT_PREFIX = "KEYTURN_"
MAX_PORT = 65_535
DEFAULT_DRAIN_SECONDS = 5
"""Long enough for most balancers to ask twice whether a server is ready."""
CLIENT_VARIABLES = frozenset({"KEYTURN_URL", "KEYTURN_KEY", "KEYTURN_PROFILE", "KEYTURN_CA_FILE"})
"""Variables for programs that call a server: no settings of the server."""

_KUBERNETES = re.compile(
    r"KEYTURN_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d{1,5}_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)",
    re.ASCII,
)
_KUBERNETES_PORT = re.compile(r"KEYTURN_(\w+_)?PORT", re.ASCII)
_KUBERNETES_ADDRESS = re.compile(r"(tcp|udp|sctp)://[0-9a-fA-F.:\[\]]+:[0-9]{1,5}")
"""Kubernetes tells every pod of the Services in its namespace by variables that begin with their names."""

LogLevel = Literal["debug", "info", "warning", "error"]


def data_directory() -> Path:
    """Return the user's data directory, where the embedded database lives by default.

    Raise `CannotStart` for a user without a home.
    """
    try:
        folder = Path(platformdirs.user_data_dir("keyturn", appauthor=False))
    except RuntimeError:
        folder = Path("~")
    if not folder.is_absolute():
        raise CannotStart("This user has no home directory: set KEYTURN_DATABASE, or XDG_DATA_HOME.")
    return folder


def default_database() -> str:
    """Return the address of the embedded database, where the operator gave none."""
    return f"sqlite:///{data_directory() / 'keyturn.db'}"


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that an operator can decide. Each field is the variable `KEYTURN_` + its name."""

    database: str = field(default_factory=default_database, repr=False)
    """`sqlite:///path` or `postgresql://…`."""
    new_installation: bool = False
    """Begin an installation where there is none."""
    migrate: bool = True
    """Let `serve` bring an older schema up to date."""
    root_key_file: Path | None = None
    """The file of the root key. Beside an SQLite database it is made at the first start."""
    root_key_command: str | None = None
    """A command that prints the root key, instead of a file: for a secret manager."""
    backup_folder: Path | None = None
    """The folder into which servers make backups by themselves. Without it they make none."""
    backup_every_hours: int = 24
    """How old the newest backup in the folder is when the next one is made."""
    backup_keep: int = 14
    """How many backups stay in the folder; older ones are deleted once a new one is there."""
    backup_key_file: Path | None = None
    """The file of the key that encrypts backups. Without it they are as readable as the database."""
    host: str = "127.0.0.1"
    port: int = 8400
    unix_socket: Path | None = None
    """A Unix socket to listen on besides, for a gateway on this machine. Requests over it are trusted like
    those of a trusted proxy. The permissions of the file say who can send them."""
    management: str | None = None
    """Where metrics and health are asked for, `host:port` or `unix:/path`: closed to strangers."""
    public_url: str = ""
    """Where clients reach this server: the issuer and the audience of tokens. Default: the bind address."""
    allowed_hosts: tuple[str, ...] = ()
    """Further `Host` values to answer, comma-separated."""
    allow_public_http: bool = False
    """Serve unencrypted HTTP on an address that is not loopback. Only behind a proxy that speaks TLS."""
    tls_certificate_file: Path | None = None
    tls_key_file: Path | None = None
    key_prefix: str = DEFAULT_PREFIX
    key_life_days: int = 365
    """How long a key lives when its maker chose nothing."""
    allow_keys_without_expiry: bool = True
    token_life_seconds: int = 3600
    token_algorithm: Algorithm = "ES256"
    trusted_proxies: tuple[Network, ...] = ()
    """Networks of the proxies whose `X-Forwarded-For` is believed, comma-separated."""
    connection_networks: tuple[Network, ...] = ()
    """Private and other special networks that connections to databases may lead to."""
    failures_per_minute: int = 120
    """How many wrong credentials one address may present to one process before it must wait."""
    sign_in_failures_per_minute: int = 30
    """How many sign-ins from one address may fail in one process before all from there must wait."""
    password_min_characters: int = 15
    """How long a new password must be at least. NIST SP 800-63B-4 wants 15 where it is the only proof."""
    passwords_per_minute: int = 60
    """How often a person may give their password in one process before they must wait."""
    keys_per_owner: int = 1000
    """How many living keys an account may have that were made over pages and API."""
    creations_per_minute: int = 60
    """How many things a user may make and change in one process before they must wait."""
    connections_per_address: int = 1000
    """How many connections one address may hold to one process; half of the open files at most."""
    drain_seconds: int | None = None
    """How long a server that is told to stop goes on, not ready. Default: 0 on loopback, 5 elsewhere."""
    audit_kept_days: int | None = None
    """How long events stay in the audit log until they are archived. Default: for ever."""
    audit_archive: Path | None = None
    """The folder for the archives of the audit log."""
    ended_keys_kept_days: int | None = None
    """How long keys are kept that are revoked or over. Default: for ever, since they are history."""
    max_staleness_seconds: int = 5
    """How long a node goes on answering from memory when it cannot reach the database."""
    session_idle_minutes: int = 30
    session_absolute_hours: int = 12
    password_again_minutes: int = 120
    """How long after giving the password a browser makes keys and gives rights without giving it again."""
    documentation: bool = True
    """Serve the documentation under `/docs`, to strangers too."""
    repository_url: str = ""
    """Where the documentation's sources are, for its links to change a page. Default: no such links."""
    traces: bool = False
    """Send traces of requests to where OpenTelemetry's own variables say, with the extra `telemetry`."""
    log_level: LogLevel = "info"

    @property
    def documentation_url(self) -> str:
        """Where people and programs read how to use this server."""
        return f"{self.public_url}{'/docs' if self.documentation else '/openapi.json'}"

    @property
    def token_life(self) -> timedelta:
        """How long a bearer token lives."""
        return timedelta(seconds=self.token_life_seconds)

    @property
    def drain_time(self) -> int:
        """How many seconds a server that is told to stop goes on."""
        if self.drain_seconds is not None:
            return self.drain_seconds
        return 0 if self.is_loopback_bind else DEFAULT_DRAIN_SECONDS

    @property
    def management_address(self) -> Path | tuple[str, int] | None:
        """The socket's path, or the host and port, at which metrics and health are asked for."""
        return None if self.management is None else _management_address(self.management)

    @property
    def management_endpoint(self) -> tuple[str, int] | None:
        """The host and port of that, None if it is no address of a network."""
        address = self.management_address
        return address if isinstance(address, tuple) else None

    @property
    def is_loopback_bind(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)

    @property
    def bind_url(self) -> str:
        """The `public_url` of an operator who gave none."""
        scheme = "https" if self.serves_tls else "http"
        bare = self.host.strip("[]")
        host = f"[{bare}]" if ":" in bare else bare
        return f"{scheme}://{host}:{self.port}"

    @property
    def serves_tls(self) -> bool:
        """Whether this server speaks TLS itself."""
        return self.tls_certificate_file is not None

    @property
    def uses_https(self) -> bool:
        """Whether browsers reach this server over https, so that cookies can be `Secure`."""
        return self.public_url.startswith("https://")


def read_settings(environment: Mapping[str, str], **chosen: object) -> Settings:
    """Read the settings; `chosen` ones (from the command line) win unless None.

    Raise `CannotStart` naming the variable for an unknown one, an unfit value, or values that do not
    go together.
    """
    values: dict[str, Any] = {}
    known = {ENVIRONMENT_PREFIX + setting.name.upper(): setting.name for setting in fields(Settings)}
    for variable in sorted(name for name in environment if name.startswith(ENVIRONMENT_PREFIX)):
        if _is_of_others(variable, environment[variable]):
            continue
        if variable not in known:
            raise CannotStart(f"The setting {variable} is unknown{_near(variable)}")
        values[known[variable]] = _parse(variable, known[variable], environment[variable])
    values |= {name: value for name, value in chosen.items() if value is not None}
    settings = Settings(**values)
    if not settings.public_url:
        _check_local(settings)
        settings = replace(settings, public_url=settings.bind_url)
    _check(settings)
    return settings


def _is_of_others(variable: str, value: str) -> bool:
    """Return whether a variable is a client's, or made by Kubernetes for a Service named keyturn."""
    if variable in CLIENT_VARIABLES or _KUBERNETES.fullmatch(variable) is not None:
        return True
    # A port is also a setting: it is told apart by its value.
    return bool(_KUBERNETES_PORT.fullmatch(variable) and _KUBERNETES_ADDRESS.fullmatch(value))


def _near(variable: str) -> str:
    """Return how the sentence about an unknown variable ends: with the one that is meant, if one is near."""
    names = [setting.name.upper() for setting in fields(Settings)]
    meant = variable.removeprefix(ENVIRONMENT_PREFIX).upper()
    near = difflib.get_close_matches(meant, names, n=1, cutoff=0.7)
    return (
        f": did you mean {ENVIRONMENT_PREFIX}{near[0]}?" if near else ": docs/reference/settings.md has all."
    )


def _check_local(settings: Settings) -> None:
    """Raise `CannotStart` if only the operator can know where clients reach this server."""
    if settings.is_loopback_bind or settings.serves_tls:
        return
    raise CannotStart(
        f"On {settings.host} others reach the server: set KEYTURN_PUBLIC_URL to where, like "
        "https://keys.example.com, and either KEYTURN_TLS_CERTIFICATE_FILE and KEYTURN_TLS_KEY_FILE or, "
        "behind a proxy that speaks TLS, KEYTURN_TRUSTED_PROXIES. For this machine alone leave the host out."
    )


_ORIGIN = re.compile(r"https?://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[1-9][0-9]{0,4})?")
"""RFC 6454, section 6.2, with the scheme in lower case."""


def _is_origin(url: str) -> bool:
    """Return whether `url` is a scheme, a host and perhaps a port, and nothing else."""
    try:
        return _ORIGIN.fullmatch(url) is not None and (urlsplit(url).port or 1) <= MAX_PORT
    except ValueError:
        return False


def _check(settings: Settings) -> None:
    """Raise `CannotStart` for settings that are unfit or do not go together."""
    if not _is_origin(settings.public_url):
        raise CannotStart(
            "KEYTURN_PUBLIC_URL must be like https://keys.example.com, without a path or a slash at the end."
        )
    url = urlsplit(settings.public_url)
    if url.scheme == "http" and not is_loopback(url.hostname or ""):
        raise CannotStart(
            f"KEYTURN_PUBLIC_URL is {settings.public_url}: over the network it must begin with https://, "
            "since session cookies and keys must not travel in clear."
        )
    if (settings.tls_certificate_file is None) != (settings.tls_key_file is None):
        raise CannotStart("Give both KEYTURN_TLS_CERTIFICATE_FILE and KEYTURN_TLS_KEY_FILE, or neither.")
    is_unprotected = not (settings.is_loopback_bind or settings.serves_tls or settings.trusted_proxies)
    if is_unprotected and not settings.allow_public_http:
        raise CannotStart(
            f"Serving unencrypted HTTP on {settings.host} would send keys in clear over the network: set "
            "KEYTURN_TLS_CERTIFICATE_FILE and KEYTURN_TLS_KEY_FILE, or, behind a proxy that speaks TLS, name "
            "it in KEYTURN_TRUSTED_PROXIES or set KEYTURN_ALLOW_PUBLIC_HTTP=true."
        )
    if settings.unix_socket is not None and settings.serves_tls:
        raise CannotStart(
            "With a TLS certificate of its own, Keyturn would speak TLS on KEYTURN_UNIX_SOCKET too, which no "
            "gateway does: leave one of the two out."
        )
    if (settings.audit_kept_days is None) != (settings.audit_archive is None):
        raise CannotStart(
            "Give both KEYTURN_AUDIT_KEPT_DAYS and KEYTURN_AUDIT_ARCHIVE, or neither: an event leaves the "
            "log for a file alone."
        )
    if settings.root_key_file is not None and settings.root_key_command is not None:
        raise CannotStart("Give KEYTURN_ROOT_KEY_FILE or KEYTURN_ROOT_KEY_COMMAND, not both.")
    try:
        ApiKeyFormat(settings.key_prefix)
    except ValueError as error:
        raise CannotStart(f"KEYTURN_KEY_PREFIX is unfit: {error}.") from error


def _parse(variable: str, name: str, text: str) -> object:
    parse = _PARSERS.get(name, str)
    try:
        return parse(text)
    except ValueError as error:
        raise CannotStart(f"{variable} is unfit: {error}.") from error


def _whole_number(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
            raise ValueError(f"it must be a whole number from {low} to {high}")
        return int(text)

    return parse


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"it must be one of {', '.join(choices)}")
        return text

    return parse


def _yes_or_no(text: str) -> bool:
    return _one_of("true", "false")(text) == "true"


def _web_address(text: str) -> str:
    if text and re.fullmatch(r"https://[A-Za-z0-9.-]+(:\d+)?(/[\w.~-]+)*/?", text, re.ASCII) is None:
        raise ValueError("it must be like https://git.example.com/team/keyturn")
    return text.rstrip("/")


_UNIX = "unix:"


def _management_address(text: str) -> Path | tuple[str, int]:
    """Return what an address says; raise `ValueError`."""
    if text.startswith(_UNIX):
        path = Path(text.removeprefix(_UNIX))
        if path.is_absolute():
            return path
    else:
        host, _, port = text.rpartition(":")
        bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        is_bare = bare != host or ":" not in host
        if bare and is_bare and re.fullmatch(r"[1-9][0-9]{0,4}", port, re.ASCII) and int(port) <= MAX_PORT:
            return bare, int(port)
    raise ValueError("it must be like 127.0.0.1:9464, [::1]:9464 or unix:/run/keyturn/management.sock")


def _management(text: str) -> str:
    _management_address(text)
    return text


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip().lower() for part in text.split(",") if part.strip())


_PARSERS: Mapping[str, Callable[[str], object]] = {
    "new_installation": _yes_or_no,
    "migrate": _yes_or_no,
    "root_key_file": Path,
    "backup_folder": Path,
    "backup_every_hours": _whole_number(1, 8760),
    "backup_keep": _whole_number(1, 10_000),
    "backup_key_file": Path,
    "port": _whole_number(1, MAX_PORT),
    "unix_socket": Path,
    "management": _management,
    "allowed_hosts": _list,
    "allow_public_http": _yes_or_no,
    "tls_certificate_file": Path,
    "tls_key_file": Path,
    "key_life_days": _whole_number(1, 3650),
    "allow_keys_without_expiry": _yes_or_no,
    "token_life_seconds": _whole_number(60, 86_400),
    "token_algorithm": cast("Callable[[str], object]", _one_of("ES256", "EdDSA")),
    "connection_networks": lambda text: tuple(map(read_network, _list(text))),
    "trusted_proxies": lambda text: tuple(map(read_network, _list(text))),
    "failures_per_minute": _whole_number(1, 1_000_000),
    "sign_in_failures_per_minute": _whole_number(1, 1_000_000),
    "password_min_characters": _whole_number(8, 64),
    "passwords_per_minute": _whole_number(1, 1_000_000),
    "keys_per_owner": _whole_number(1, 1_000_000),
    "creations_per_minute": _whole_number(1, 1_000_000),
    "connections_per_address": _whole_number(1, 1_000_000),
    "drain_seconds": _whole_number(0, 300),
    "audit_kept_days": _whole_number(1, 36_500),
    "audit_archive": Path,
    "ended_keys_kept_days": _whole_number(90, 36_500),
    "max_staleness_seconds": _whole_number(1, 60),
    "session_idle_minutes": _whole_number(1, 1440),
    "session_absolute_hours": _whole_number(1, 168),
    "password_again_minutes": _whole_number(1, 10_080),
    "documentation": _yes_or_no,
    "repository_url": _web_address,
    "traces": _yes_or_no,
    "log_level": _one_of("debug", "info", "warning", "error"),
}
