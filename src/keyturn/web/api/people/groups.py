"""Groups and their members (http-api/groups.md, "Groups")."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from litestar.params import FromPath, FromQuery, QueryParameter, RawBody

from keyturn.core.pages import MAX_PAGE
from keyturn.core.permissions import Permission
from keyturn.core.records import MAX_ID
from keyturn.core.searches import GroupSearch, NamedOrder
from keyturn.errors import InvalidInput, NotFound
from keyturn.web.api.documentation import with_body
from keyturn.web.api.people.group_views import (
    AuthorizedGroupView,
    GroupList,
    GroupView,
    ListedGroupView,
    MemberList,
    MemberView,
    NewMemberView,
)
from keyturn.web.api.views import DeletedThing
from keyturn.web.bodies import LongText, ShortText, get_json, read_json
from keyturn.web.parameters import SortOrder, chosen, one_of
from keyturn.web.requests import (
    AnyRequest,
    IdInPath,
    InjectedCall,
    PageOffset,
    PageSize,
    TransferTo,
    asked_id,
    in_thread,
    recorded_read,
)
from keyturn.web.routes import needs, route

_GROUP = "/bim/group/{groupid:str}"
_TAG = "Groups"
_USER_ADMIN = needs(Permission.USER_ADMIN)
_OWN_GROUP = needs(Permission.USER_ADMIN, without="groups that you are in")


class NewGroupBody(msgspec.Struct, forbid_unknown_fields=True):
    """A new group."""

    name: ShortText
    iamid: str | msgspec.UnsetType = msgspec.UNSET
    email: ShortText | None = None
    description: LongText | None = None


class GroupBody(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """The fields of a group to change. The others may be sent back as they are."""

    name: ShortText | None = None
    email: ShortText | msgspec.UnsetType | None = msgspec.UNSET
    description: LongText | msgspec.UnsetType | None = msgspec.UNSET
    id: Any = msgspec.UNSET
    iamid: Any = msgspec.UNSET
    gid: Any = msgspec.UNSET
    authorizations: Any = msgspec.UNSET
    scim: Any = msgspec.UNSET
    scimid: Any = msgspec.UNSET
    created_at: Any = msgspec.UNSET
    updated_at: Any = msgspec.UNSET

    def check_keeps(self, group: GroupView) -> None:
        """Raise `InvalidInput` for another value of a field that cannot be changed here."""
        for field in msgspec.structs.fields(GroupView):
            given = getattr(self, field.name)
            if field.name not in _CHANGEABLE and given not in (msgspec.UNSET, getattr(group, field.name)):
                wire = field.encode_name
                raise InvalidInput(wire, f"The field {wire} of a group cannot be changed here.")


_CHANGEABLE = frozenset({"name", "email", "description"})


class NewMemberBody(msgspec.Struct, forbid_unknown_fields=True):
    """The user to add to a group."""

    userid: str
    iamid: str | msgspec.UnsetType = msgspec.UNSET


ORDERS: Mapping[str, NamedOrder] = {
    "name": NamedOrder.NAME,
    "iamid": NamedOrder.PROVIDER,
    "createdAt": NamedOrder.NUMBER,
}
"""By what the contract orders groups."""


@route("GET", "/bim/group", access=_OWN_GROUP, tag=_TAG, summary="List groups")
@recorded_read
def list_groups(  # noqa: PLR0913 - as the contract has them
    *,
    call: InjectedCall,
    name: FromQuery[str | None] = None,
    iamid: FromQuery[str | None] = None,
    user_id: Annotated[int | None, QueryParameter(name="userId", ge=1, le=MAX_ID)] = None,
    name_only: Annotated[bool, QueryParameter(name="nameOnly")] = False,
    sort_field: Annotated[str, one_of("sortField", ORDERS)] = "createdAt",
    sort_order: SortOrder = "asc",
    size: PageSize = 25,
    offset: PageOffset = 0,
) -> GroupList:
    """List groups.

    `name` is a part of the name, whatever the case. `userId` is the number of a user who is in the groups.
    With `nameOnly`, only the names are listed.

    With `USER_ADMIN`, the list contains every group. Without it, the list contains the groups of the caller.
    """
    wanted = GroupSearch(
        name=name or None,
        iamid=iamid or None,
        members=frozenset() if user_id is None else frozenset({user_id}),
        order=chosen("sortField", sort_field, ORDERS),
        is_descending=sort_order == "desc",
    )
    groups = call.services.groups.list_visible(call.principal, wanted, offset=offset, size=size)
    # Groups of one identity manager have different names, and there is one that has groups.
    return GroupList(groups.count, [ListedGroupView.of(group, name_only=name_only) for group in groups])


@route(
    "POST",
    "/bim/group",
    access=_USER_ADMIN,
    tag=_TAG,
    summary="Create a group",
    body=with_body(
        NewGroupBody,
        example={"name": "Analysts", "description": "They read the monthly reports."},
        required=True,
        description="The name and optional fields.",
    ),
)
@in_thread
def add_group(request: AnyRequest, body: RawBody, call: InjectedCall) -> GroupView:
    """Create a group.

    The name must not belong to another group.

    Requires `USER_ADMIN`.
    """
    asked = get_json(
        body, request.headers.get("content-type"), NewGroupBody, such_as='{"iamid": "bim", "name": …}'
    )
    group = call.services.groups.add(
        call.principal,
        call.origin,
        iamid=None if asked.iamid is msgspec.UNSET else asked.iamid,
        name=asked.name,
        email=asked.email,
        description=asked.description,
    )
    return GroupView.of(group)


@route("GET", _GROUP, access=_OWN_GROUP, tag=_TAG, summary="Read a group")
@recorded_read
def get_group(groupid: IdInPath, call: InjectedCall) -> GroupView:
    """Return a group.

    Requires `USER_ADMIN`, unless the caller is a member of the group.
    """
    return GroupView.of(call.services.groups.get(call.principal, asked_id(groupid)))


@route(
    "GET",
    "/bim/iam/{iamid:str}/group/{groupid:str}",
    access=_OWN_GROUP,
    tag=_TAG,
    summary="Read a group of an identity manager",
)
@recorded_read
def get_group_of_provider(iamid: FromPath[str], groupid: IdInPath, call: InjectedCall) -> AuthorizedGroupView:
    """Return a group, with its attributes in `bimAuthorizations` too.

    Requires `USER_ADMIN`, unless the caller is a member of the group.
    """
    group = call.services.groups.get(call.principal, asked_id(groupid))
    if group.iamid != iamid:
        raise NotFound
    return AuthorizedGroupView.of(group)


@route(
    "PUT",
    _GROUP,
    access=_USER_ADMIN,
    tag=_TAG,
    summary="Change a group",
    body=with_body(
        GroupBody,
        example={"description": "They write the monthly reports."},
        description="The fields to change.",
    ),
)
@in_thread
def update_group(groupid: IdInPath, request: AnyRequest, body: RawBody, call: InjectedCall) -> GroupView:
    """Change a group.

    Omitted fields keep their values. Null clears `email` or `description`. A group can be sent back whole: a
    new value of any other field returns 422.

    Requires `USER_ADMIN`.
    """
    asked = read_json(body, request.headers.get("content-type"), GroupBody) or GroupBody()
    asked.check_keeps(GroupView.of(call.services.groups.get_managed(call.principal, asked_id(groupid))))
    group = call.services.groups.update(
        call.principal,
        asked_id(groupid),
        call.origin,
        name=asked.name,
        email=asked.email,
        description=asked.description,
    )
    return GroupView.of(group)


@route("DELETE", _GROUP, access=_USER_ADMIN, tag=_TAG, summary="Delete a group")
@in_thread
def delete_group(groupid: IdInPath, call: InjectedCall, successor: TransferTo = None) -> DeletedThing:
    """Delete a group and its service accounts permanently.

    `handOverTo` transfers the service accounts to a person instead. The members of the group remain as users.

    Requires `USER_ADMIN`.
    """
    gone = call.services.groups.delete(
        call.principal,
        asked_id(groupid),
        call.origin,
        successor=call.services.service_accounts.find_successor(call.principal, successor),
    )
    return DeletedThing(gone.group_id)


@route("GET", _GROUP + "/user", access=_OWN_GROUP, tag=_TAG, summary="List the members of a group")
@recorded_read
def list_members(
    groupid: IdInPath,
    call: InjectedCall,
    sort_order: SortOrder = "asc",
    size: PageSize = MAX_PAGE,
    offset: PageOffset = 0,
) -> MemberList:
    """List the members of a group, in the order in which they came.

    Without `USER_ADMIN`, the profiles of other members show only `id`, `name`, and `email`: other details are
    null or empty.

    Requires `USER_ADMIN`, unless the caller is a member of the group.
    """
    members = call.services.groups.list_members(
        call.principal, asked_id(groupid), is_descending=sort_order == "desc", offset=offset, size=size
    )
    return MemberList(members.count, [MemberView.of(member) for member in members])


@route(
    "POST",
    _GROUP + "/user",
    access=_USER_ADMIN,
    tag=_TAG,
    summary="Add a member to a group",
    body=with_body(
        NewMemberBody, example={"userid": "grace@example.com"}, required=True, description="The user to add."
    ),
)
@in_thread
def add_member(groupid: IdInPath, request: AnyRequest, body: RawBody, call: InjectedCall) -> NewMemberView:
    """Add a user to a group.

    The user gets the attributes of the group, may hold its scopes, and manages its service accounts. The
    caller must hold each permission of these service accounts, except `CREATE_PROJECT`.

    Requires `USER_ADMIN`.
    """
    such_as = '{"userid": …, "iamid": "bim"}'
    asked = get_json(body, request.headers.get("content-type"), NewMemberBody, such_as=such_as)
    member = call.services.groups.add_member(
        call.principal,
        asked_id(groupid),
        call.origin,
        iamid=None if asked.iamid is msgspec.UNSET else asked.iamid,
        userid=asked.userid,
    )
    return NewMemberView.of(member)


@route(
    "DELETE",
    _GROUP + "/user/{membershipid:str}",
    access=_USER_ADMIN,
    tag=_TAG,
    summary="Remove a member from a group",
)
@in_thread
def remove_member(groupid: IdInPath, membershipid: IdInPath, call: InjectedCall) -> DeletedThing:
    """Remove a member from a group.

    `membershipid` is the id of the membership, not of the user. The user loses the attributes and the scopes
    of the group immediately.

    Requires `USER_ADMIN`.
    """
    gone = call.services.groups.remove_member(
        call.principal, asked_id(groupid), asked_id(membershipid), call.origin
    )
    return DeletedThing(gone.membership_id)
