"""Service accounts: users for programs. As users they are read, disabled and deleted with the others."""

from typing import Annotated

import msgspec
from litestar.params import FromPath, RawBody

from keyturn.core.pages import MAX_PAGE
from keyturn.core.people import ServiceOwner
from keyturn.core.permissions import Permission
from keyturn.services.keys.keys import NewKey
from keyturn.web.api.documentation import with_body
from keyturn.web.api.people.user_bodies import PermissionName
from keyturn.web.api.people.user_views import ServiceAccountList, ServiceAccountView
from keyturn.web.api.views import ApiKeyList, ApiKeyView, DeletedKey, NewApiKeyView
from keyturn.web.bodies import (
    ExpiresAt,
    RestrictionFields,
    ShortText,
    get_json,
    lifetime_of,
    read_json,
)
from keyturn.web.requests import (
    AnyRequest,
    Call,
    IdInPath,
    InjectedCall,
    PageOffset,
    PageSize,
    asked_id,
    in_thread,
)
from keyturn.web.responses import CONFLICT, FORBIDDEN, TOO_MANY
from keyturn.web.routes import needs, route

_ACCOUNT = "/serviceaccount/{userid:str}"
_KEYS = _ACCOUNT + "/apikey"
_TAG = "Service accounts"
_USER_ADMIN = needs(Permission.USER_ADMIN)
_OWN_SERVICE_ACCOUNT = needs(
    Permission.USER_ADMIN, without="service accounts that you or one of your groups owns"
)
_SUCH_AS = '{"owner": {"userid": …}}, or {"owner": {"group": …}}'


class OwnerBody(msgspec.Struct, forbid_unknown_fields=True):
    """The owner: a person, by user name, or a group, by id."""

    userid: str | None = None
    group: int | None = None


class NewServiceAccountBody(msgspec.Struct, forbid_unknown_fields=True):
    """A new service account."""

    userid: Annotated[ShortText, msgspec.Meta(min_length=1)]
    owner: OwnerBody
    name: ShortText | None = None
    permissions: list[PermissionName] = msgspec.field(default_factory=list)


class HandOverBody(msgspec.Struct, forbid_unknown_fields=True):
    """The new owner of a service account."""

    owner: OwnerBody


class ServiceKeyBody(RestrictionFields, forbid_unknown_fields=True, rename="camel", kw_only=True):
    """The properties of a new key."""

    name: ShortText | None = None
    expires_at: ExpiresAt = msgspec.UNSET


@route("GET", "/serviceaccount", access=_OWN_SERVICE_ACCOUNT, tag=_TAG, summary="List service accounts")
@in_thread
def list_service_accounts(
    call: InjectedCall, size: PageSize = MAX_PAGE, offset: PageOffset = 0
) -> ServiceAccountList:
    """List service accounts.

    With `USER_ADMIN`, the list contains every service account. Without it, the list contains the accounts
    that the caller or one of the caller's groups owns.
    """
    accounts = call.services.service_accounts
    found = accounts.list_visible(call.principal, offset=offset, size=size)
    names = accounts.name_owners(found.items)
    return ServiceAccountList(found.count, [ServiceAccountView.of(item, names) for item in found.items])


@route(
    "POST",
    "/serviceaccount",
    access=_USER_ADMIN,
    tag=_TAG,
    summary="Create a service account",
    body=with_body(
        NewServiceAccountBody,
        example={"userid": "nightly-export", "owner": {"userid": "ada@example.com"}},
        required=True,
        description="The user name, the owner, and optional fields.",
    ),
)
@in_thread
def add_service_account(request: AnyRequest, body: RawBody, call: InjectedCall) -> ServiceAccountView:
    """Create a service account.

    The account holds only the permissions in `permissions`. The caller must hold each of them, except
    `CREATE_PROJECT`.

    Requires `USER_ADMIN`.
    """
    such_as = '{"userid": …, "owner": {"userid": …}}'
    asked = get_json(body, request.headers.get("content-type"), NewServiceAccountBody, such_as=such_as)
    accounts = call.services.service_accounts
    made = accounts.add(
        call.principal,
        call.origin,
        userid=asked.userid,
        name=asked.name,
        owner=_owner(call, asked.owner),
        permissions=asked.permissions,
    )
    return ServiceAccountView.of(made, accounts.name_owners([made]))


