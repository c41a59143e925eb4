"""Device authorization (RFC 8628): how a program that holds no credential comes to a key."""

import msgspec
from litestar.params import RawBody

from keyturn.core.oauth import BEARER, DEVICE_AUTHORIZATION_PATH
from keyturn.services.keys.keys import CreatedKey
from keyturn.services.oauth.device_logins import BegunLogin
from keyturn.web.api.documentation import with_form
from keyturn.web.api.oauth.forms import OAUTH_ERRORS, oauth_form
from keyturn.web.bodies import Unshown
from keyturn.web.navigation import DEVICE_PAGE_PATH
from keyturn.web.requests import AnyRequest, Call, InjectedCall, in_thread
from keyturn.web.routes import OPEN, route


class DeviceForm(msgspec.Struct, frozen=True):
    """A request to sign in a device."""

    client_id: str
    scope: str = ""


class BegunLoginView(Unshown, frozen=True):
    """The answer to a device (RFC 8628, section 3.2)."""

    device_code: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str
    expires_in: int
    interval: int

    @classmethod
    def of(cls, begun: BegunLogin, page: str) -> "BegunLoginView":
        """Show a login that has begun, with the address of the page where a person types the code."""
        return cls(
            device_code=begun.device_code,
            user_code=begun.user_code,
            verification_uri=page,
            verification_uri_complete=f"{page}?user_code={begun.user_code}",
            expires_in=begun.expires_in,
            interval=begun.interval,
        )


class DeviceGrantView(Unshown, frozen=True, omit_defaults=True):
    """The key of a device, which is accepted as a bearer token (RFC 6749, section 5.1)."""

    access_token: str
    token_type: str
    expires_in: int | None = None
    """Absent for a key that never ends."""
    scope: str | None = None

    @classmethod
    def of(cls, made: CreatedKey, at: float) -> "DeviceGrantView":
        """Show a key with its secret."""
        ends, scopes = made.record.expires_at, made.record.restrictions.scopes
        return cls(
            access_token=made.secret,
            token_type=BEARER,
            expires_in=None if ends is None else max(0, int(ends.timestamp() - at)),
            scope=None if scopes is None else " ".join(sorted(scopes)),
        )


@route(
    "POST",
    DEVICE_AUTHORIZATION_PATH,
    access=OPEN,
    tag="OAuth",
    summary="Begin to sign in a device",
    body=with_form(
        DeviceForm,
        example={"client_id": "laptop"},
        description="The name of the program, and the scopes of the key.",
    ),
    refusals=OAUTH_ERRORS,
)
@in_thread
def device_authorization(request: AnyRequest, body: RawBody, call: InjectedCall) -> BegunLoginView:
    """Start the sign-in of a device (RFC 8628).

    The device shows `user_code` to a person and polls the token endpoint with `device_code`. The person opens
    `verification_uri`, signs in, enters the code, and approves the device. The device then gets an API key of
    that person, with `client_id` as its name.
    """
    begun = call.services.devices.begin(oauth_form(request, body), call.origin)
    return BegunLoginView.of(begun, call.services.settings.public_url + DEVICE_PAGE_PATH)


@in_thread
def device_grant(*, form: dict[str, str], call: Call) -> DeviceGrantView:
    """Answer the token endpoint to a device that waits; raise `OAuthRefused` until a person has approved."""
    return DeviceGrantView.of(call.services.devices.take(form, call.origin), call.services.system.timestamp())
