"""Who is calling, and what they may do."""

from dataclasses import dataclass
from enum import StrEnum

from keyturn.errors import PermissionMissing

BUILT_IN_IAM = "bim"
"""The identity manager that Keyturn itself is, under the name the Immuta API gives it."""


class Permission(StrEnum):
    """The permissions that mean something here (reference, section 5)."""

    APPLICATION_ADMIN = "APPLICATION_ADMIN"
    USER_ADMIN = "USER_ADMIN"
    GOVERNANCE = "GOVERNANCE"
    AUDIT = "AUDIT"
    CREATE_DATA_SOURCE = "CREATE_DATA_SOURCE"
    CREATE_PROJECT = "CREATE_PROJECT"


DEFAULT_PERMISSIONS = frozenset({Permission.CREATE_PROJECT.value})
"""What a new user holds when nothing else is said."""

SEE_CONNECTION = (Permission.APPLICATION_ADMIN, Permission.CREATE_DATA_SOURCE, Permission.GOVERNANCE)
"""Any one of these lets its holder read a connection (reference, section 4.1)."""


class AuthMethod(StrEnum):
    """How the caller proved who they are."""

    API_KEY = "api_key"
    ACCESS_TOKEN = "access_token"
    SESSION = "session"


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller. There is no anonymous one: without a credential there is no principal."""

    user_id: int
    userid: str
    iamid: str
    name: str | None
    permissions: frozenset[str]
    scopes: frozenset[str] | None
    """None when the credential is not narrowed: it may do whatever its owner may."""
    method: AuthMethod
    key_id: int | None
    """The API key that was presented, or that the token came from; None for a session."""

    def may(self, *any_of: Permission) -> bool:
        """Return whether the caller holds at least one of the permissions."""
        return not self.permissions.isdisjoint(any_of)

    def check_may(self, *any_of: Permission) -> None:
        """Raise `PermissionMissing` unless the caller holds at least one of the permissions."""
        if not self.may(*any_of):
            raise PermissionMissing(*any_of)
