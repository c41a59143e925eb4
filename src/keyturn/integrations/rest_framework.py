"""Django REST framework: an authentication class, and permission classes by scopes.

The verifier is that of `keyturn.integrations.django`, with its settings; its middleware is not needed.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import (
    APIException,
    AuthenticationFailed,
    ErrorDetail,
    NotAuthenticated,
    ParseError,
    PermissionDenied,
    Throttled,
)
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from keyturn.core.principal import Principal
from keyturn.core.scopes import check_scopes
from keyturn.errors import CredentialRefused, Reason
from keyturn.integrations.django import presented_to, protection
from keyturn.integrations.protection import checked_scopes
from keyturn.integrations.refusals import REFUSALS, Body, refusal_of


@dataclass(frozen=True, slots=True)
class Caller:
    """A `Principal` as the framework wants its `request.user`: no user of the project's own database.

    Nothing of what Django itself gives to users is theirs: permissions that ask for it answer 403.
    """

    principal: Principal
    is_authenticated = True
    is_anonymous = False
    is_active = True
    is_staff = False
    is_superuser = False

    @property
    def pk(self) -> int:
        """The number by which throttles count."""
        return self.principal.user_id

    id = pk

    @property
    def username(self) -> str:
        """The user name, as `get_username` tells it too."""
        return self.principal.userid

    def get_username(self) -> str:
        """Return the user name."""
        return self.principal.userid

    def has_perm(self, _permission: str, _of: object = None) -> bool:
        """Return whether Django gave a permission: it gave none."""
        return False

    def has_perms(self, permissions: Iterable[str], _of: object = None) -> bool:
        """Return whether Django gave all of these permissions, which is so if there are none."""
        return not list(permissions)

    def has_module_perms(self, _application: str) -> bool:
        """Return whether Django gave a permission in an application: it gave none."""
        return False

    def get_all_permissions(self, _of: object = None) -> set[str]:
        """Return what Django gave: nothing."""
        return set()

    get_user_permissions = get_group_permissions = get_all_permissions

    def __str__(self) -> str:
        return self.principal.userid


class _Number(int):
    """A number in the place of a text of the framework's errors."""

    code: str


class Refused(APIException):
    """A refusal, with the same status, headers and body as everywhere else."""

    def __init__(self, error: Exception) -> None:
        refusal = refusal_of(error)
        self.said = ErrorDetail(refusal.message, _code_of(error, refusal.status))
        super().__init__()
        self.status_code = int(refusal.status)
        self.detail = _detail_of(refusal.body(), self.said.code)
        self.auth_header = refusal.challenge
        self.wait = refusal.retry_after

    def get_codes(self) -> Any:
        """Return the code of the refusal, in the framework's words."""
        return self.said.code

    def get_full_details(self) -> Any:
        """Return message and code."""
        return {"message": self.said, "code": self.said.code}

    def __str__(self) -> str:
        return str(self.said)


def _code_of(error: Exception, status: HTTPStatus) -> str:
    """Return what the framework calls such an error."""
    if isinstance(error, CredentialRefused) and error.reason is Reason.MISSING:
        return NotAuthenticated.default_code
    return {
        HTTPStatus.UNAUTHORIZED: AuthenticationFailed.default_code,
        HTTPStatus.FORBIDDEN: PermissionDenied.default_code,
        HTTPStatus.BAD_REQUEST: ParseError.default_code,
        HTTPStatus.TOO_MANY_REQUESTS: Throttled.default_code,
    }.get(status, "unavailable")


def _detail_of(body: Body, code: str) -> dict[str, Any]:
    """Return the body, with a code at each value as whoever formats errors otherwise expects it there."""
    number = _Number(body["statusCode"])
    number.code = code
    message, error = ErrorDetail(body["message"], code), ErrorDetail(body["error"], code)
    return {"message": message, "statusCode": number, "error": error}


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
