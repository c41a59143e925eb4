"""Users: make, find, change, disable, delete (http-api/users.md, "Users")."""

from collections.abc import Mapping
from typing import Annotated, Any

from litestar.params import FromPath, FromQuery, PathParameter, QueryParameter, RawBody

from keyturn.core.pages import MAX_PAGE
from keyturn.core.people import UserKind
from keyturn.core.permissions import ADMINS_AND_GOVERNORS, Permission
from keyturn.core.searches import UserOrder, UserSearch
from keyturn.core.times import wire_time
from keyturn.errors import InvalidInput, NotFound
from keyturn.web.api.documentation import with_body
from keyturn.web.api.people.user_bodies import (
    NewUserBody,
    PasswordBody,
    PermissionName,
    PermissionsBody,
    ProfileBody,
    RefreshBody,
)
from keyturn.web.api.people.user_views import (
    ChangedPassword,
    DeletedUser,
    InvitationView,
    NewUserView,
    ProfileView,
    SignedOutUser,
    UnlockedUser,
    UserGroupView,
    UserList,
    UserView,
)
from keyturn.web.bodies import get_json, read_json
from keyturn.web.parameters import SortOrder, chosen, one_of
from keyturn.web.requests import (
    AnyRequest,
    Call,
    InjectedCall,
    PageOffset,
    PageSize,
    TransferTo,
    brief_read,
    in_thread,
    recorded_read,
)
from keyturn.web.responses import CONFLICT, FORBIDDEN
from keyturn.web.routes import Alias, needs, route

_USER = "/bim/iam/{iamid:str}/user/{userid:str}"
_TAG = "Users"
_USER_ADMIN = needs(Permission.USER_ADMIN)
ORDERS: Mapping[str, UserOrder] = {
    "name": UserOrder.NAME,
    "createdAt": UserOrder.NUMBER,
    "iamid": UserOrder.PROVIDER,
    "email": UserOrder.EMAIL,
    "username": UserOrder.USERID,
    "lastLogin": UserOrder.USED,
}
"""By what the contract orders users."""
_ONESELF = needs(Permission.USER_ADMIN, without="your own account")
ONESELF_OR_SERVICE = needs(
    Permission.USER_ADMIN,
    without="your own account, and service accounts that you or one of your groups owns",
)

PermissionInPath = Annotated[
    str, PathParameter(schema_extra={"enum": [permission.value for permission in Permission]})
]
TrueOrFalse = Annotated[str, PathParameter(schema_extra={"enum": ["true", "false"]})]


@route(
    "POST",
    "/bim/iam/{iamid:str}/user",
    access=_USER_ADMIN,
    tag=_TAG,
    summary="Create a user",
    body=with_body(
        NewUserBody,
        example={
            "userid": "alan@example.com",
            "profile": {"name": "Alan Turing", "email": "alan@example.com"},
        },
        required=True,
        description="The user name and optional fields.",
    ),
)
@in_thread
def add_user(iamid: FromPath[str], request: AnyRequest, body: RawBody, call: InjectedCall) -> NewUserView:
    """Create a user.

    If `password` is omitted or empty, the response contains a link for setting one. Keyturn sends no email:
    pass the link on to the user.

    The user holds `CREATE_PROJECT` and the permissions in `permissions`. The caller must hold each permission
    that the request grants, except `CREATE_PROJECT`.

    Requires `USER_ADMIN`.
    """
    asked = get_json(body, request.headers.get("content-type"), NewUserBody, such_as='{"userid": …}')
    if iamid in call.services.identity and asked.iamid not in {None, iamid}:
        raise InvalidInput("iamid", "The iamid of the body must be that of the path.")
    added = call.services.user_administration.add(
        call.principal,
        call.origin,
        iamid=iamid,
        userid=asked.userid,
        profile={} if asked.profile is None else asked.profile.given(),
        password=asked.password or None,
        permissions=asked.permissions,
    )
    return NewUserView.of(added)


@route(
    "GET",
    "/bim/iam/{iamid:str}/user",
    access=_ONESELF,
    tag=_TAG,
    summary="List the users of an identity manager",
)
@recorded_read
def list_users(
    iamid: FromPath[str], call: InjectedCall, size: PageSize = MAX_PAGE, offset: PageOffset = 0
) -> UserList:
    """List the users of an identity manager, oldest first.

    With `USER_ADMIN`, the list contains every user. Without it, the list contains only the caller.
    """
    if iamid not in call.services.identity:
        raise NotFound
    return _page(call, UserSearch(providers=frozenset({iamid})), offset, size)


