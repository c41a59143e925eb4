"""Projects, their members and connections."""

import msgspec
from litestar.params import FromPath, RawBody

from keyturn.core.pages import MAX_PAGE
from keyturn.core.permissions import SEE_PROJECTS, Permission
from keyturn.web.api.documentation import with_body
from keyturn.web.api.people.project_views import ProjectList, ProjectView
from keyturn.web.api.views import DeletedThing
from keyturn.web.bodies import LongText, ShortText, get_json, read_json
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
_MEMBER = _PROJECT + "/member/{userid:str}"
_CONNECTION = _PROJECT + "/connection/{connection_key:str}"
_TAG = "Projects"
_PROJECT_MEMBER = needs(*SEE_PROJECTS, without="projects that you are in")
_PROJECT_OWNER = needs(Permission.PROJECT_MANAGEMENT, without="projects that you own")


LISTED_OF_EACH = 20
"""How many members and connections a list tells of each project: a page of them stays under a megabyte."""


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


@route("GET", "/project", access=_PROJECT_MEMBER, tag=_TAG, summary="List projects")
@recorded_read
def list_projects(call: InjectedCall, size: PageSize = MAX_PAGE, offset: PageOffset = 0) -> ProjectList:
    """List projects, oldest first.

    Each project shows its first 20 members and its first 20 connections.

    With `GOVERNANCE` or `PROJECT_MANAGEMENT`, the list contains every project. Without them, the list
    contains the projects that the caller is a member of.
    """
    projects = call.services.projects.list_visible(
        call.principal, offset=offset, size=size, listed=LISTED_OF_EACH
    )
    return ProjectList(projects.count, [ProjectView.of(project) for project in projects])


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
