"""Projects, their members and connections."""

from collections.abc import Mapping
from typing import Annotated

import msgspec
from litestar.params import FromPath, QueryParameter, RawBody

from keyturn.core.pages import MAX_PAGE
from keyturn.core.people import Subscription
from keyturn.core.permissions import SEE_PROJECTS, Permission
from keyturn.core.searches import NamedOrder, ProjectMemberOrder, ProjectMemberSearch, ProjectSearch
from keyturn.errors import InvalidInput
from keyturn.web.api.documentation import with_body
from keyturn.web.api.people.project_views import (
    ProjectList,
    ProjectView,
    SubscriberList,
    SubscriberView,
    SubscriptionView,
)
from keyturn.web.api.views import OPEN, DeletedThing
from keyturn.web.bodies import LongText, ShortText, get_json, read_json
from keyturn.web.parameters import SortOrder, chosen, one_of, some_of
from keyturn.web.requests import (
    AnyRequest,
    IdInPath,
    InjectedCall,
    PageOffset,
    PageSize,
    asked_id,
    in_thread,
    recorded_read,
)
from keyturn.web.responses import CONFLICT, FORBIDDEN, TOO_MANY
from keyturn.web.routes import needs, route

_PROJECT = "/project/{projectid:str}"
_MEMBERS = _PROJECT + "/members"
_MEMBER = _PROJECT + "/member/{userid:str}"
_CONNECTION = _PROJECT + "/connection/{connection_key:str}"
_TAG = "Projects"
_PROJECT_MEMBER = needs(*SEE_PROJECTS, without="projects that you are in")
_PROJECT_OWNER = needs(Permission.PROJECT_MANAGEMENT, without="projects that you own")


LISTED_OF_EACH = 20
"""How many members and connections a list tells of each project: a page of them stays under a megabyte."""


ORDERS: Mapping[str, NamedOrder] = {
    "name": NamedOrder.NAME,
    "status": NamedOrder.NUMBER,
    "createdAt": NamedOrder.NUMBER,
    "updatedAt": NamedOrder.UPDATED,
}
"""By what the contract orders projects. All have the same status."""
STATUSES: Mapping[str, bool] = {OPEN: True, "closed": False}
"""Whether any project has the status."""
SUBSCRIPTIONS: Mapping[str, Subscription] = {one.value: one for one in Subscription}
STATES: Mapping[str, Subscription] = {one.value: one for one in (Subscription.OWNER, Subscription.SUBSCRIBED)}
"""The states of members."""
MEMBER_ORDERS: Mapping[str, ProjectMemberOrder] = {
    "name": ProjectMemberOrder.NAME,
    "state": ProjectMemberOrder.STATE,
    "createdAt": ProjectMemberOrder.CREATED,
}


class NewProjectBody(msgspec.Struct, forbid_unknown_fields=True):
    """A new project."""

    name: ShortText
    description: LongText | None = None


class ProjectBody(msgspec.Struct, forbid_unknown_fields=True):
    """The fields of a project to change."""

    name: ShortText | None = None
    description: LongText | msgspec.UnsetType | None = msgspec.UNSET


class ProjectMemberBody(msgspec.Struct, forbid_unknown_fields=True):
    """The role of a member in a project."""

    owner: bool = False


