"""Groups: what is said of them, who is in them, what their members have through them."""

from litestar import Response, get, post
from litestar.params import FromQuery
from litestar.response import Redirect

from keyturn.core.people import GroupRecord, ServiceOwner
from keyturn.core.searches import UserSearch
from keyturn.errors import KeyturnError
from keyturn.web.pages.frame.confirmation import DELETION_WORD, LISTED, check_typed
from keyturn.web.pages.frame.paging import read_page
from keyturn.web.pages.frame.reauthentication import NEVER_ASKS, asks_if
from keyturn.web.pages.frame.rendering import see_other
from keyturn.web.pages.frame.tabs import GROUPS
from keyturn.web.pages.frame.views import (
    TOLD_ON_THE_PAGE,
    InjectedForm,
    InjectedView,
    SubmittedForm,
    View,
)
from keyturn.web.requests import IdInPath, in_thread, read_id

_NOTICES = {
    "saved": "The group is saved.",
    "added": "The user is in the group now.",
    "removed": "The user is no longer in the group.",
    "attribute": "The attributes are saved.",
    "deleted": "The group is deleted.",
}


@get("/", include_in_schema=False)
@in_thread
def groups_page(
    view: InjectedView, page: FromQuery[int] = 1, notice: FromQuery[str | None] = None
) -> Response[str]:
    """Show the groups."""
    at, groups = read_page(
        lambda offset, size: view.services.groups.list_visible(view.principal, offset=offset, size=size),
        page,
        GROUPS.path,
    )
    return view.render("people/groups.html", groups=groups, at=at, notice=_NOTICES.get(notice or ""))


@get("/new", include_in_schema=False)
@in_thread
def new_page(view: InjectedView) -> Response[str]:
    """Show the form for a new group."""
    return view.render("people/group_new.html")


@post("/new", include_in_schema=False, opt=NEVER_ASKS)
@in_thread
def create(sent: InjectedForm) -> Response[str] | Redirect:
    """Make a group."""
    try:
        group = sent.services.groups.add(
            sent.principal,
            sent.origin,
            name=sent.form.get("name", ""),
            email=sent.text("email"),
            description=sent.text("description"),
        )
    except TOLD_ON_THE_PAGE as error:
        return sent.render("people/group_new.html", error=error, values=sent.form)
    return see_other(f"{GROUPS.path}/{group.group_id}?notice=saved")


@get("/{group_id:str}", include_in_schema=False)
@in_thread
def group_page(
    group_id: IdInPath,
    view: InjectedView,
    page: FromQuery[int] = 1,
    notice: FromQuery[str | None] = None,
) -> Response[str]:
    """Show a group."""
    return _group(view, read_id(group_id), page=page, notice=_NOTICES.get(notice or ""))


@post("/{group_id:str}", include_in_schema=False, opt=NEVER_ASKS)
@in_thread
def update(group_id: IdInPath, sent: InjectedForm) -> Response[str] | Redirect:
    """Change what is said of a group."""
    number = read_id(group_id)
    try:
        sent.services.groups.update(
            sent.principal,
            number,
            sent.origin,
            **sent.changed("name", "email", "description"),
        )
    except TOLD_ON_THE_PAGE as error:
        return _group(sent, number, error=error, values=sent.form)
    return see_other(f"{GROUPS.path}/{number}?notice=saved")


@post("/{group_id:str}/members/add", include_in_schema=False)
@in_thread
def add_member(group_id: IdInPath, sent: InjectedForm) -> Response[str] | Redirect:
    """Put a user into the group."""
    number = read_id(group_id)
    try:
        sent.services.groups.add_member(
            sent.principal, number, sent.origin, userid=sent.form.get("userid", "")
        )
    except TOLD_ON_THE_PAGE as error:
        return _group(sent, number, error=error, values=sent.form)
    return see_other(f"{GROUPS.path}/{number}?notice=added")


