"""Settings: each variable, its default, and every way in which it is refused."""

from __future__ import annotations

import re
from dataclasses import MISSING, FrozenInstanceError, fields
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest

from keyturn.cli.remote import profiles
from keyturn.errors import CannotStart
from keyturn.settings import ENVIRONMENT_PREFIX, Settings, read_settings


def refusal(**environment: str) -> str:
    with pytest.raises(CannotStart) as refused:
        read_settings(environment)
    message = str(refused.value)
    assert "\n" not in message
    return message


GIVEN: dict[str, tuple[str, object]] = {
    "database": ("postgresql://keyturn@db/keyturn", "postgresql://keyturn@db/keyturn"),
    "new_installation": ("true", True),
    "migrate": ("false", False),
    "root_key_file": ("/etc/keyturn/root.key", Path("/etc/keyturn/root.key")),
    "root_key_command": ("vault read x", "vault read x"),
    "backup_folder": ("/backup", Path("/backup")),
    "backup_every_hours": ("6", 6),
    "backup_keep": ("3", 3),
    "backup_key_file": ("/etc/keyturn/backup.key", Path("/etc/keyturn/backup.key")),
    "host": ("127.0.0.2", "127.0.0.2"),
    "port": ("9000", 9000),
    "unix_socket": ("/run/keyturn/gateway.sock", Path("/run/keyturn/gateway.sock")),
    "management": ("unix:/run/keyturn/management.sock", "unix:/run/keyturn/management.sock"),
    "public_url": ("https://keys.example.com", "https://keys.example.com"),
    "allowed_hosts": ("A.example, b.example:8443,,", ("a.example", "b.example:8443")),
    "allow_public_http": ("true", True),
    "tls_certificate_file": ("/etc/tls.crt", Path("/etc/tls.crt")),
    "tls_key_file": ("/etc/tls.key", Path("/etc/tls.key")),
    "key_prefix": ("acme1", "acme1"),
    "key_life_days": ("90", 90),
    "allow_keys_without_expiry": ("false", False),
    "token_life_seconds": ("900", 900),
    "token_algorithm": ("EdDSA", "EdDSA"),
    "trusted_proxies": ("10.0.0.0/8, 2001:db8::1", (ip_network("10.0.0.0/8"), ip_network("2001:db8::1"))),
    "connection_networks": ("10.0.0.0/8", (ip_network("10.0.0.0/8"),)),
    "failures_per_minute": ("30", 30),
    "sign_in_failures_per_minute": ("20", 20),
    "password_min_characters": ("8", 8),
    "passwords_per_minute": ("12", 12),
    "keys_per_owner": ("25", 25),
    "creations_per_minute": ("10", 10),
    "connections_per_address": ("50", 50),
    "drain_seconds": ("20", 20),
    "audit_kept_days": ("400", 400),
    "audit_archive": ("/var/lib/keyturn/audit", Path("/var/lib/keyturn/audit")),
    "ended_keys_kept_days": ("365", 365),
    "max_staleness_seconds": ("2", 2),
    "session_idle_minutes": ("5", 5),
    "session_absolute_hours": ("8", 8),
    "password_again_minutes": ("15", 15),
    "documentation": ("false", False),
    "repository_url": ("https://git.example.com/team/keyturn/", "https://git.example.com/team/keyturn"),
    "traces": ("true", True),
    "log_level": ("debug", "debug"),
}
TOGETHER = {
    "tls_certificate_file": {"tls_key_file": "/etc/other"},
    "tls_key_file": {"tls_certificate_file": "/etc/other"},
    "audit_kept_days": {"audit_archive": "/var/other"},
    "audit_archive": {"audit_kept_days": "30"},
}


def test_every_setting_is_tried_here() -> None:
    """The table above names every setting there is."""
    assert set(GIVEN) == {setting.name for setting in fields(Settings)}


@pytest.mark.parametrize("name", GIVEN)
def test_a_setting_is_read_from_its_variable(name: str) -> None:
    """Each setting is the variable `KEYTURN_` and its name."""
    text, value = GIVEN[name]
    environment = {ENVIRONMENT_PREFIX + name.upper(): text}
    if name in TOGETHER:
        environment |= {ENVIRONMENT_PREFIX + other.upper(): value for other, value in TOGETHER[name].items()}

    assert getattr(read_settings(environment), name) == value