class SubscriberBody(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """Somebody to put into a project, by the id of their profile."""

    profile_id: int | None = None
    group_id: int | None = None
    state: str = Subscription.SUBSCRIBED


@route("GET", "/project", access=_PROJECT_MEMBER, tag=_TAG, summary="List projects")
@recorded_read
def list_projects(
    call: InjectedCall,
    text: Annotated[str | None, QueryParameter(name="searchText")] = None,
    status: Annotated[str, one_of("status", STATUSES)] = OPEN,
    subscription: Annotated[str | None, one_of("subscription", SUBSCRIPTIONS)] = None,
    sort_field: Annotated[str, one_of("sortField", ORDERS)] = "createdAt",
    sort_order: SortOrder = "asc",
    size: PageSize = 10,
    offset: PageOffset = 0,
) -> ProjectList:
    """List projects.

    `searchText` is a part of the name or of the description, whatever the case and accents. `subscription` is
    the caller's. Every project is open: none has another status.

    Each project shows its first 20 members and its first 20 connections.

    With `GOVERNANCE` or `PROJECT_MANAGEMENT`, the list contains every project. Without them, the list
    contains the projects that the caller is a member of.
    """
    if not chosen("status", status, STATUSES):
        return ProjectList(0, [], {})
    wanted = ProjectSearch(
        text or None,
        chosen("sortField", sort_field, ORDERS),
        is_descending=sort_order == "desc",
        subscriptions=None
        if subscription is None
        else frozenset({chosen("subscription", subscription, SUBSCRIPTIONS)}),
    )
    projects = call.services.projects.list_visible(
        call.principal, wanted, offset=offset, size=size, listed=LISTED_OF_EACH
    )
    return ProjectList(projects.count, [ProjectView.of(project) for project in projects], {})


@route(
    "POST",
    "/project",
    access=needs(Permission.CREATE_PROJECT),
    tag=_TAG,
    summary="Create a project",
    body=with_body(
        NewProjectBody,
        example={"name": "Churn forecast"},
        required=True,
        description="The name and an optional description.",
    ),
    refusals=(CONFLICT, TOO_MANY),
)
@in_thread
def add_project(request: AnyRequest, body: RawBody, call: InjectedCall) -> ProjectView:
    """Create a project that the caller owns.

    The name must not belong to another project that the caller can see.

    Requires `CREATE_PROJECT`.
    """
    asked = get_json(body, request.headers.get("content-type"), NewProjectBody, such_as='{"name": …}')
    project = call.services.projects.add(
        call.principal, call.origin, name=asked.name, description=asked.description
    )
    return ProjectView.of(project)


@route("GET", _PROJECT, access=_PROJECT_MEMBER, tag=_TAG, summary="Read a project")
@recorded_read
def get_project(
    projectid: IdInPath, call: InjectedCall, size: PageSize = MAX_PAGE, offset: PageOffset = 0
) -> ProjectView:
    """Return a project.

    `size` and `offset` select a page of its members and the same page of its connections.

    Requires `GOVERNANCE` or `PROJECT_MANAGEMENT`, unless the caller is a member of the project.
    """
    return ProjectView.of(
        call.services.projects.get(call.principal, asked_id(projectid), offset=offset, size=size)
    )


@route(
    "PUT",
    _PROJECT,
    access=_PROJECT_OWNER,
    tag=_TAG,
    summary="Change a project",
    body=with_body(
        ProjectBody,
        example={"description": "Which customers leave next quarter"},
        description="The fields to change.",
    ),
    refusals=(FORBIDDEN,),
)
@in_thread
def update_project(
    projectid: IdInPath, request: AnyRequest, body: RawBody, call: InjectedCall
) -> ProjectView:
    """Change a project.

    Omitted fields keep their values. Null clears `description`.

    Requires `PROJECT_MANAGEMENT`, unless the caller owns the project.
    """
    asked = read_json(body, request.headers.get("content-type"), ProjectBody) or ProjectBody()
    project = call.services.projects.update(
        call.principal, asked_id(projectid), call.origin, name=asked.name, description=asked.description
    )
    return ProjectView.of(project)


@route("DELETE", _PROJECT, access=_PROJECT_OWNER, tag=_TAG, summary="Delete a project", refusals=(FORBIDDEN,))
@in_thread
def delete_project(projectid: IdInPath, call: InjectedCall) -> DeletedThing:
    """Delete a project permanently and revoke all keys that are linked to it.

    Requires `PROJECT_MANAGEMENT`, unless the caller owns the project.
    """
    gone = call.services.projects.delete(call.principal, asked_id(projectid), call.origin)
    return DeletedThing(gone.project_id)


@route("GET", _MEMBERS, access=_PROJECT_MEMBER, tag=_TAG, summary="List the members of a project")
@recorded_read
def list_project_members(
    projectid: IdInPath,
    call: InjectedCall,
    text: Annotated[str | None, QueryParameter(name="searchText")] = None,
    states: Annotated[list[str] | None, some_of("states", STATES)] = None,
    sort_field: Annotated[str, one_of("sortField", MEMBER_ORDERS)] = "createdAt",
    sort_order: SortOrder = "asc",
    size: PageSize = 15,
    offset: PageOffset = 0,
) -> SubscriberList:
    """List the members of a project.

    `searchText` is a part of the user name, the name, or the email address, whatever the case and accents.
    `states` can be repeated.

    Requires `GOVERNANCE` or `PROJECT_MANAGEMENT`, unless the caller is a member of the project.
    """
    wanted = ProjectMemberSearch(
        text or None,
        None if states is None else frozenset(chosen("states", one, STATES) for one in states),
        chosen("sortField", sort_field, MEMBER_ORDERS),
        is_descending=sort_order == "desc",
    )
    projects = call.services.projects
    project = projects.get(call.principal, asked_id(projectid), size=0)
    members = projects.list_members(project, wanted, offset=offset, size=size)
    return SubscriberList(members.count, [SubscriberView.of(member) for member in members])


@route(
    "POST",
    _MEMBERS,
    access=_PROJECT_OWNER,
    tag=_TAG,
    summary="Add a member to a project by profile",
    body=with_body(
        SubscriberBody,
        example={"profileId": 2, "state": "subscribed"},
        required=True,
        description="The profile of the user, and the state: `owner` or `subscribed`.",
    ),
    refusals=(FORBIDDEN,),
)
@in_thread
def add_project_member(
    projectid: IdInPath, request: AnyRequest, body: RawBody, call: InjectedCall
) -> SubscriptionView:
    """Add a user to a project, or change whether a member owns it.

    The members of a project are users: `groupId` is refused. Without `USER_ADMIN` or `PROJECT_MANAGEMENT`,
    callers can name only users that share a group or a project with them.

    Requires `PROJECT_MANAGEMENT`, unless the caller owns the project.
    """
    such_as = '{"profileId": …, "state": "subscribed"}'
    asked = get_json(body, request.headers.get("content-type"), SubscriberBody, such_as=such_as)
    is_owner = chosen("state", asked.state, STATES) is Subscription.OWNER
    if asked.group_id is not None:
        raise InvalidInput(
            "groupId", "The members of a project are users: leave groupId out and name each by profileId."
        )
    if asked.profile_id is None:
        raise InvalidInput("profileId", "The field profileId is missing.", code="missing")
    member = call.services.projects.set_member_by_profile(
        call.principal, asked_id(projectid), asked.profile_id, call.origin, is_owner=is_owner
    )
    return SubscriptionView.of(member)


@route(
    "PUT",
    _MEMBER,
    access=_PROJECT_OWNER,
    tag=_TAG,
    summary="Add a member to a project",
    body=with_body(
        ProjectMemberBody,
        example={"owner": True},
        description="Whether the member owns the project. Optional: by default, the member does not.",
    ),
    refusals=(FORBIDDEN,),
)
@in_thread
def set_project_member(
    projectid: IdInPath, userid: FromPath[str], request: AnyRequest, body: RawBody, call: InjectedCall
) -> ProjectView:
    """Add a user to a project, or change whether a member owns it.

    A project always has an owner: the last one cannot become an ordinary member. Without `USER_ADMIN` or
    `PROJECT_MANAGEMENT`, callers can name only users that share a group or a project with them.

    Requires `PROJECT_MANAGEMENT`, unless the caller owns the project.
    """
    asked = read_json(body, request.headers.get("content-type"), ProjectMemberBody) or ProjectMemberBody()
    project = call.services.projects.set_member(
        call.principal, asked_id(projectid), userid, call.origin, is_owner=asked.owner
    )
    return ProjectView.of(project)


@route(
    "DELETE",
    _MEMBER,
    access=_PROJECT_OWNER,
    tag=_TAG,
    summary="Remove a member from a project",
    refusals=(FORBIDDEN,),
)
@in_thread
def remove_project_member(projectid: IdInPath, userid: FromPath[str], call: InjectedCall) -> ProjectView:
    """Remove a member from a project.

    Keys of the member that are linked to the project no longer see any connections. The last owner cannot be
    removed.

    Requires `PROJECT_MANAGEMENT`, unless the caller owns the project.
    """
    return ProjectView.of(
        call.services.projects.remove_member(call.principal, asked_id(projectid), userid, call.origin)
    )


@route(
    "PUT",
    _CONNECTION,
    access=needs(
        Permission.PROJECT_MANAGEMENT, without="projects that you own, and connections that you may see"
    ),
    tag=_TAG,
    summary="Add a connection to a project",
    refusals=(FORBIDDEN,),
)
@in_thread
def add_project_connection(
    projectid: IdInPath, connection_key: FromPath[str], call: InjectedCall
) -> ProjectView:
    """Add a connection to a project.

    Keys that are linked to the project can then see the connection, if their owners may see connections.

    Requires `PROJECT_MANAGEMENT`, unless the caller owns the project and holds a permission for connections:
    `APPLICATION_ADMIN`, `CREATE_DATA_SOURCE`, or `GOVERNANCE`.
    """
    return ProjectView.of(
        call.services.projects.add_connection(
            call.principal, asked_id(projectid), connection_key, call.origin
        )
    )


@route(
    "DELETE",
    _CONNECTION,
    access=_PROJECT_OWNER,
    tag=_TAG,
    summary="Remove a connection from a project",
    refusals=(FORBIDDEN,),
)
@in_thread
def remove_project_connection(
    projectid: IdInPath, connection_key: FromPath[str], call: InjectedCall
) -> ProjectView:
    """Remove a connection from a project.

    Requires `PROJECT_MANAGEMENT`, unless the caller owns the project.
    """
    return ProjectView.of(
        call.services.projects.remove_connection(
            call.principal, asked_id(projectid), connection_key, call.origin
        )
    )