@post("/{group_id:str}/members/{membership_id:str}/remove", include_in_schema=False, opt=NEVER_ASKS)
@in_thread
def remove_member(group_id: IdInPath, membership_id: IdInPath, sent: InjectedForm) -> Redirect:
    """Take a user out of the group."""
    number = read_id(group_id)
    sent.services.groups.remove_member(sent.principal, number, read_id(membership_id), sent.origin)
    return see_other(f"{GROUPS.path}/{number}?notice=removed")


@post("/{group_id:str}/attributes/add", include_in_schema=False)
@in_thread
def add_attribute(group_id: IdInPath, sent: InjectedForm) -> Response[str] | Redirect:
    """Give the group an attribute."""
    return _change_attribute(sent, read_id(group_id), is_given=True)


@post("/{group_id:str}/attributes/remove", include_in_schema=False, opt=NEVER_ASKS)
@in_thread
def remove_attribute(group_id: IdInPath, sent: InjectedForm) -> Response[str] | Redirect:
    """Take an attribute from the group."""
    return _change_attribute(sent, read_id(group_id), is_given=False)


@get("/{group_id:str}/delete", include_in_schema=False)
@in_thread
def delete_page(group_id: IdInPath, view: InjectedView) -> Response[str]:
    """Show what ends with the group."""
    return _deletion(view, view.services.groups.get(view.principal, read_id(group_id)))


@post("/{group_id:str}/delete", include_in_schema=False, opt=asks_if(handOverTo=None))
@in_thread
def delete(group_id: IdInPath, sent: InjectedForm) -> Response[str] | Redirect:
    """Delete the group, if the word was typed."""
    group = sent.services.groups.get(sent.principal, read_id(group_id))
    try:
        check_typed(sent)
        successor = sent.services.service_accounts.find_successor(sent.principal, sent.text("handOverTo"))
        sent.services.groups.delete(sent.principal, group.group_id, sent.origin, successor=successor)
    except TOLD_ON_THE_PAGE as error:
        return _deletion(sent, group, error=error, values=sent.form)
    return see_other(f"{GROUPS.path}?notice=deleted")


def _change_attribute(sent: SubmittedForm, number: int, *, is_given: bool) -> Response[str] | Redirect:
    attribute = (sent.form.get("key", ""), sent.form.get("value", ""))
    try:
        sent.services.groups.change_attribute(
            sent.principal, number, attribute, sent.origin, is_given=is_given
        )
    except TOLD_ON_THE_PAGE as error:
        return _group(sent, number, error=error, values=sent.form)
    return see_other(f"{GROUPS.path}/{number}?notice=attribute")


def _group(
    view: View,
    number: int,
    *,
    page: int = 1,
    notice: str | None = None,
    error: KeyturnError | None = None,
    values: dict[str, str] | None = None,
) -> Response[str]:
    group = view.services.groups.get(view.principal, number)
    service = view.services.groups
    at, members = read_page(
        lambda offset, size: service.list_members(view.principal, number, offset=offset, size=size),
        page,
        f"{GROUPS.path}/{number}",
    )
    return view.render(
        "people/group.html",
        error=error,
        group=group,
        members=members,
        at=at,
        notice=notice,
        values=values or {},
    )


def _deletion(
    view: View,
    group: GroupRecord,
    *,
    error: KeyturnError | None = None,
    values: dict[str, str] | None = None,
) -> Response[str]:
    wanted = UserSearch(owners=frozenset({ServiceOwner(group_id=group.group_id)}))
    owned = view.services.user_administration.search(view.principal, wanted, size=LISTED)
    return view.render(
        "people/group_delete.html",
        error=error,
        group=group,
        member_count=view.services.groups.list_members(view.principal, group.group_id, size=1).count,
        owned=owned.items,
        owned_count=owned.count,
        word=DELETION_WORD,
        values=values or {},
    )


HANDLERS = (
    groups_page,
    new_page,
    create,
    group_page,
    update,
    add_member,
    remove_member,
    add_attribute,
    remove_attribute,
    delete_page,
    delete,
)