def test_every_setting_has_a_default() -> None:
    """Without any variable the server starts, on this machine alone, with the documented defaults."""
    found = read_settings({})

    assert all(
        setting.default is not MISSING or setting.default_factory is not MISSING
        for setting in fields(Settings)
    )
    assert (found.host, found.port, found.public_url) == ("127.0.0.1", 8400, "http://127.0.0.1:8400")
    assert found.is_loopback_bind
    assert not found.serves_tls
    assert not found.uses_https
    assert found.database.startswith("sqlite:///")
    assert found.key_life_days == 365
    assert found.token_life == timedelta(hours=1)
    assert (found.session_idle_minutes, found.session_absolute_hours) == (30, 12)
    assert found.allow_keys_without_expiry
    assert (found.key_prefix, found.token_algorithm, found.log_level) == ("kt", "ES256", "info")
    assert (found.allowed_hosts, found.root_key_file, found.root_key_command) == ((), None, None)


def test_settings_do_not_change() -> None:
    """What was read stays so."""
    with pytest.raises(FrozenInstanceError):
        read_settings({}).port = 1  # type: ignore[misc]


def test_the_database_is_not_in_a_repr() -> None:
    """The address of the database may hold a password."""
    assert "opensesame" not in repr(
        read_settings({"KEYTURN_DATABASE": "postgresql://keyturn:opensesame@db/keyturn"})
    )


def test_variables_of_others_are_passed_over() -> None:
    """Only variables that begin with the prefix are Keyturn's."""
    assert read_settings({"PATH": "/bin", "keyturn_port": "1", "XKEYTURN_PORT": "1"}).port == 8400


def test_fault_c6_what_kubernetes_and_our_clients_set_is_passed_over() -> None:
    """Fault C6: the variables of a Service named keyturn, and those that our pages read, are no settings."""
    kubernetes = {
        "KEYTURN_SERVICE_HOST": "10.96.0.17",
        "KEYTURN_SERVICE_PORT": "8400",
        "KEYTURN_SERVICE_PORT_HTTP": "8400",
        "KEYTURN_PORT": "tcp://10.96.0.17:8400",
        "KEYTURN_PORT_8400_TCP": "tcp://10.96.0.17:8400",
        "KEYTURN_PORT_8400_TCP_PROTO": "tcp",
        "KEYTURN_PORT_8400_TCP_PORT": "8400",
        "KEYTURN_PORT_8400_TCP_ADDR": "10.96.0.17",
        "KEYTURN_PORT_53_UDP_ADDR": "10.96.0.17",
        "KEYTURN_METRICS_SERVICE_HOST": "10.96.0.18",
        "KEYTURN_METRICS_PORT": "tcp://[fd00::18]:9100",
        "KEYTURN_METRICS_PORT_9100_TCP_ADDR": "fd00::18",
    }
    text = "".join(
        page.read_text() for page in (Path(__file__).parents[1] / "docs" / "howto").glob("**/*.md")
    )
    read_by_clients = set(re.findall(r'environ\["(KEYTURN_[A-Z_]+)"\]', text))
    assert read_by_clients >= {"KEYTURN_KEY"}
    read_by_clients |= {value for value in vars(profiles).values() if str(value).startswith("KEYTURN_")}
    assert read_by_clients >= {"KEYTURN_URL", "KEYTURN_PROFILE", "KEYTURN_CA_FILE"}
    settings = read_settings(kubernetes | dict.fromkeys(read_by_clients, "x"))
    assert settings == read_settings({})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("KEYTURN_PORT", "tcp://"),
        ("KEYTURN_PORT", "http://10.96.0.17:8400"),
        ("KEYTURN_SERVICE_PROT", "8400"),
        ("KEYTURN_PORTS", "tcp://10.96.0.17:8400"),
        ("KEYTURN_PORT_8400", "tcp://10.96.0.17:8400"),
        ("KEYTURN_PORT_8400_TCP_ADR", "10.96.0.17"),
        ("KEYTURN_URLS", "https://keys.example.com"),
        ("KEYTURN_UNIX_PORT", "8400"),
        ("KEYTURN_SERVICE_HOSTS", "10.96.0.17"),
    ],
)
def test_fault_c6_a_mistyped_variable_still_stops_the_start(variable: str, value: str) -> None:
    """Fault C6: what only resembles a variable of Kubernetes or of a client is refused by name."""
    assert variable in refusal(**{variable: value})


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("KEYTURN_DATABSE", "KEYTURN_DATABASE"),
        ("KEYTURN_ROOT_KEYFILE", "KEYTURN_ROOT_KEY_FILE"),
        ("KEYTURN_port", "KEYTURN_PORT"),
        ("KEYTURN_", None),
        ("KEYTURN_QQQQQQ", None),
    ],
)
def test_an_unknown_variable_is_refused(variable: str, meant: str | None) -> None:
    """An unknown variable stops the start, with what was likely meant, and without its value."""
    message = refusal(**{variable: "opensesame"})

    assert variable in message
    assert "opensesame" not in message
    if meant is not None:
        assert f"did you mean {meant}?" in message


