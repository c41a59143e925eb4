"""The permissions, in one table (permissions.md, "Permissions").

Which route asks for which is a table too, beside the other facts of the wire: `web.route_table`.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum


class Permission(StrEnum):
    """Every permission that can be given."""

    APPLICATION_ADMIN = "APPLICATION_ADMIN"
    USER_ADMIN = "USER_ADMIN"
    GOVERNANCE = "GOVERNANCE"
    AUDIT = "AUDIT"
    CREATE_DATA_SOURCE = "CREATE_DATA_SOURCE"
    CREATE_PROJECT = "CREATE_PROJECT"
    PROJECT_MANAGEMENT = "PROJECT_MANAGEMENT"
    ADMIN = "ADMIN"
    CREATE_DATA_SOURCE_IN_PROJECT = "CREATE_DATA_SOURCE_IN_PROJECT"
    CREATE_FILTER = "CREATE_FILTER"
    CREATE_S3_DATASOURCE = "CREATE_S3_DATASOURCE"
    CREATE_S3_DATASOURCE_WITH_INSTANCE_ROLE = "CREATE_S3_DATASOURCE_WITH_INSTANCE_ROLE"
    FETCH_POLICY_INFO = "FETCH_POLICY_INFO"
    IMPERSONATE_HDFS_USER = "IMPERSONATE_HDFS_USER"
    IMPERSONATE_USER = "IMPERSONATE_USER"
    VERIFY_CREDENTIALS = "VERIFY_CREDENTIALS"


ALLOWS: Mapping[Permission, str] = {
    Permission.APPLICATION_ADMIN: "See the settings; register and manage every connection; "
    "register APIs; make and delete system keys.",
    Permission.USER_ADMIN: "Manage users, groups, service accounts, and everybody's keys.",
    Permission.GOVERNANCE: "See every connection and every project.",
    Permission.AUDIT: "Read and export the audit log.",
    Permission.CREATE_DATA_SOURCE: "See connections.",
    Permission.CREATE_PROJECT: "Make projects. Every new person has it.",
    Permission.PROJECT_MANAGEMENT: "See and change every project.",
    Permission.IMPERSONATE_USER: "Make tokens that act for other people.",
    Permission.VERIFY_CREDENTIALS: "Verify everybody's credentials in another program: by the feed, or by "
    "introspection.",
}
"""The meaning of each permission in Keyturn. The others mean something to services behind `/verify` alone:
stored, and told."""

DEFAULT_PERMISSIONS = frozenset({Permission.CREATE_PROJECT.value})
"""The permissions of every new person (http-api/users.md, "Create a user"). A service account has none."""


def not_held(held: frozenset[str], given: Iterable[str]) -> list[str]:
    """Return what somebody who holds `held` may not give away: nobody makes anything broader than they are.

    The default permissions are anybody's to give (A3).
    """
    return sorted(frozenset(given) - held - DEFAULT_PERMISSIONS)


ADMINISTRATION = (Permission.USER_ADMIN, Permission.APPLICATION_ADMIN)
"""Of these there is always a person left who holds them: nobody else could give them again (A5)."""

GUARDED = (*ADMINISTRATION, Permission.ADMIN)
"""A holder of one of these is impersonated by those alone who hold it too."""

ADMINS_AND_GOVERNORS = frozenset({*ADMINISTRATION, Permission.ADMIN, Permission.GOVERNANCE})
"""The holders of these are left out by `excludeAdminAndGovernor` (http-api/users.md, "Search users")."""

SEE_CONNECTION = (Permission.APPLICATION_ADMIN, Permission.CREATE_DATA_SOURCE, Permission.GOVERNANCE)
"""Any one of these lets its holder read a connection (http-api/connections.md, "Read a connection")."""

SEE_PROJECTS = (Permission.GOVERNANCE, Permission.PROJECT_MANAGEMENT)
"""Any one of these lets its holder see projects that they are no member of."""
