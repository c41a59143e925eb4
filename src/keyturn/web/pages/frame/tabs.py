"""Parts of the pages, and who each is for: one table for guards, pages and the head."""

from dataclasses import KW_ONLY, dataclass

from keyturn.core.permissions import SEE_PROJECTS, Permission
from keyturn.core.principal import Principal

START = "/admin"


@dataclass(frozen=True, slots=True)
class Part:
    """Pages that begin at one path and are for the same people."""

    path: str
    any_of: tuple[Permission, ...] = ()
    """Any one of these lets somebody in. A person who holds none does not learn of it.

    Where none is named it is for whoever is signed in.
    """
    _: KW_ONLY
    is_open: bool = False
    """Whether it is for strangers too."""
    is_section: bool = True
    """Whether all that begins with its path is pages, there or not."""
    asks: bool = False
    """Whether script on its pages asks this server: for users whom a field names, or how far work is."""
    is_for_connections: bool = False
    """Whether it is for those alone who see a connection, by a permission or by a role on an object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tab(Part):
    """A part of the administration."""

    name: str
    label: str
    icon: str
    section: str
    """The group in the list of the administration."""


ANYBODY = Part("/", is_open=True, is_section=False)
SIGNED_IN = Part("/", is_section=False)
PROFILE = Part("/profile")
CONNECTIONS = Part("/connections", asks=True, is_for_connections=True)


ACCESS, RESOURCES, INSTALLATION = "Access", "Resources", "Installation"


def _tab(section: str, name: str, label: str, icon: str, *any_of: Permission, asks: bool = False) -> Tab:
    return Tab(f"{START}/{name}", any_of, name=name, label=label, icon=icon, section=section, asks=asks)


KEYS = _tab(ACCESS, "keys", "All keys", "key", Permission.USER_ADMIN)
USERS = _tab(ACCESS, "users", "Users", "user", Permission.USER_ADMIN, asks=True)
GROUPS = _tab(ACCESS, "groups", "Groups", "group", Permission.USER_ADMIN, asks=True)
SERVICE_ACCOUNTS = _tab(
    ACCESS, "service-accounts", "Service accounts", "bot", Permission.USER_ADMIN, asks=True
)
APIS = _tab(RESOURCES, "services", "APIs", "api", Permission.APPLICATION_ADMIN)
PROJECTS = _tab(RESOURCES, "projects", "Projects", "folder", *SEE_PROJECTS, asks=True)
AUDIT = _tab(INSTALLATION, "audit", "Audit log", "log", Permission.AUDIT, asks=True)
SETTINGS = _tab(INSTALLATION, "settings", "Settings", "tune", Permission.APPLICATION_ADMIN)

TABS = (KEYS, USERS, GROUPS, SERVICE_ACCOUNTS, APIS, PROJECTS, AUDIT, SETTINGS)
ADMINISTRATION = Part(START, tuple({permission: None for tab in TABS for permission in tab.any_of}))


def visible_tabs(principal: Principal) -> tuple[Tab, ...]:
    """Return the parts that are for this person."""
    return tuple(tab for tab in TABS if principal.may(*tab.any_of))
