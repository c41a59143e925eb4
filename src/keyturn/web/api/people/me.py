"""The caller, and where users come from."""

from keyturn.web.api.people.user_views import IdentityManagerView, UserView
from keyturn.web.requests import InjectedCall, at_once, recorded_read
from keyturn.web.routes import route


@route("GET", "/bim/rpc/user/current", tag="Users", summary="Read the caller")
@recorded_read
def current_user(call: InjectedCall) -> UserView:
    """Return the user that the credential belongs to."""
    return UserView.of(call.services.users.get(call.principal), project_id=call.principal.project_id)


@route("GET", "/bim/iam", tag="Users", summary="List identity managers")
@at_once
def list_identity_managers(call: InjectedCall) -> list[IdentityManagerView]:
    """List the identity managers that users belong to.

    The built-in identity manager `bim` is the first.
    """
    return [
        IdentityManagerView(
            id=provider.iamid,
            display_name=provider.display_name,
            type=provider.type,
            oauth=False,
        )
        for provider in call.services.identity
    ]
