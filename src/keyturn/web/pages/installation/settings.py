"""The settings in force: what an operator decided, and never a secret."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from litestar import Response

from keyturn.settings import ENVIRONMENT_PREFIX, Settings
from keyturn.web.pages.frame.forms import page
from keyturn.web.pages.frame.tabs import SETTINGS
from keyturn.web.pages.frame.views import InjectedView

GIVEN = "given, and not shown"
NONE = "none"
OPEN = (
    "new_installation",
    "migrate",
    "host",
    "port",
    "unix_socket",
    "management",
    "public_url",
    "allowed_hosts",
    "allow_public_http",
    "tls_certificate_file",
    "key_prefix",
    "key_life_days",
    "allow_keys_without_expiry",
    "token_life_seconds",
    "token_algorithm",
    "trusted_proxies",
    "failures_per_minute",
    "sign_in_failures_per_minute",
    "password_min_characters",
    "passwords_per_minute",
    "keys_per_owner",
    "creations_per_minute",
    "connections_per_address",
    "connection_networks",
    "drain_seconds",
    "audit_kept_days",
    "audit_archive",
    "ended_keys_kept_days",
    "backup_folder",
    "backup_every_hours",
    "backup_keep",
    "max_staleness_seconds",
    "session_idle_minutes",
    "session_absolute_hours",
    "password_again_minutes",
    "documentation",
    "repository_url",
    "traces",
    "log_level",
)
"""The settings whose values may be shown. Of any other the page says no more than whether it is given."""
KEPT_BACK = ("root_key_file", "root_key_command", "tls_key_file", "backup_key_file")
"""Where secrets are. The address of the database is shown without its password."""


@dataclass(frozen=True, slots=True)
class ShownSetting:
    """A setting, for people."""

    variable: str
    value: str
    source: str


@page("/", SETTINGS)
def settings_page(view: InjectedView) -> Response[str]:
    """Show the settings in force."""
    services = view.services
    shown = shown_settings(services.settings, database_name=services.store.name)
    return view.render("installation/settings.html", settings=shown)


def shown_settings(settings: Settings, *, database_name: str) -> list[ShownSetting]:
    """Return all settings; `database_name` names the database without its password."""
    named: Mapping[str, str] = {"database": database_name}
    defaults = replace(Settings(), public_url=settings.bind_url)
    return [
        ShownSetting(
            ENVIRONMENT_PREFIX + setting.name.upper(),
            named.get(setting.name) or _shown(setting.name, getattr(settings, setting.name)),
            _source(setting.name, settings, defaults),
        )
        for setting in fields(Settings)
    ]


def _shown(name: str, value: object) -> str:
    if value in (None, (), ""):
        return NONE
    return _words(value) if name in OPEN else GIVEN


def _words(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case tuple():
            return ", ".join(map(str, value))
        case _:
            return str(value)


def _source(name: str, settings: Settings, defaults: Settings) -> str:
    """Say where a value comes from, as far as it can be known: a given one may equal the default."""
    return "default" if getattr(settings, name) == getattr(defaults, name) else "set by the operator"
