"""Who is calling, and what they may do."""

from dataclasses import dataclass
from enum import StrEnum

from keyturn.core.permissions import WITHIN_PROJECT, Permission
from keyturn.errors import PermissionMissing

BUILT_IN_IAM = "bim"
"""The identity manager that Keyturn itself is, under the name the Immuta API gives it."""


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

    project_id: int | None
    """The project that the key is linked to: then only its connections exist for the caller; None for all."""

    def may(self, *any_of: Permission) -> bool:
        """Return whether the caller holds at least one of the permissions.

        A credential that is narrowed to scopes carries none of its owner's permissions, and one that is
        linked to a project only those that let it see connections (A3).
        """
        if self.scopes is not None:
            return False
        held = self.permissions if self.project_id is None else self.permissions & WITHIN_PROJECT
        return not held.isdisjoint(any_of)

    def check_may(self, *any_of: Permission) -> None:
        """Raise `PermissionMissing` unless the caller holds at least one of the permissions."""
        if not self.may(*any_of):
            raise PermissionMissing(*any_of)
