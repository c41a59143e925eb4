"""Projects, for those who see all of them. Some may only look."""

from collections.abc import Mapping

from litestar import Response
from litestar.params import FromQuery
from litestar.response import Redirect

from keyturn.core.audit import AuditAction, Target
from keyturn.core.permissions import SEE_CONNECTION, Permission
from keyturn.core.searches import ProjectSearch
from keyturn.errors import InvalidInput
from keyturn.web.pages.frame.confirmation import DELETION_WORD, check_typed
from keyturn.web.pages.frame.forms import form, page
from keyturn.web.pages.frame.lists import Column, named_search, read_list
from keyturn.web.pages.frame.notices import deleted_name, said
from keyturn.web.pages.frame.paging import ROWS, read_page
from keyturn.web.pages.frame.pickers import picked_member
from keyturn.web.pages.frame.reauthentication import NEVER_ASKS
from keyturn.web.pages.frame.rendering import see_other
from keyturn.web.pages.frame.tabs import PROJECTS
from keyturn.web.pages.frame.views import (
    InjectedForm,
    InjectedView,
    SubmittedForm,
    View,
)
from keyturn.web.requests import AnyRequest, IdInPath, read_id

OFFERED_CONNECTIONS = 200
"""How many a browser is told to complete what is typed; any other can be typed in full."""

SENTENCES: Mapping[str, str] = {
    "created": "Created the project <b>{}</b>.",
    "saved": "Saved the project <b>{}</b>.",
    "member": "Saved the members of <b>{}</b>.",
    "connection": "Saved the connections of <b>{}</b>.",
}
"""The part of the project that a notice tells."""


COLUMNS: Mapping[str, Column] = {
    "name": Column("Name"),
    "members": Column("Members", is_first_descending=True),
    "connections": Column("Connections", is_first_descending=True),
}


@page("/", PROJECTS)
def projects_page(
    request: AnyRequest,
    view: InjectedView,
    page: FromQuery[int] = 1,
    notice: FromQuery[str | None] = None,
    deleted: FromQuery[str | None] = None,
) -> Response[str]:
    """Show the projects that are looked for, by name unless another order is asked for."""
    asked = read_list(request.query_params, PROJECTS.path, COLUMNS)
    at, projects = read_page(
        lambda offset, size: view.services.projects.list_visible(
            view.principal, named_search(asked, ProjectSearch), offset=offset, size=size
        ),
        page,
        PROJECTS.path,
        size=ROWS,
        **asked.query,
    )
    return view.render(
        "people/projects.html",
        projects=projects,
        sorting=asked.sorting,
        values=asked.values,
        at=at,
        may_create=view.principal.may(Permission.CREATE_PROJECT),
        notice=_deleted(view, deleted) if notice == "deleted" else None,
    )


def _deleted(view: View, number: str | None) -> str:
    name = deleted_name(view, AuditAction.PROJECT_DELETED, Target.PROJECT, number, "name")
    if not name:
        return "Deleted the project. Keys limited to it are refused from now on."
    return said("Deleted the project <b>{}</b>. Keys limited to it are refused from now on.", name)


@page("/new", PROJECTS)
def new_page(view: InjectedView) -> Response[str]:
    """Show the form for a new project."""
    return view.render("people/project_new.html")


@form("/new", PROJECTS, asks=NEVER_ASKS, again=new_page)
def create(sent: InjectedForm) -> Redirect:
    """Make a project that the administrator owns."""
    _check_named(sent.form.get("name", ""))
    project = sent.services.projects.add(
        sent.principal,
        sent.origin,
        name=sent.form.get("name", ""),
        description=sent.text("description"),
    )
    return see_other(f"{PROJECTS.path}/{project.project_id}?notice=created")


def _check_named(name: str) -> None:
    if not name.strip():
        raise InvalidInput("name", "Enter a name for the project.")


@page("/{project_id:str}", PROJECTS)
def project_page(
    project_id: IdInPath,
    view: InjectedView,
    page: FromQuery[int] = 1,
    connections: FromQuery[int] = 1,
    notice: FromQuery[str | None] = None,
) -> Response[str]:
    """Show a project: one page of its members, and one of its connections."""
    return _project(view, read_id(project_id), page=page, connections=connections, notice=notice or "")


@form("/{project_id:str}", PROJECTS, asks=NEVER_ASKS, again=project_page)
def update(project_id: IdInPath, sent: InjectedForm) -> Redirect:
    """Change what is said of a project."""
    number, changes = read_id(project_id), sent.changed("name", "description")
    if "name" in changes:
        _check_named(changes["name"])
    sent.services.projects.update(
        sent.principal,
        number,
        sent.origin,
        **changes,
    )
    return see_other(f"{PROJECTS.path}/{number}?notice=saved")