@route("GET", "/bim/user", access=_ONESELF, tag=_TAG, summary="Search users")
@recorded_read
def search_users(  # noqa: PLR0913 - as the contract has them
    *,
    call: InjectedCall,
    iamid: FromQuery[list[str] | None] = None,
    userid: FromQuery[str | None] = None,
    email: FromQuery[str | None] = None,
    name: FromQuery[str | None] = None,
    permission: FromQuery[str | None] = None,
    without_system: Annotated[bool, QueryParameter(name="excludeSystemGenerated")] = False,
    without_admins: Annotated[bool, QueryParameter(name="excludeAdminAndGovernor")] = False,
    without_gone: Annotated[bool, QueryParameter(name="excludeDeletedIams")] = True,
    without_built_in: Annotated[bool, QueryParameter(name="excludeBIM")] = False,
    with_disabled: Annotated[bool, QueryParameter(name="includeDisabled")] = False,
    sort_field: Annotated[str, one_of("sortField", ORDERS)] = "name",
    sort_order: SortOrder = "asc",
    size: PageSize = 25,
    offset: PageOffset = 0,
) -> UserList:
    """Search for users.

    A user must match every parameter. `userid`, `email`, and `name` are parts of their fields, whatever the
    case. `iamid` is a whole identity manager, and can be repeated. `permission` is a whole permission.

    Suspended users are left out, unless `includeDisabled` is true.

    With `USER_ADMIN`, the search covers every user. Without it, the search covers only the caller.
    """
    identity = call.services.identity
    providers = frozenset(filter(None, iamid or ())) or None
    if without_gone:
        known = frozenset(provider.iamid for provider in identity)
        providers = known if providers is None else known & providers
    wanted = UserSearch(
        providers=providers,
        not_providers=frozenset({identity.built_in.iamid}) if without_built_in else frozenset(),
        userid=userid or None,
        email=email or None,
        name=name or None,
        holding=_holding(permission) if permission else None,
        not_holding=ADMINS_AND_GOVERNORS if without_admins else frozenset(),
        kinds=frozenset({UserKind.PERSON, UserKind.SERVICE}) if without_system else None,
        is_disabled=None if with_disabled else False,
        order=chosen("sortField", sort_field, ORDERS),
        is_descending=sort_order == "desc",
    )
    return _page(call, wanted, offset, size)


def _holding(permission: str) -> frozenset[Permission]:
    """Return the permission of this name; none, which nobody holds, for a foreign one."""
    return frozenset(one for one in Permission if one.value == permission)


@route("GET", _USER, access=ONESELF_OR_SERVICE, tag=_TAG, summary="Read a user")
@recorded_read
def get_user(iamid: FromPath[str], userid: FromPath[str], call: InjectedCall) -> UserView:
    """Return a user.

    Requires `USER_ADMIN`, unless the user is the caller or a service account that the caller or one of the
    caller's groups owns.
    """
    return UserView.of(call.services.user_administration.get(call.principal, iamid, userid))


@route(
    "PUT",
    _USER,
    access=ONESELF_OR_SERVICE,
    tag=_TAG,
    summary="Refresh a user",
    body=with_body(RefreshBody, example={}, description="Empty, or an object without fields."),
)
@brief_read
def refresh_user(
    iamid: FromPath[str], userid: FromPath[str], request: AnyRequest, body: RawBody, call: InjectedCall
) -> UserView:
    """Return a user, as `GET` does. Nothing changes: a user is always read anew.

    Requires `USER_ADMIN`, unless the user is the caller or a service account that the caller or one of the
    caller's groups owns.
    """
    read_json(body, request.headers.get("content-type"), RefreshBody)
    return UserView.of(call.services.user_administration.get(call.principal, iamid, userid))


@route("GET", _USER + "/groups", access=ONESELF_OR_SERVICE, tag=_TAG, summary="List the groups of a user")
@recorded_read
def list_groups_of_user(
    iamid: FromPath[str],
    userid: FromPath[str],
    call: InjectedCall,
    size: PageSize = MAX_PAGE,
    offset: PageOffset = 0,
) -> list[UserGroupView]:
    """List the groups that a user is in, oldest first.

    `groupUser` is the id of the membership.

    Requires `USER_ADMIN`, except for the caller, and for a service account that the caller or one of the
    caller's groups owns: the list then contains only groups that the caller is in too.
    """
    user = call.services.user_administration.get(call.principal, iamid, userid)
    found = call.services.groups.list_of(call.principal, user.user_id, offset=offset, size=size)
    return [UserGroupView(group.group_id, group.name, group.iamid, number) for group, number in found]


