"""The caller, and where users come from."""

from keyturn.core.principal import BUILT_IN_IAM
from keyturn.web.api.people.user_views import IdentityManagerView, UserView
from keyturn.web.requests import InjectedCall, at_once, recorded_read
from keyturn.web.routes import route

_BUILT_IN = IdentityManagerView(
    id=BUILT_IN_IAM, display_name="Built-in", displayname="Built-in", type=BUILT_IN_IAM, oauth=False
)


@route("GET", "/bim/rpc/user/current", tag="Users", summary="Who am I")
@recorded_read
def current_user(call: InjectedCall) -> UserView:
    """Answer the user that the credential belongs to."""
    return UserView.of(call.services.users.get(call.principal))


@route("GET", "/bim/iam", tag="Users", summary="List identity managers")
@at_once
def list_identity_managers() -> list[IdentityManagerView]:
    """Answer where users come from: so far only Keyturn itself, which the Immuta API calls `bim`."""
    return [_BUILT_IN]