@form("/{project_id:str}/members/set", PROJECTS, again=project_page)
def set_member(project_id: IdInPath, sent: InjectedForm) -> Redirect:
    """Put a user into the project."""
    return _set_member(sent, project_id, _member_in(sent))


@form("/{project_id:str}/members/owner", PROJECTS, again=project_page, keeps=False)
def set_owner(project_id: IdInPath, sent: InjectedForm) -> Redirect:
    """Change whether a member owns the project."""
    return _set_member(sent, project_id, sent.form.get("userid", ""))


def _set_member(sent: SubmittedForm, project_id: str, userid: str) -> Redirect:
    number = read_id(project_id)
    sent.services.projects.set_member(
        sent.principal, number, userid, sent.origin, is_owner="is_owner" in sent.form
    )
    return see_other(f"{PROJECTS.path}/{number}?notice=member")


def _member_in(sent: SubmittedForm) -> str:
    """Return the number of the user that the form names; what was typed, if the person sees no users."""
    if not sent.principal.may(Permission.USER_ADMIN):
        return sent.form.get("userid", "")
    return str(picked_member(sent, "userid").user_id)


@form("/{project_id:str}/members/remove", PROJECTS, asks=NEVER_ASKS, again=project_page, keeps=False)
def remove_member(project_id: IdInPath, sent: InjectedForm) -> Redirect:
    """Take a user out of the project."""
    number = read_id(project_id)
    sent.services.projects.remove_member(sent.principal, number, sent.form.get("userid", ""), sent.origin)
    return see_other(f"{PROJECTS.path}/{number}?notice=member")


@form("/{project_id:str}/connections/add", PROJECTS, again=project_page)
def add_connection(project_id: IdInPath, sent: InjectedForm) -> Redirect:
    """Add a connection to the project."""
    number = read_id(project_id)
    sent.services.projects.add_connection(
        sent.principal, number, sent.form.get("connectionKey", "").strip(), sent.origin
    )
    return see_other(f"{PROJECTS.path}/{number}?notice=connection")


@form("/{project_id:str}/connections/remove", PROJECTS, asks=NEVER_ASKS, again=project_page, keeps=False)
def remove_connection(project_id: IdInPath, sent: InjectedForm) -> Redirect:
    """Take a connection out of the project."""
    number = read_id(project_id)
    sent.services.projects.remove_connection(
        sent.principal, number, sent.form.get("connectionKey", ""), sent.origin
    )
    return see_other(f"{PROJECTS.path}/{number}?notice=connection")


@page("/{project_id:str}/delete", PROJECTS)
def delete_page(project_id: IdInPath, view: InjectedView) -> Response[str]:
    """Say what ends with the project."""
    project = view.services.projects.get(view.principal, read_id(project_id), size=0)
    return view.render("people/project_delete.html", project=project, word=DELETION_WORD)


@form("/{project_id:str}/delete", PROJECTS, asks=NEVER_ASKS, again=delete_page)
def delete(project_id: IdInPath, sent: InjectedForm) -> Redirect:
    """Delete the project, if the word was typed."""
    project = sent.services.projects.get(sent.principal, read_id(project_id))
    check_typed(sent)
    sent.services.projects.delete(sent.principal, project.project_id, sent.origin)
    return see_other(f"{PROJECTS.path}?notice=deleted&deleted={project.project_id}")


def _project(
    view: View, number: int, *, page: int = 1, connections: int = 1, notice: str = ""
) -> Response[str]:
    service, path = view.services.projects, f"{PROJECTS.path}/{number}"
    project = service.get(view.principal, number, size=0)
    at, members = read_page(
        lambda offset, size: service.list_members(project, offset=offset, size=size), page, path
    )
    at_connections, connection_keys = read_page(
        lambda offset, size: service.list_connections(project, offset=offset, size=size),
        connections,
        path,
        parameter="connections",
    )
    offered = []
    if view.principal.may(*SEE_CONNECTION):
        offered = view.services.connections.list_keys(
            view.principal, size=OFFERED_CONNECTIONS, outside_of=number
        )
    return view.render(
        "people/project.html",
        project=project,
        members=members,
        at=at,
        connection_keys=connection_keys,
        at_connections=at_connections,
        may_change=service.may_change(view.principal, project),
        offered=offered,
        notice=said(SENTENCES[notice], project.name) if notice in SENTENCES else None,
    )
