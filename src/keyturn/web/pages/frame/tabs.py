"""Which part of the administration is for whom: one table for guards, pages and the head."""

from dataclasses import dataclass

from keyturn.core.permissions import SEE_PROJECTS, Permission
from keyturn.core.principal import Principal

START = "/admin"


@dataclass(frozen=True, slots=True)
class Tab:
    """A part of the administration."""

    name: str
    label: str
    any_of: tuple[Permission, ...]
    """Who holds none of these does not learn of it."""

    @property
    def path(self) -> str:
        """Where it begins."""
        return f"{START}/{self.name}"


USERS = Tab("users", "Users", (Permission.USER_ADMIN,))
GROUPS = Tab("groups", "Groups", (Permission.USER_ADMIN,))
PROJECTS = Tab("projects", "Projects", SEE_PROJECTS)
RESOURCES = Tab("services", "Services", (Permission.APPLICATION_ADMIN,))
SERVICE_ACCOUNTS = Tab("service-accounts", "Service accounts", (Permission.USER_ADMIN,))
KEYS = Tab("keys", "Keys", (Permission.USER_ADMIN,))
AUDIT = Tab("audit", "Audit log", (Permission.AUDIT,))
SETTINGS = Tab("settings", "Settings", (Permission.APPLICATION_ADMIN,))

TABS = (USERS, GROUPS, PROJECTS, RESOURCES, SERVICE_ACCOUNTS, KEYS, AUDIT, SETTINGS)


def visible_tabs(principal: Principal) -> tuple[Tab, ...]:
    """Return the parts that are for this person."""
    return tuple(tab for tab in TABS if principal.may(*tab.any_of))