@pytest.mark.parametrize(
    ("variable", "values"),
    [
        ("PORT", ["", "0", "65536", "-1", "+1", "1.0", "80 ", "1_0", "８０", "x", "9" * 5000]),
        ("ALLOW_PUBLIC_HTTP", ["", "1", "yes", "True", "TRUE", " true"]),
        ("ALLOW_KEYS_WITHOUT_EXPIRY", ["", "0", "no", "False"]),
        ("KEY_LIFE_DAYS", ["", "0", "3651", "-5", "365d"]),
        ("TOKEN_LIFE_SECONDS", ["", "59", "86401", "1h"]),
        ("PASSWORD_MIN_CHARACTERS", ["", "0", "7", "65", "fifteen"]),
        ("SESSION_IDLE_MINUTES", ["", "0", "1441"]),
        ("SESSION_ABSOLUTE_HOURS", ["", "0", "169"]),
        ("TOKEN_ALGORITHM", ["", "HS256", "RS256", "none", "es256", "eddsa"]),
        ("LOG_LEVEL", ["", "INFO", "trace"]),
        ("KEY_PREFIX", ["", "k", "K1", "1k", "kt_", "kt\n", "abcdefghijklm", "kä"]),
        (
            "PUBLIC_URL",
            [
                "keys.example.com",
                "//keys.example.com",
                "ftp://keys.example.com",
                "https://",
                "https:///x",
                "https://keys.example.com/",
                "https://keys.example.com/path",
                "https://keys.example.com?x=1",
                "https://user@keys.example.com",
                "https://user:password@keys.example.com",
            ],
        ),
    ],
)
def test_an_unfit_value_names_its_variable(variable: str, values: list[str]) -> None:
    """A value that a setting cannot hold stops the start, naming the variable."""
    for value in values:
        assert f"KEYTURN_{variable}" in refusal(**{f"KEYTURN_{variable}": value}), value


@pytest.mark.parametrize(
    "value",
    [
        "https://keys.example.com#part",
        "https://keys.example.com?",
        "https://:443",
        "https://keys.example.com:port",
        "https://keys.example.com:99999",
        "https://keys.example.com\n",
        "https://keys example.com",
        "http://[::1",
    ],
)
def test_an_address_that_no_client_can_reach_is_refused(value: str) -> None:
    """The issuer of tokens is an origin, exactly: what only looks like one stops the start."""
    assert "KEYTURN_PUBLIC_URL" in refusal(KEYTURN_PUBLIC_URL=value)


def test_an_origin_has_one_spelling() -> None:
    """`HTTPS://` is refused or counts as https: cookies are never sent in clear for a spelling."""
    try:
        found = read_settings({"KEYTURN_PUBLIC_URL": "HTTPS://keys.example.com"})
    except CannotStart as refused:
        assert "KEYTURN_PUBLIC_URL" in str(refused)  # noqa: PT017 - refusing is one of the two right answers
    else:
        assert found.uses_https


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.168.0.1", "keys.example.com", "", "127.0.0.1.example"]
)
def test_a_public_bind_without_tls_is_refused(host: str) -> None:
    """Keys never travel in clear over the network unless that was asked for by name."""
    public = {"KEYTURN_HOST": host, "KEYTURN_PUBLIC_URL": "https://keys.example.com"}
    tls = {"KEYTURN_TLS_CERTIFICATE_FILE": "/c", "KEYTURN_TLS_KEY_FILE": "/k"}

    assert "KEYTURN_ALLOW_PUBLIC_HTTP" in refusal(**public)
    assert read_settings(public | tls).serves_tls
    assert read_settings(public | {"KEYTURN_ALLOW_PUBLIC_HTTP": "true"}).allow_public_http


