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


@dataclass(frozen=True, slots=True, kw_only=True)
class Tab(Part):
    """A part of the administration."""

    name: str
    label: str


ANYBODY = Part("/", is_open=True, is_section=False)
SIGNED_IN = Part("/", is_section=False)
PROFILE = Part("/profile")


def _tab(name: str, label: str, *any_of: Permission) -> Tab:
    return Tab(f"{START}/{name}", any_of, name=name, label=label)


USERS = _tab("users", "Users", Permission.USER_ADMIN)
GROUPS = _tab("groups", "Groups", Permission.USER_ADMIN)
PROJECTS = _tab("projects", "Projects", *SEE_PROJECTS)
APIS = _tab("services", "APIs", Permission.APPLICATION_ADMIN)
SERVICE_ACCOUNTS = _tab("service-accounts", "Service accounts", Permission.USER_ADMIN)
KEYS = _tab("keys", "Keys", Permission.USER_ADMIN)
AUDIT = _tab("audit", "Audit log", Permission.AUDIT)
SETTINGS = _tab("settings", "Settings", Permission.APPLICATION_ADMIN)

TABS = (USERS, GROUPS, PROJECTS, APIS, SERVICE_ACCOUNTS, KEYS, AUDIT, SETTINGS)
ADMINISTRATION = Part(START, tuple({permission: None for tab in TABS for permission in tab.any_of}))


def visible_tabs(principal: Principal) -> tuple[Tab, ...]:
    """Return the parts that are for this person."""
    return tuple(tab for tab in TABS if principal.may(*tab.any_of))