@route(
    "PUT",
    _USER + "/profile",
    access=needs(
        Permission.USER_ADMIN,
        without="your own account and service accounts that you or one of your groups owns, except "
        "`externalUserIds`",
    ),
    alias=Alias(_USER + "/profile", method="POST"),
    tag=_TAG,
    summary="Change a profile",
    body=with_body(
        ProfileBody,
        example={"name": "Grace Hopper", "position": "Analyst"},
        description="The fields to change.",
    ),
    refusals=(FORBIDDEN,),
)
@in_thread
def update_profile(
    iamid: FromPath[str], userid: FromPath[str], request: AnyRequest, body: RawBody, call: InjectedCall
) -> ProfileView:
    """Change the profile of a user.

    Omitted fields keep their values. Null clears a field, except `externalUserIds`.

    Requires `USER_ADMIN`, except for the profile of the caller and of a service account that the caller or
    one of the caller's groups owns. Changing `externalUserIds` always requires `USER_ADMIN`.
    """
    asked = read_json(body, request.headers.get("content-type"), ProfileBody) or ProfileBody()
    fields = asked.given()
    return ProfileView.of(
        call.services.user_administration.update_profile(call.principal, iamid, userid, fields, call.origin)
    )


@route(
    "PUT",
    _USER + "/permissions",
    access=_USER_ADMIN,
    alias=Alias(_USER + "/permissions", method="POST"),
    tag=_TAG,
    summary="Set a user's permissions",
    body=with_body(
        list[PermissionName] | PermissionsBody,
        example={"permissions": ["CREATE_PROJECT", "AUDIT"]},
        required=True,
        description="All permissions, as an array or in `permissions`.",
    ),
    refusals=(CONFLICT,),
)
@in_thread
def set_permissions(
    iamid: FromPath[str], userid: FromPath[str], request: AnyRequest, body: RawBody, call: InjectedCall
) -> UserView:
    """Replace the permissions of a user.

    The caller must hold each permission that the request adds, except `CREATE_PROJECT`. The last person with
    `USER_ADMIN` or `APPLICATION_ADMIN` keeps it: removing it returns 409.

    Requires `USER_ADMIN`.
    """
    shape: Any = list[PermissionName] | PermissionsBody
    asked = get_json(body, request.headers.get("content-type"), shape, such_as='["AUDIT", …]')
    wanted = asked.permissions if isinstance(asked, PermissionsBody) else asked
    return UserView.of(
        call.services.user_administration.set_permissions(call.principal, iamid, userid, wanted, call.origin)
    )


@route(
    "DELETE",
    _USER + "/permissions/{permission:str}",
    access=_USER_ADMIN,
    tag=_TAG,
    summary="Remove a permission from a user",
    refusals=(CONFLICT,),
)
@in_thread
def remove_permission(
    iamid: FromPath[str], userid: FromPath[str], permission: PermissionInPath, call: InjectedCall
) -> UserView:
    """Remove a permission from a user.

    If the user does not hold the permission, nothing changes. The last person with `USER_ADMIN` or
    `APPLICATION_ADMIN` keeps it: removing it returns 409.

    Requires `USER_ADMIN`.
    """
    return UserView.of(
        call.services.user_administration.remove_permission(
            call.principal, iamid, userid, permission, call.origin
        )
    )


@route(
    "PUT",
    _USER + "/password",
    access=needs(Permission.USER_ADMIN, without="your own password, with the current one"),
    tag=_TAG,
    summary="Set a password",
    body=with_body(
        PasswordBody,
        example={"password": "seven green lanterns drift"},
        required=True,
        description="The new password.",
    ),
    refusals=(FORBIDDEN,),
)
@in_thread
def set_password(
    iamid: FromPath[str], userid: FromPath[str], request: AnyRequest, body: RawBody, call: InjectedCall
) -> ChangedPassword:
    """Set the password of a user and end all of the user's sessions.

    To change their own passwords, callers send the current one in `originalPassword`.

    Requires `USER_ADMIN`, except for the caller's own password. To set the password of another user, the
    caller must also hold each permission that the user holds or controls, except `CREATE_PROJECT`.
    """
    asked = get_json(body, request.headers.get("content-type"), PasswordBody, such_as='{"password": …}')
    call.services.user_administration.set_password(
        call.principal,
        iamid,
        userid,
        password=asked.password,
        current=asked.original_password,
        origin=call.origin,
    )
    return ChangedPassword(success=True)


