"""The caller."""

from http import HTTPStatus

from litestar import get

from keyturn.web.api.views import UserView
from keyturn.web.requests import InjectedPrincipal, InjectedServices, in_thread
from keyturn.web.responses import documented


@get(
    "/bim/rpc/user/current",
    responses=documented(HTTPStatus.UNAUTHORIZED),
    tags=["People"],
    summary="Who am I",
)
@in_thread
def current_user(services: InjectedServices, principal: InjectedPrincipal) -> UserView:
    """Answer the user that the credential belongs to."""
    return UserView.of(services.accounts.get(principal))
