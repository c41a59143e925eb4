"""The caller."""

from http import HTTPStatus

from litestar import get

from keyturn.web.api.views import UserView
from keyturn.web.requests import InjectedCall, brief_read
from keyturn.web.responses import documented


@get(
    "/bim/rpc/user/current",
    responses=documented(HTTPStatus.UNAUTHORIZED),
    tags=["People"],
    summary="Who am I",
)
@brief_read
def current_user(call: InjectedCall) -> UserView:
    """Answer the user that the credential belongs to."""
    return UserView.of(call.services.accounts.get(call.principal))