@route("GET", _ACCOUNT, access=_OWN_SERVICE_ACCOUNT, tag=_TAG, summary="Read a service account")
@in_thread
def get_service_account(userid: FromPath[str], call: InjectedCall) -> ServiceAccountView:
    """Return a service account.

    Requires `USER_ADMIN`, unless the caller or one of the caller's groups owns the account.
    """
    accounts = call.services.service_accounts
    found = accounts.get(call.principal, userid)
    return ServiceAccountView.of(found, accounts.name_owners([found]))


@route(
    "PUT",
    _ACCOUNT,
    access=_USER_ADMIN,
    tag=_TAG,
    summary="Transfer a service account",
    body=with_body(
        HandOverBody,
        example={"owner": {"userid": "grace@example.com"}},
        required=True,
        description="The new owner.",
    ),
)
@in_thread
def transfer(
    userid: FromPath[str], request: AnyRequest, body: RawBody, call: InjectedCall
) -> ServiceAccountView:
    """Transfer a service account to another owner.

    If the account was suspended together with its former owner, it resumes. The caller must hold each
    permission of the account, except `CREATE_PROJECT`.

    Requires `USER_ADMIN`.
    """
    asked = get_json(body, request.headers.get("content-type"), HandOverBody, such_as=_SUCH_AS)
    accounts = call.services.service_accounts
    given = accounts.transfer(call.principal, userid, _owner(call, asked.owner), call.origin)
    return ServiceAccountView.of(given, accounts.name_owners([given]))


@route(
    "POST",
    _KEYS,
    access=_OWN_SERVICE_ACCOUNT,
    tag=_TAG,
    summary="Create a key of a service account",
    body=with_body(
        ServiceKeyBody, example={"name": "production"}, description="The properties of the key. Optional."
    ),
    refusals=(FORBIDDEN, CONFLICT, TOO_MANY),
)
@in_thread
def create_service_key(
    userid: FromPath[str], request: AnyRequest, body: RawBody, call: InjectedCall
) -> NewApiKeyView:
    """Create an API key for a service account.

    The response contains the secret in `apikey`. No other response shows it.

    `scopes` narrows the key to scopes that the account may hold. The expiration and the other restrictions
    work as for the caller's own keys.

    Requires `USER_ADMIN`, unless the caller or one of the caller's groups owns the account. The caller must
    also hold each permission of the account, except `CREATE_PROJECT`. Without `USER_ADMIN`, the caller must
    be allowed to hold every scope that the key covers.
    """
    asked = read_json(body, request.headers.get("content-type"), ServiceKeyBody) or ServiceKeyBody()
    made = call.services.service_accounts.create_key(
        call.principal,
        userid,
        call.origin,
        NewKey(asked.name, lifetime_of(asked.expires_at), asked.restrictions()),
    )
    return NewApiKeyView.of(made.record, made.secret, call.services.system.now())


@route("GET", _KEYS, access=_OWN_SERVICE_ACCOUNT, tag=_TAG, summary="List the keys of a service account")
@in_thread
def list_service_keys(
    userid: FromPath[str], call: InjectedCall, size: PageSize = MAX_PAGE, offset: PageOffset = 0
) -> ApiKeyList:
    """List the API keys of a service account, newest first, without their secrets.

    Requires `USER_ADMIN`, unless the caller or one of the caller's groups owns the account.
    """
    keys = call.services.service_accounts.list_keys(call.principal, userid, offset=offset, size=size)
    now = call.services.system.now()
    return ApiKeyList(keys.count, [ApiKeyView.of(key, now) for key in keys])


@route(
    "DELETE",
    _KEYS + "/{keyid:str}",
    access=_OWN_SERVICE_ACCOUNT,
    tag=_TAG,
    summary="Revoke a key of a service account",
)
@in_thread
def delete_service_key(userid: FromPath[str], keyid: IdInPath, call: InjectedCall) -> DeletedKey:
    """Revoke an API key of a service account and all of its tokens immediately.

    Requires `USER_ADMIN`, unless the caller or one of the caller's groups owns the account.
    """
    key_id = asked_id(keyid)
    call.services.service_accounts.revoke_key(call.principal, userid, key_id, call.origin)
    return DeletedKey(key_id)


def _owner(call: Call, asked: OwnerBody) -> ServiceOwner:
    return call.services.service_accounts.find_owner(
        call.principal, userid=asked.userid, group_id=asked.group
    )
