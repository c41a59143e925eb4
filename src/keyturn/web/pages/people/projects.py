"""Projects, for those who see all of them. Some may only look."""

from litestar import Response, get, post
from litestar.params import FromQuery
from litestar.response import Redirect

from keyturn.core.people import ProjectRecord
from keyturn.core.permissions import SEE_CONNECTION, Permission
from keyturn.errors import KeyturnError
from keyturn.web.pages.frame.confirmation import DELETION_WORD, check_typed
from keyturn.web.pages.frame.paging import read_page
from keyturn.web.pages.frame.reauthentication import NEVER_ASKS
from keyturn.web.pages.frame.rendering import see_other
from keyturn.web.pages.frame.tabs import PROJECTS
from keyturn.web.pages.frame.views import (
    TOLD_ON_THE_PAGE,
    InjectedForm,
    InjectedView,
    View,
)
from keyturn.web.requests import IdInPath, in_thread, read_id

OFFERED_CONNECTIONS = 200
"""How many a browser is told to complete what is typed; any other can be typed in full."""

_NOTICES = {
    "saved": "The project is saved.",
    "member": "The members are saved.",
    "connection": "The connections are saved.",
    "deleted": "The project is deleted. Keys that were linked to it are refused from now on.",
}


@get("/", include_in_schema=False)
@in_thread
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


@get("/new", include_in_schema=False)
@in_thread
def new_page(view: InjectedView) -> Response[str]:
    """Show the form for a new project."""
    return view.render("people/project_new.html")


@post("/new", include_in_schema=False, opt=NEVER_ASKS)
@in_thread
def create(sent: InjectedForm) -> Response[str] | Redirect:
    """Make a project that the administrator owns."""
    try:
        project = sent.services.projects.add(
            sent.principal,
            sent.origin,
            name=sent.form.get("name", ""),
            description=sent.text("description"),
        )
    except TOLD_ON_THE_PAGE as error:
        return sent.render("people/project_new.html", error=error, values=sent.form)
    return see_other(f"{PROJECTS.path}/{project.project_id}?notice=saved")


@get("/{project_id:str}", include_in_schema=False)
@in_thread
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


@post("/{project_id:str}", include_in_schema=False, opt=NEVER_ASKS)
@in_thread
def update(project_id: IdInPath, sent: InjectedForm) -> Response[str] | Redirect:
    """Change what is said of a project."""
    number = read_id(project_id)
    try:
        sent.services.projects.update(
            sent.principal,
            number,
            sent.origin,
            **sent.changed("name", "description"),
        )
    except TOLD_ON_THE_PAGE as error:
        return _project(sent, number, error=error, values=sent.form)
    return see_other(f"{PROJECTS.path}/{number}?notice=saved")


@post("/{project_id:str}/members/set", include_in_schema=False)
@in_thread
def set_member(project_id: IdInPath, sent: InjectedForm) -> Response[str] | Redirect:
    """Put a user into the project, or change whether they own it."""
    number = read_id(project_id)
    try:
        sent.services.projects.set_member(
            sent.principal,
            number,
            sent.form.get("userid", ""),
            sent.origin,
            is_owner="is_owner" in sent.form,
        )
    except TOLD_ON_THE_PAGE as error:
        return _project(sent, number, error=error, values=sent.form)
    return see_other(f"{PROJECTS.path}/{number}?notice=member")


@post("/{project_id:str}/members/remove", include_in_schema=False, opt=NEVER_ASKS)
@in_thread
def remove_member(project_id: IdInPath, sent: InjectedForm) -> Response[str] | Redirect:
    """Take a user out of the project."""
    number = read_id(project_id)
    try:
        sent.services.projects.remove_member(sent.principal, number, sent.form.get("userid", ""), sent.origin)
    except TOLD_ON_THE_PAGE as error:
        return _project(sent, number, error=error)
    return see_other(f"{PROJECTS.path}/{number}?notice=member")


@post("/{project_id:str}/connections/add", include_in_schema=False)
@in_thread
def add_connection(project_id: IdInPath, sent: InjectedForm) -> Response[str] | Redirect:
    """Add a connection to the project."""
    number = read_id(project_id)
    try:
        sent.services.projects.add_connection(
            sent.principal, number, sent.form.get("connectionKey", "").strip(), sent.origin
        )
    except TOLD_ON_THE_PAGE as error:
        return _project(sent, number, error=error, values=sent.form)
    return see_other(f"{PROJECTS.path}/{number}?notice=connection")


@post("/{project_id:str}/connections/remove", include_in_schema=False, opt=NEVER_ASKS)
@in_thread
def remove_connection(project_id: IdInPath, sent: InjectedForm) -> Response[str] | Redirect:
    """Take a connection out of the project."""
    number = read_id(project_id)
    try:
        sent.services.projects.remove_connection(
            sent.principal, number, sent.form.get("connectionKey", ""), sent.origin
        )
    except TOLD_ON_THE_PAGE as error:
        return _project(sent, number, error=error)
    return see_other(f"{PROJECTS.path}/{number}?notice=connection")


@get("/{project_id:str}/delete", include_in_schema=False)
@in_thread
def delete_page(project_id: IdInPath, view: InjectedView) -> Response[str]:
    """Say what ends with the project."""
    return _deletion(view, view.services.projects.get(view.principal, read_id(project_id), size=0))


@post("/{project_id:str}/delete", include_in_schema=False, opt=NEVER_ASKS)
@in_thread
def delete(project_id: IdInPath, sent: InjectedForm) -> Response[str] | Redirect:
    """Delete the project, if the word was typed."""
    project = sent.services.projects.get(sent.principal, read_id(project_id))
    try:
        check_typed(sent)
        sent.services.projects.delete(sent.principal, project.project_id, sent.origin)
    except TOLD_ON_THE_PAGE as error:
        return _deletion(sent, project, error=error, values=sent.form)
    return see_other(f"{PROJECTS.path}?notice=deleted")


def _project(
    view: View,
    number: int,
    *,
    page: int = 1,
    connections: int = 1,
    notice: str | None = None,
    error: KeyturnError | None = None,
    values: dict[str, str] | None = None,
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
        error=error,
        project=project,
        members=members,
        at=at,
        connection_keys=connection_keys,
        at_connections=at_connections,
        may_change=service.may_change(view.principal, project),
        offered=offered,
        notice=notice,
        values=values or {},
    )


def _deletion(
    view: View,
    project: ProjectRecord,
    *,
    error: KeyturnError | None = None,
    values: dict[str, str] | None = None,
) -> Response[str]:
    return view.render(
        "people/project_delete.html", error=error, project=project, word=DELETION_WORD, values=values or {}
    )


HANDLERS = (
    projects_page,
    new_page,
    create,
    project_page,
    update,
    set_member,
    remove_member,
    add_connection,
    remove_connection,
    delete_page,
    delete,
)
