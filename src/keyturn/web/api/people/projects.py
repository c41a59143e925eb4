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
_PROJECT_MEMBER = needs(*SEE_PROJECTS, without="those that one is in")
_PROJECT_OWNER = needs(Permission.PROJECT_MANAGEMENT, without="a project that one owns")


LISTED_OF_EACH = 20
"""How many members and connections a list tells of each project: a page of them stays under a megabyte."""


class NewProjectBody(msgspec.Struct, forbid_unknown_fields=True):
    """A new project."""

    name: ShortText
    description: LongText | None = None


class ProjectBody(msgspec.Struct, forbid_unknown_fields=True):
    """The fields of a project."""

    name: ShortText | None = None
    description: LongText | msgspec.UnsetType | None = msgspec.UNSET


class ProjectMemberBody(msgspec.Struct, forbid_unknown_fields=True):
    """How somebody is in a project."""

    owner: bool = False


@route("GET", "/project", access=_PROJECT_MEMBER, tag=_TAG, summary="List projects")
@recorded_read
def list_projects(call: InjectedCall, size: PageSize = MAX_PAGE, offset: PageOffset = 0) -> ProjectList:
    """Answer a page of the projects that the caller is in, or, with GOVERNANCE or PROJECT_MANAGEMENT, of all.

    Each with the first 20 of its members and of its connections.
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
    body=with_body(NewProjectBody, required=True, description="Its name."),
    refusals=(CONFLICT, TOO_MANY),
)
@in_thread
def add_project(request: AnyRequest, body: RawBody, call: InjectedCall) -> ProjectView:
    """Make a project that the caller owns. Its name is taken by no other. Needs CREATE_PROJECT."""
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
    """Answer a project that the caller is in, or, with GOVERNANCE or PROJECT_MANAGEMENT, any.

    With a page of its members, and the same page of its connections.
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
    body=with_body(ProjectBody, description="All that is said of it."),
    refusals=(FORBIDDEN,),
)
@in_thread
def update_project(
    projectid: IdInPath, request: AnyRequest, body: RawBody, call: InjectedCall
) -> ProjectView:
    """Put this in the place of what is said of a project. Omitted fields stay; null empties one.

    Needs PROJECT_MANAGEMENT, or to own the project.
    """
    asked = read_json(body, request.headers.get("content-type"), ProjectBody) or ProjectBody()
    project = call.services.projects.update(
        call.principal, asked_id(projectid), call.origin, name=asked.name, description=asked.description
    )
    return ProjectView.of(project)


@route("DELETE", _PROJECT, access=_PROJECT_OWNER, tag=_TAG, summary="Delete a project", refusals=(FORBIDDEN,))
@in_thread
def delete_project(projectid: IdInPath, call: InjectedCall) -> DeletedThing:
    """Delete a project for ever, and revoke the keys that are linked to it.

    Needs PROJECT_MANAGEMENT, or to own the project.
    """
    gone = call.services.projects.delete(call.principal, asked_id(projectid), call.origin)
    return DeletedThing(gone.project_id)


@route(
    "PUT",
    _MEMBER,
    access=_PROJECT_OWNER,
    tag=_TAG,
    summary="Add a member to a project",
    body=with_body(ProjectMemberBody, description="May be left out: a member, no owner."),
    refusals=(FORBIDDEN,),
)
@in_thread
def set_project_member(
    projectid: IdInPath, userid: FromPath[str], request: AnyRequest, body: RawBody, call: InjectedCall
) -> ProjectView:
    """Put a user into a project, or change whether they own it. The last owner stays one.

    Needs PROJECT_MANAGEMENT, or to own the project.
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
    """Take a user out of a project: their keys that are linked to it see nothing from then on.

    Needs PROJECT_MANAGEMENT, or to own the project.
    """
    return ProjectView.of(
        call.services.projects.remove_member(call.principal, asked_id(projectid), userid, call.origin)
    )


@route(
    "PUT",
    _CONNECTION,
    access=needs(
        Permission.PROJECT_MANAGEMENT, without="a project that one owns, and a connection that one may see"
    ),
    tag=_TAG,
    summary="Add a connection to a project",
    refusals=(FORBIDDEN,),
)
@in_thread
def add_project_connection(
    projectid: IdInPath, connection_key: FromPath[str], call: InjectedCall
) -> ProjectView:
    """Add a connection to a project: keys that are linked to it can see it from then on.

    Needs PROJECT_MANAGEMENT, or to own the project and to hold one of the permissions that let one see the
    connection: APPLICATION_ADMIN, CREATE_DATA_SOURCE, GOVERNANCE.
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
    """Take a connection out of a project. Needs PROJECT_MANAGEMENT, or to own the project."""
    return ProjectView.of(
        call.services.projects.remove_connection(
            call.principal, asked_id(projectid), connection_key, call.origin
        )
    )
