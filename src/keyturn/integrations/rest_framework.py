"""Django REST framework: an authentication class, and permission classes by scopes.

The verifier is that of `keyturn.integrations.django`, with its settings; its middleware is not needed.
"""

from dataclasses import dataclass
from typing import Any

from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import APIException
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from keyturn.core.principal import Principal
from keyturn.core.scopes import check_scopes
from keyturn.errors import CredentialRefused, Reason
from keyturn.integrations.django import presented_to, protection
from keyturn.integrations.protection import checked_scopes
from keyturn.integrations.refusals import REFUSALS, refusal_of


@dataclass(frozen=True, slots=True)
class Caller:
    """A `Principal` as the framework wants its `request.user`: no user of the project's own database."""

    principal: Principal
    is_authenticated = True
    is_anonymous = False
    is_active = True

    @property
    def pk(self) -> int:
        """The number by which throttles count."""
        return self.principal.user_id

    def __str__(self) -> str:
        return self.principal.userid


class Refused(APIException):
    """A refusal, with the same status, headers and body as everywhere else."""

    def __init__(self, error: Exception) -> None:
        refusal = refusal_of(error)
        super().__init__()
        self.status_code = int(refusal.status)
        self.detail = refusal.body()
        self.auth_header = refusal.challenge
        self.wait = refusal.retry_after


class KeyturnAuthentication(BaseAuthentication):
    """Authenticates by `Authorization`; list it last, since it refuses every scheme that is not its own.

    `request.user` is a `Caller`, `request.auth` the `Principal`.
    """

    def authenticate(self, request: Request) -> tuple[Caller, Principal] | None:
        """Return who calls, or None if nothing was presented."""
        try:
            principal = protection().check(presented_to(request))
        except REFUSALS as error:
            if isinstance(error, CredentialRefused) and error.reason is Reason.MISSING:
                return None
            raise Refused(error) from None
        return Caller(principal), principal

    def authenticate_header(self, _request: Request) -> str | None:
        """Return the challenge for somebody who presented nothing."""
        return refusal_of(CredentialRefused(Reason.MISSING)).challenge


def require(*scopes: str) -> type[Any]:
    """Return a permission class: the caller's credential must be good and cover these scopes.

    It refuses by raising, so `|` and `~` cannot widen it.
    """
    needed = checked_scopes(scopes)

    class Required(BasePermission):
        """Covers the scopes."""

        def has_permission(self, request: Request, _view: Any) -> bool:
            """Return True, or raise the refusal."""
            try:
                if not isinstance(request.auth, Principal):
                    raise CredentialRefused(Reason.MISSING)
                check_scopes(request.auth, needed)
            except REFUSALS as error:
                raise Refused(error) from None
            return True

    return Required