@route(
    "PUT",
    _USER + "/disable/{disable:str}",
    access=needs(
        Permission.USER_ADMIN,
        without="service accounts that you or one of your groups owns, to disable them",
    ),
    tag=_TAG,
    summary="Suspend a user, or end the suspension",
    refusals=(FORBIDDEN, CONFLICT),
)
@in_thread
def set_disabled(
    iamid: FromPath[str],
    userid: FromPath[str],
    disable: TrueOrFalse,
    call: InjectedCall,
    successor: TransferTo = None,
) -> UserView:
    """Suspend a user, or end the suspension.

    The path ends in `true` to suspend the user and in `false` to end the suspension.

    A suspension immediately stops the user's sessions, keys, and tokens, and the service accounts that the
    user owns. `handOverTo` transfers the service accounts to another person instead. When the suspension
    ends, keys and service accounts work again. Sessions do not.

    Requires `USER_ADMIN`. Without it, callers can suspend service accounts that they or their groups own.
    """
    if disable not in {"true", "false"}:
        raise InvalidInput("disable", "The path ends in true or false.")
    services = call.services
    user = services.offboarding.set_disabled(
        call.principal,
        iamid,
        userid,
        call.origin,
        disabled=disable == "true",
        successor=services.service_accounts.find_successor(call.principal, successor),
    )
    return UserView.of(user)


@route(
    "DELETE",
    _USER,
    access=needs(Permission.USER_ADMIN, without="service accounts that you or one of your groups owns"),
    tag=_TAG,
    summary="Delete a user",
    refusals=(FORBIDDEN, CONFLICT),
)
@in_thread
def delete_user(
    iamid: FromPath[str], userid: FromPath[str], call: InjectedCall, successor: TransferTo = None
) -> DeletedUser:
    """Delete a user permanently, with all keys, sessions, and service accounts of the user.

    `handOverTo` transfers the service accounts to another person instead.

    Requires `USER_ADMIN`, unless the user is a service account that the caller or one of the caller's groups
    owns.
    """
    services = call.services
    gone = services.offboarding.delete(
        call.principal,
        iamid,
        userid,
        call.origin,
        successor=services.service_accounts.find_successor(call.principal, successor),
    )
    return DeletedUser(gone.user_id, gone.userid)


@route("POST", _USER + "/invitation", access=_USER_ADMIN, tag=_TAG, summary="Create an invitation link")
@in_thread
def invite_user(iamid: FromPath[str], userid: FromPath[str], call: InjectedCall) -> InvitationView:
    """Create an invitation link for a user to set a password.

    The link works once and expires after 7 days. It replaces an earlier link.

    Requires `USER_ADMIN`. The caller must also hold each permission that the user holds or controls, except
    `CREATE_PROJECT`.
    """
    invitation = call.services.user_administration.invite(call.principal, iamid, userid, call.origin)
    return InvitationView(invitation.link, wire_time(invitation.expires_at))


@route("POST", _USER + "/sign-out", access=_USER_ADMIN, tag=_TAG, summary="Sign a user out everywhere")
@in_thread
def sign_out_user(iamid: FromPath[str], userid: FromPath[str], call: InjectedCall) -> SignedOutUser:
    """End all sessions and tokens of a user. Keys keep working.

    Answers with the number of sessions that ended.

    Requires `USER_ADMIN`. The caller must also hold each permission that the user holds or controls, except
    `CREATE_PROJECT`.
    """
    services = call.services
    user = services.user_administration.get_controlled(call.principal, iamid, userid)
    return SignedOutUser(services.sessions.sign_out(call.principal, user.user_id, call.origin))


@route("POST", _USER + "/unlock", access=_USER_ADMIN, tag=_TAG, summary="Unlock a user")
@in_thread
def unlock_user(iamid: FromPath[str], userid: FromPath[str], call: InjectedCall) -> UnlockedUser:
    """Forget the wrong passwords of a user, so that the user can sign in again at once.

    Answers `false` if no wrong password was counted.

    Requires `USER_ADMIN`. The caller must also hold each permission that the user holds or controls, except
    `CREATE_PROJECT`. Callers cannot unlock themselves.
    """
    unlocked = call.services.user_administration.unlock(call.principal, iamid, userid, call.origin)
    return UnlockedUser(unlocked)


def _page(call: Call, wanted: UserSearch, offset: int, size: int) -> UserList:
    found = call.services.user_administration.search(call.principal, wanted, offset=offset, size=size)
    return UserList(found.count, [UserView.of(user) for user in found.items])
