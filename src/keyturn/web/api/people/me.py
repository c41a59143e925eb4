"""The caller, and where users come from."""

from http import HTTPStatus

from litestar import get

from keyturn.core.principal import BUILT_IN_IAM
from keyturn.web.api.people.user_views import IdentityManagerView, UserView
from keyturn.web.requests import InjectedCall, recorded_read
from keyturn.web.responses import documented

_BUILT_IN = IdentityManagerView(
    id=BUILT_IN_IAM, display_name="Built-in", displayname="Built-in", type=BUILT_IN_IAM, oauth=False
)


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
def list_identity_managers() -> list[IdentityManagerView]:
    """Answer where users come from: so far only Keyturn itself, which the Immuta API calls `bim`."""
    return [_BUILT_IN]
