"""The caller, and where users come from."""

from http import HTTPStatus

from litestar import get

from keyturn.web.api.people.user_views import IdentityManagerView, UserView
from keyturn.web.requests import InjectedCall, recorded_read
from keyturn.web.responses import documented


@get(
    "/bim/rpc/user/current",
    responses=documented(HTTPStatus.UNAUTHORIZED),
    tags=["Users"],
    summary="Who am I",
)
@recorded_read
def current_user(call: InjectedCall) -> UserView:
    """Answer the user that the credential belongs to."""
    return UserView.of(call.services.users.get(call.principal))


@get(
    "/bim/iam",
    responses=documented(HTTPStatus.UNAUTHORIZED),
    sync_to_thread=False,
    tags=["Users"],
    summary="List identity managers",
)
def list_identity_managers(call: InjectedCall) -> list[IdentityManagerView]:
    """Answer where users come from: Keyturn itself, which the Immuta API calls `bim`, comes first."""
    return [
        IdentityManagerView(
            id=provider.iamid,
            display_name=provider.display_name,
            displayname=provider.display_name,
            type=provider.type,
            oauth=False,
        )
        for provider in call.services.identity
    ]
