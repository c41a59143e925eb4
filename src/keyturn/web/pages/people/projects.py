"""Projects, for those who see all of them. Some may only look."""

from litestar import Response
from litestar.params import FromQuery
from litestar.response import Redirect

from keyturn.core.permissions import SEE_CONNECTION, Permission
from keyturn.web.pages.frame.confirmation import DELETION_WORD, check_typed
from keyturn.web.pages.frame.forms import form, page
from keyturn.web.pages.frame.paging import read_page
from keyturn.web.pages.frame.reauthentication import NEVER_ASKS
from keyturn.web.pages.frame.rendering import see_other
from keyturn.web.pages.frame.tabs import PROJECTS
from keyturn.web.pages.frame.views import (
    InjectedForm,
    InjectedView,
    View,
)
from keyturn.web.requests import IdInPath, read_id

OFFERED_CONNECTIONS = 200
"""How many a browser is told to complete what is typed; any other can be typed in full."""

_NOTICES = {
    "saved": "The project is saved.",
    "member": "The members are saved.",
    "connection": "The connections are saved.",
    "deleted": "The project is deleted. Keys that were linked to it are refused from now on.",
}


@page("/", PROJECTS)
def projects_page(
    view: InjectedView, page: FromQuery[int] = 1, notice: FromQuery[str | None] = None
) -> Response[str]:
    """Show the projects."""
    at, projects = read_page(
        lambda offset, size: view.services.projects.list_visible(view.principal, offset=offset, size=size),
        page,
        PROJECTS.path,
    )
    return view.render(
        "people/projects.html",
        projects=projects,
        at=at,
        may_create=view.principal.may(Permission.CREATE_PROJECT),
        notice=_NOTICES.get(notice or ""),
    )


@page("/new", PROJECTS)
def new_page(view: InjectedView) -> Response[str]:
    """Show the form for a new project."""
    return view.render("people/project_new.html")


@form("/new", PROJECTS, asks=NEVER_ASKS, again=new_page)
def create(sent: InjectedForm) -> Redirect:
    """Make a project that the administrator owns."""
    project = sent.services.projects.add(
        sent.principal,
        sent.origin,
        name=sent.form.get("name", ""),
        description=sent.text("description"),
    )
    return see_other(f"{PROJECTS.path}/{project.project_id}?notice=saved")


@page("/{project_id:str}", PROJECTS)
def project_page(
    project_id: IdInPath,
    view: InjectedView,
    page: FromQuery[int] = 1,
    connections: FromQuery[int] = 1,
    notice: FromQuery[str | None] = None,
) -> Response[str]:
    """Show a project: one page of its members, and one of its connections."""
    number, told = read_id(project_id), _NOTICES.get(notice or "")
    return _project(view, number, page=page, connections=connections, notice=told)


@form("/{project_id:str}", PROJECTS, asks=NEVER_ASKS, again=project_page)
def update(project_id: IdInPath, sent: InjectedForm) -> Redirect:
    """Change what is said of a project."""
    number = read_id(project_id)
    sent.services.projects.update(
        sent.principal,
        number,
        sent.origin,
        **sent.changed("name", "description"),
    )
    return see_other(f"{PROJECTS.path}/{number}?notice=saved")


@form("/{project_id:str}/members/set", PROJECTS, again=project_page)
def set_member(project_id: IdInPath, sent: InjectedForm) -> Redirect:
    """Put a user into the project, or change whether they own it."""
    number = read_id(project_id)
    sent.services.projects.set_member(
        sent.principal,
        number,
        sent.form.get("userid", ""),
        sent.origin,
        is_owner="is_owner" in sent.form,
    )
    return see_other(f"{PROJECTS.path}/{number}?notice=member")


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
    return see_other(f"{PROJECTS.path}?notice=deleted")


def _project(
    view: View, number: int, *, page: int = 1, connections: int = 1, notice: str | None = None
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
        notice=notice,
    )
