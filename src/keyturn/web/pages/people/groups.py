"""Groups: what is said of them, who is in them, what their members have through them."""

from litestar import Response
from litestar.params import FromQuery
from litestar.response import Redirect

from keyturn.core.people import GroupRecord, ServiceOwner
from keyturn.core.searches import UserSearch
from keyturn.web.pages.frame.confirmation import DELETION_WORD, LISTED, check_typed
from keyturn.web.pages.frame.forms import form, page
from keyturn.web.pages.frame.paging import read_page
from keyturn.web.pages.frame.reauthentication import NEVER_ASKS, asks_if
from keyturn.web.pages.frame.rendering import see_other
from keyturn.web.pages.frame.tabs import GROUPS
from keyturn.web.pages.frame.views import (
    InjectedForm,
    InjectedView,
    SubmittedForm,
    View,
)
from keyturn.web.requests import IdInPath, read_id

_NOTICES = {
    "saved": "The group is saved.",
    "added": "The user is in the group now.",
    "removed": "The user is no longer in the group.",
    "attribute": "The attributes are saved.",
    "deleted": "The group is deleted.",
}


@page("/", GROUPS)
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


@page("/new", GROUPS)
def new_page(view: InjectedView) -> Response[str]:
    """Show the form for a new group."""
    return view.render("people/group_new.html")


@form("/new", GROUPS, asks=NEVER_ASKS, again=new_page)
def create(sent: InjectedForm) -> Redirect:
    """Make a group."""
    group = sent.services.groups.add(
        sent.principal,
        sent.origin,
        name=sent.form.get("name", ""),
        email=sent.text("email"),
        description=sent.text("description"),
    )
    return see_other(f"{GROUPS.path}/{group.group_id}?notice=saved")


@page("/{group_id:str}", GROUPS)
def group_page(
    group_id: IdInPath,
    view: InjectedView,
    page: FromQuery[int] = 1,
    notice: FromQuery[str | None] = None,
) -> Response[str]:
    """Show a group."""
    return _group(view, read_id(group_id), page=page, notice=_NOTICES.get(notice or ""))


@form("/{group_id:str}", GROUPS, asks=NEVER_ASKS, again=group_page)
def update(group_id: IdInPath, sent: InjectedForm) -> Redirect:
    """Change what is said of a group."""
    number = read_id(group_id)
    sent.services.groups.update(
        sent.principal,
        number,
        sent.origin,
        **sent.changed("name", "email", "description"),
    )
    return see_other(f"{GROUPS.path}/{number}?notice=saved")


@form("/{group_id:str}/members/add", GROUPS, again=group_page)
def add_member(group_id: IdInPath, sent: InjectedForm) -> Redirect:
    """Put a user into the group."""
    number = read_id(group_id)
    sent.services.groups.add_member(sent.principal, number, sent.origin, userid=sent.form.get("userid", ""))
    return see_other(f"{GROUPS.path}/{number}?notice=added")


@form("/{group_id:str}/members/{membership_id:str}/remove", GROUPS, asks=NEVER_ASKS)
def remove_member(group_id: IdInPath, membership_id: IdInPath, sent: InjectedForm) -> Redirect:
    """Take a user out of the group."""
    number = read_id(group_id)
    sent.services.groups.remove_member(sent.principal, number, read_id(membership_id), sent.origin)
    return see_other(f"{GROUPS.path}/{number}?notice=removed")


@form("/{group_id:str}/attributes/add", GROUPS, again=group_page)
def add_attribute(group_id: IdInPath, sent: InjectedForm) -> Redirect:
    """Give the group an attribute."""
    return _change_attribute(sent, read_id(group_id), is_given=True)


@form("/{group_id:str}/attributes/remove", GROUPS, asks=NEVER_ASKS, again=group_page)
def remove_attribute(group_id: IdInPath, sent: InjectedForm) -> Redirect:
    """Take an attribute from the group."""
    return _change_attribute(sent, read_id(group_id), is_given=False)


@page("/{group_id:str}/delete", GROUPS)
def delete_page(group_id: IdInPath, view: InjectedView) -> Response[str]:
    """Show what ends with the group."""
    return _deletion(view, view.services.groups.get(view.principal, read_id(group_id)))


@form("/{group_id:str}/delete", GROUPS, asks=asks_if(handOverTo=None), again=delete_page)
def delete(group_id: IdInPath, sent: InjectedForm) -> Redirect:
    """Delete the group, if the word was typed."""
    group = sent.services.groups.get(sent.principal, read_id(group_id))
    check_typed(sent)
    successor = sent.services.service_accounts.find_successor(sent.principal, sent.text("handOverTo"))
    sent.services.groups.delete(sent.principal, group.group_id, sent.origin, successor=successor)
    return see_other(f"{GROUPS.path}?notice=deleted")


def _change_attribute(sent: SubmittedForm, number: int, *, is_given: bool) -> Redirect:
    attribute = (sent.form.get("key", ""), sent.form.get("value", ""))
    sent.services.groups.change_attribute(sent.principal, number, attribute, sent.origin, is_given=is_given)
    return see_other(f"{GROUPS.path}/{number}?notice=attribute")


def _group(view: View, number: int, *, page: int = 1, notice: str | None = None) -> Response[str]:
    group = view.services.groups.get(view.principal, number)
    service = view.services.groups
    at, members = read_page(
        lambda offset, size: service.list_members(view.principal, number, offset=offset, size=size),
        page,
        f"{GROUPS.path}/{number}",
    )
    return view.render(
        "people/group.html",
        group=group,
        members=members,
        at=at,
        notice=notice,
    )


def _deletion(view: View, group: GroupRecord) -> Response[str]:
    wanted = UserSearch(owners=frozenset({ServiceOwner(group_id=group.group_id)}))
    owned = view.services.user_administration.search(view.principal, wanted, size=LISTED)
    return view.render(
        "people/group_delete.html",
        group=group,
        member_count=view.services.groups.list_members(view.principal, group.group_id, size=1).count,
        owned=owned.items,
        owned_count=owned.count,
        word=DELETION_WORD,
    )
