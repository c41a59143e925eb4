"""Who may ask what: the open routes, the pages, and the permissions that routes ask for.

What anybody may ask without a credential stands here; everything else is closed, whether it exists or not. A
route that is added later is closed until somebody writes it down.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from keyturn.core.oauth import (
    DEVICE_AUTHORIZATION_PATH,
    INTROSPECTION_PATH,
    JWKS_PATH,
    OPENID_METADATA_PATH,
    RESOURCE_METADATA_PATH,
    REVOCATION_PATH,
    SERVER_METADATA_PATH,
    TOKEN_PATH,
)
from keyturn.core.permissions import SEE_CONNECTION, SEE_PROJECTS, Permission

EXCHANGE_PATHS = frozenset({"/bim/apikey/authenticate", "/apikey/authenticate"})
DEVICE_PAGE_PATH = "/device"
"""Where a person types the code that a device shows."""
REFRESH_PATH = "/bim/oauth/token"
PROVING_PATHS = EXCHANGE_PATHS | {TOKEN_PATH, INTROSPECTION_PATH, REVOCATION_PATH}
"""Open paths where a caller may send a credential all the same: in one place (H3).

Those of OAuth prove who asks by themselves, in its ways (RFC 6749, section 2.3).
"""
OPEN_PATHS = frozenset(
    {
        ("GET", "/"),
        ("GET", "/health/live"),
        ("GET", "/health/ready"),
        ("GET", JWKS_PATH),
        ("GET", SERVER_METADATA_PATH),
        ("GET", OPENID_METADATA_PATH),
        ("GET", RESOURCE_METADATA_PATH),
        ("POST", TOKEN_PATH),
        ("POST", REFRESH_PATH),
        ("POST", DEVICE_AUTHORIZATION_PATH),
        ("POST", INTROSPECTION_PATH),
        ("POST", REVOCATION_PATH),
        ("GET", "/openapi.json"),
        *(("POST", path) for path in EXCHANGE_PATHS),
    }
)

OPEN_PATTERNS = (
    ("POST", re.compile(r"/bim/iam/[^/]+/user/authenticate")),
    ("GET", re.compile(r"/static/[^/]+")),
    ("GET", re.compile(r"/docs/api(/assets/[^/]+)?")),
)

LOGIN_PATH = "/login"
OPEN_PAGES = frozenset({LOGIN_PATH, "/setup", "/invitation"})
"""Pages that a stranger may see."""
PAGE_PATTERN = re.compile(
    r"/(login|logout|setup|invitation|device(/decision)?|(profile|admin)(/.*)?)", re.DOTALL
)
"""Pages ask for a session, by cookie, and send a stranger to the login: they take no `Authorization`."""
NO_PAGE = "/profile/no-such-page"
"""Where a person who is signed in is led who looks for a page where there is none."""

_HTML = re.compile(
    rb"(?:^|,)[ \t]*text/html[ \t]*(?:;(?![ \t]*q=0(?:\.0*)?[ \t]*(?:,|$))[^,]*)?(?:,|$)", re.IGNORECASE
)


def wants_page(scope: Mapping[str, Any]) -> bool:
    """Return whether a browser goes to an address or sends a form: `Accept` names HTML (RFC 9110, 12.5.1)."""
    accepted = [value for name, value in scope["headers"] if name == b"accept"]
    modes = {value for name, value in scope["headers"] if name == b"sec-fetch-mode"}
    # Java's HttpURLConnection names HTML, and next to it GIF, for every program.
    is_html = any(_HTML.search(value) and b"image/gif" not in value for value in accepted)
    return is_html and modes <= {b"navigate"}


def login_path(wanted: str) -> str:
    """Return where a browser signs in that wanted this path and query."""
    return f"{LOGIN_PATH}?then={quote(wanted, safe='/?=-')}"


def is_open(method: str, path: str) -> bool:
    """Return whether anybody may make this request. HEAD is what GET is."""
    method = "GET" if method == "HEAD" else method
    return (method, path) in OPEN_PATHS or any(
        method == open_method and pattern.fullmatch(path) for open_method, pattern in OPEN_PATTERNS
    )


@dataclass(frozen=True, slots=True)
class RouteAccess:
    """What a route asks of its caller beyond a credential."""

    any_of: tuple[Permission, ...]
    """Any one of these opens it."""
    without: str | None = None
    """What one may do without them; None for nothing: then the answer is 403, whatever the target."""


_USERS = RouteAccess((Permission.USER_ADMIN,))
_OWN_SERVICE_ACCOUNT = RouteAccess((Permission.USER_ADMIN,), "those that one owns, or a group of one's own")
_OWN_GROUP = RouteAccess((Permission.USER_ADMIN,), "those that one is in")
_ONESELF = RouteAccess((Permission.USER_ADMIN,), "oneself")
_ONESELF_OR_SERVICE = RouteAccess(
    (Permission.USER_ADMIN,), "oneself, and a service account of one's own, or of a group of one's own"
)
_PROJECT_MEMBER = RouteAccess(SEE_PROJECTS, "those that one is in")
_PROJECT_OWNER = RouteAccess((Permission.PROJECT_MANAGEMENT,), "a project that one owns")
_SYSTEM_KEYS = RouteAccess((Permission.APPLICATION_ADMIN,))
_RESOURCES = RouteAccess((Permission.APPLICATION_ADMIN,))

_USER = "/bim/iam/{iamid}/user/{userid}"
_ATTRIBUTE = "authorizations/{key}/{value}"

ROUTE_PERMISSIONS: Mapping[tuple[str, str], RouteAccess] = {
    ("POST", "/bim/iam/{iamid}/user"): _USERS,
    ("GET", "/bim/iam/{iamid}/user"): _ONESELF,
    ("GET", "/bim/user"): _ONESELF,
    ("GET", _USER): _ONESELF_OR_SERVICE,
    ("PUT", f"{_USER}/profile"): RouteAccess(
        (Permission.USER_ADMIN,),
        "oneself, and a service account of one's own, or of a group of one's own, but for `externalUserIds`",
    ),
    ("PUT", f"{_USER}/permissions"): _USERS,
    ("DELETE", f"{_USER}/permissions/{{permission}}"): _USERS,
    ("PUT", f"{_USER}/password"): RouteAccess(
        (Permission.USER_ADMIN,), "oneself, with the current passphrase"
    ),
    ("PUT", f"{_USER}/disable/{{disable}}"): RouteAccess(
        (Permission.USER_ADMIN,), "a service account of one's own, or of a group of one's own, to disable it"
    ),
    ("DELETE", _USER): RouteAccess(
        (Permission.USER_ADMIN,), "a service account of one's own, or of a group of one's own"
    ),
    ("POST", f"{_USER}/invitation"): _USERS,
    ("PUT", f"{_USER}/{_ATTRIBUTE}"): _USERS,
    ("DELETE", f"{_USER}/{_ATTRIBUTE}"): _USERS,
    ("PUT", f"/bim/iam/{{iamid}}/group/{{groupid}}/{_ATTRIBUTE}"): _USERS,
    ("DELETE", f"/bim/iam/{{iamid}}/group/{{groupid}}/{_ATTRIBUTE}"): _USERS,
    ("GET", f"{_USER}/apikeys"): _ONESELF_OR_SERVICE,
    ("GET", "/iam/{iamid}/user/{userid}/apikeys"): _ONESELF_OR_SERVICE,
    ("GET", "/bim/group"): _OWN_GROUP,
    ("POST", "/bim/group"): _USERS,
    ("GET", "/bim/group/{groupid}"): _OWN_GROUP,
    ("PUT", "/bim/group/{groupid}"): _USERS,
    ("DELETE", "/bim/group/{groupid}"): _USERS,
    ("GET", "/bim/group/{groupid}/user"): _OWN_GROUP,
    ("POST", "/bim/group/{groupid}/user"): _USERS,
    ("DELETE", "/bim/group/{groupid}/user/{membershipid}"): _USERS,
    ("GET", "/project"): _PROJECT_MEMBER,
    ("POST", "/project"): RouteAccess((Permission.CREATE_PROJECT,)),
    ("GET", "/project/{projectid}"): _PROJECT_MEMBER,
    ("PUT", "/project/{projectid}"): _PROJECT_OWNER,
    ("DELETE", "/project/{projectid}"): _PROJECT_OWNER,
    ("PUT", "/project/{projectid}/member/{userid}"): _PROJECT_OWNER,
    ("DELETE", "/project/{projectid}/member/{userid}"): _PROJECT_OWNER,
    ("PUT", "/project/{projectid}/connection/{connection_key}"): RouteAccess(
        (Permission.PROJECT_MANAGEMENT,),
        "a project that one owns, and a connection that one may see",
    ),
    ("DELETE", "/project/{projectid}/connection/{connection_key}"): _PROJECT_OWNER,
    ("GET", "/services"): RouteAccess(
        (Permission.APPLICATION_ADMIN,), "those of which one may hold scopes, with these alone"
    ),
    ("POST", "/services"): _RESOURCES,
    ("GET", "/services/{serviceid}"): RouteAccess(
        (Permission.APPLICATION_ADMIN,), "those of which one may hold scopes, with these alone"
    ),
    ("PUT", "/services/{serviceid}"): _RESOURCES,
    ("DELETE", "/services/{serviceid}"): _RESOURCES,
    ("GET", "/serviceaccount"): _OWN_SERVICE_ACCOUNT,
    ("POST", "/serviceaccount"): _USERS,
    ("GET", "/serviceaccount/{userid}"): _OWN_SERVICE_ACCOUNT,
    ("PUT", "/serviceaccount/{userid}"): _USERS,
    ("POST", "/serviceaccount/{userid}/apikey"): _OWN_SERVICE_ACCOUNT,
    ("GET", "/serviceaccount/{userid}/apikey"): _OWN_SERVICE_ACCOUNT,
    ("DELETE", "/serviceaccount/{userid}/apikey/{keyid}"): _OWN_SERVICE_ACCOUNT,
    ("POST", "/bim/apikey/system"): _SYSTEM_KEYS,
    ("POST", "/apikey/system"): _SYSTEM_KEYS,
    ("DELETE", "/bim/apikey/system/{keyid}"): _SYSTEM_KEYS,
    ("DELETE", "/apikey/system/{keyid}"): _SYSTEM_KEYS,
    ("GET", "/data/connection/{connection_key}"): RouteAccess(SEE_CONNECTION),
    ("POST", INTROSPECTION_PATH): RouteAccess((Permission.VERIFY_CREDENTIALS,), "one's own credentials"),
    ("GET", "/feed"): RouteAccess((Permission.VERIFY_CREDENTIALS,)),
    ("POST", "/feed/uses"): RouteAccess((Permission.VERIFY_CREDENTIALS,)),
}
"""Which API routes ask for which permissions. The services enforce it: this tells of it, and tests compare.

Where a right is not named here it is the caller's own: their keys, their projects. To give a permission away,
or a passphrase, link or key of somebody who holds it, or a service account that does, one must hold it
oneself (A3).
"""
