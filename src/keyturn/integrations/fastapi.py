"""FastAPI: `Depends(require("orders:read"))`, which the OpenAPI description shows with its scopes."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Security
from fastapi.openapi.models import HTTPBearer
from fastapi.requests import HTTPConnection
from fastapi.security.base import SecurityBase

from keyturn.core.principal import Principal
from keyturn.integrations.protection import checked_scopes
from keyturn.integrations.refusals import BEARER_FORMAT, DESCRIPTION
from keyturn.integrations.starlette import caller_of, protect

__all__ = ["protect", "require"]


class _Described(SecurityBase):
    """The security scheme in the OpenAPI description. It reads nothing: the verifier does."""

    def __init__(self) -> None:
        self.model = HTTPBearer(bearerFormat=BEARER_FORMAT, description=DESCRIPTION)
        self.scheme_name = "Keyturn"

    async def __call__(self) -> None:
        """Leave the question to the dependency that asks it."""


_DESCRIBED = _Described()


def require(*scopes: str) -> Callable[..., Coroutine[Any, Any, Principal]]:
    """Return a dependency: the `Principal` whose credential is good and covers these scopes.

    It refuses everybody else, before the handler runs. For HTTP and WebSocket.
    """
    needed = checked_scopes(scopes)

    async def caller(
        connection: HTTPConnection, _described: Annotated[None, Security(_DESCRIBED, scopes=needed)]
    ) -> Principal:
        return await caller_of(connection, needed)

    return caller