@pytest.mark.parametrize(
    "url",
    ["http://keys.example.com", "http://10.0.0.1:8400", "http://0.0.0.0:8400", "http://127.0.0.1.example"],
)
def test_a_public_address_without_tls_is_refused(url: str) -> None:
    """A public address must be https, also where public HTTP behind a proxy is allowed."""
    for allowed in ("true", "false"):
        assert "KEYTURN_PUBLIC_URL" in refusal(KEYTURN_PUBLIC_URL=url, KEYTURN_ALLOW_PUBLIC_HTTP=allowed)


@pytest.mark.parametrize(
    "url", ["http://localhost:8400", "http://127.0.0.1", "http://[::1]:8400", "http://127.9.9.9"]
)
def test_this_machine_may_be_spoken_to_in_clear(url: str) -> None:
    """Loopback addresses may be http."""
    assert read_settings({"KEYTURN_PUBLIC_URL": url}).public_url == url


def test_half_of_tls_is_refused() -> None:
    """A certificate without its key, or the other way round, stops the start."""
    for half in ("tls_certificate_file", "tls_key_file"):
        message = refusal(**{ENVIRONMENT_PREFIX + half.upper(): "/x"})
        assert "KEYTURN_TLS_CERTIFICATE_FILE" in message
        assert "KEYTURN_TLS_KEY_FILE" in message


def test_half_of_an_archive_is_refused() -> None:
    """Events do not leave the log without a folder, and no folder is named for nothing."""
    for half in ({"KEYTURN_AUDIT_KEPT_DAYS": "30"}, {"KEYTURN_AUDIT_ARCHIVE": "/x"}):
        assert "Give both KEYTURN_AUDIT_KEPT_DAYS and KEYTURN_AUDIT_ARCHIVE" in refusal(**half)


def test_two_root_keys_are_refused() -> None:
    """The root key comes from a file or from a command."""
    message = refusal(KEYTURN_ROOT_KEY_FILE="/x", KEYTURN_ROOT_KEY_COMMAND="y")
    assert "KEYTURN_ROOT_KEY_FILE" in message
    assert "KEYTURN_ROOT_KEY_COMMAND" in message


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        ({"KEYTURN_PORT": "9000"}, "http://127.0.0.1:9000"),
        ({"KEYTURN_HOST": "::1"}, "http://[::1]:8400"),
        ({"KEYTURN_HOST": "localhost"}, "http://localhost:8400"),
        ({"KEYTURN_TLS_CERTIFICATE_FILE": "/c", "KEYTURN_TLS_KEY_FILE": "/k"}, "https://127.0.0.1:8400"),
    ],
)
def test_the_public_address_is_the_bind_address(environment: dict[str, str], url: str) -> None:
    """Where nothing else is said, clients are taken to reach the server where it is bound."""
    assert read_settings(environment).public_url == url


def test_an_address_in_brackets_starts_or_is_refused() -> None:
    """`[::1]`, as it is written in an address, is a host to bind or is refused by name."""
    try:
        found = read_settings({"KEYTURN_HOST": "[::1]"})
    except CannotStart as refused:
        assert "KEYTURN_HOST" in str(refused)  # noqa: PT017 - refusing is one of the two right answers
    else:
        assert found.public_url == "http://[::1]:8400"


def test_the_command_line_wins() -> None:
    """What was chosen on the command line wins over the environment, unless nothing was chosen."""
    found = read_settings({"KEYTURN_PORT": "9000", "KEYTURN_HOST": "127.0.0.2"}, port=9001, host=None)

    assert (found.port, found.host) == (9001, "127.0.0.2")
