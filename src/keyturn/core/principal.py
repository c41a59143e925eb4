"""The caller of a request, and their rights."""

from datetime import datetime
from enum import StrEnum

import msgspec

from keyturn.core.paths import RequestRule
from keyturn.core.permissions import SEE_CONNECTION, Permission
from keyturn.errors import PermissionMissing


class AuthMethod(StrEnum):
    """How the caller proved who they are."""

    API_KEY = "api_key"
    ACCESS_TOKEN = "access_token"
    SESSION = "session"


# These two are made for each new credential: a frozen dataclass takes three times as long to make.
class PresentedCredential(msgspec.Struct, frozen=True, gc=False, eq=False):
    """Which credential a caller presented, as far as that can be told without its secret."""

    ends_at: datetime | None
    """When it ends by itself: a key at its expiry, a former secret with its overlap, a token at its `exp` or
    with its key, secret or session, a session at its limit. None for a key that never expires.
    """
    is_former_secret: bool = False
    """Whether it is a secret of its key that was rotated away, or a token of one, and works until the overlap
    ends. A verifier that asks the server of each credential is not told, and its ends are whole seconds.
    """
    session_id: int | None = None
    """The session of a browser, or the one that a token from a password stands on; None with a key."""
    jti: str | None = None
    """The id of a token; None for a key, a session, and a token of which the server tells none."""
    issued_at: datetime | None = None
    """When a token says that it was issued; None as for `jti`."""
    epoch: int | None = None
    """The epoch that a token of a key carries; None as for `jti`, and for one of a session. This and the next
    one are for the server itself: a verifier elsewhere may not be told, and they make no difference there.
    """
    secret_number: int | None = None
    """How many secrets the key had before the presented one, or that of a token, or cookies the session had;
    None for a token of a session.
    """

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PresentedCredential) and self._compared() == other._compared()

    def __hash__(self) -> int:
        return hash(self._compared())

    def _compared(self) -> tuple[object, ...]:
        return (self.ends_at, self.is_former_secret, self.session_id, self.jti, self.issued_at)


class Impersonator(msgspec.Struct, frozen=True, gc=False):
    """The account that acts for another one: the actor of RFC 8693, section 4.1."""

    user_id: int
    userid: str
    key_id: int
    """The API key that the token was made with, and ends with."""


class Principal(msgspec.Struct, frozen=True, gc=False):
    """An authenticated caller. There is no anonymous one: without a credential there is no principal."""

    user_id: int
    userid: str
    iamid: str
    name: str | None
    permissions: frozenset[str]
    """The owner's, and so nothing to decide by: what of them the credential carries is `carried_permissions`.
    Of a token that acts for its owner, those that both accounts hold. A verifier that asks the server of each
    credential is told no others than those that it carries.
    """
    scopes: frozenset[str] | None
    """None when the credential is not narrowed: it may do whatever its owner may."""
    method: AuthMethod
    key_id: int | None
    """The API key that was presented, or that the token came from; None for a session, and for a token that
    acts for somebody: its key is another user's.
    """

    project_id: int | None
    """The project that the key is linked to: then only its connections exist for the caller; None for all."""
    withheld: frozenset[str]
    """The scopes of registered APIs that the owner may not hold: no credential of theirs covers them."""
    jkt: str | None
    """The thumbprint of the key pair that the credential is bound to (RFC 9449); None for none."""
    credential: PresentedCredential
    """The credential that was presented. It decides nothing about what the caller may do."""
    requests: RequestRule | None
    """The requests that the credential may be used for, of which this is one; None for any."""
    impersonator: Impersonator | None
    """The account that acts with this credential for its owner; None for the owner themselves."""

    @property
    def acts_by_key_id(self) -> int | None:
        """The key that was presented, or that the token came from, whosever it is; None for a session."""
        return self.key_id if self.impersonator is None else self.impersonator.key_id

    @property
    def acting_user_id(self) -> int:
        """The user who acts, whose limits count: the impersonator, if there is one."""
        return self.user_id if self.impersonator is None else self.impersonator.user_id

    @property
    def is_unbound(self) -> bool:
        """Whether the credential carries all that its owner may do."""
        return self.scopes is None and self.project_id is None and self.impersonator is None

    @property
    def makes_until(self) -> datetime | None:
        """When whatever the caller makes must have ended: with the key or token that makes it (A3).

        None for no such bound: for a key that never ends, and for a person who proved to know the password,
        in a browser or for a token.
        """
        is_of_person = self.key_id is None and self.impersonator is None
        return None if is_of_person else self.credential.ends_at

    @property
    def carried_permissions(self) -> frozenset[str]:
        """The permissions that the credential carries.

        One that is narrowed to scopes, or linked to a project, carries none of its owner's (A3). One that
        acts for its owner carries those that both hold, which `permissions` are then.
        """
        return self.permissions if self.scopes is None and self.project_id is None else frozenset()

    def may(self, *any_of: Permission) -> bool:
        """Return whether the caller holds at least one of the permissions."""
        return not self.carried_permissions.isdisjoint(any_of)

    def check_may(self, *any_of: Permission) -> None:
        """Raise `PermissionMissing` unless the caller holds at least one of the permissions."""
        if not self.may(*any_of):
            raise PermissionMissing(*any_of)

    def check_may_see_connections(self) -> None:
        """Raise `PermissionMissing` unless the caller may read connections.

        A credential that is linked to a project has the permissions of its owner here; the services limit it
        to the connections of the project.
        """
        if self.scopes is not None or self.permissions.isdisjoint(SEE_CONNECTION):
            raise PermissionMissing(*SEE_CONNECTION)
