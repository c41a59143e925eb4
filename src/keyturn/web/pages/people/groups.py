"""Groups: what is said of them, who is in them, what their members have through them."""

from collections.abc import Mapping

from litestar import Response
from litestar.params import FromQuery
from litestar.response import Redirect

from keyturn.core.audit import AuditAction, Target
from keyturn.core.people import GroupRecord, ServiceOwner
from keyturn.core.searches import GroupSearch, UserSearch
from keyturn.errors import InvalidInput
from keyturn.web.pages.frame.confirmation import DELETION_WORD, LISTED, check_typed
from keyturn.web.pages.frame.forms import form, page
from keyturn.web.pages.frame.lists import Column, named_search, read_list
from keyturn.web.pages.frame.notices import deleted_name, said
from keyturn.web.pages.frame.paging import ROWS, read_page
from keyturn.web.pages.frame.pickers import Suggestion, picked_member, suggested_groups
from keyturn.web.pages.frame.reauthentication import NEVER_ASKS, asks_if
from keyturn.web.pages.frame.rendering import see_other
from keyturn.web.pages.frame.tabs import GROUPS
from keyturn.web.pages.frame.views import (
    InjectedForm,
    InjectedView,
    SubmittedForm,
    View,
)
from keyturn.web.pages.people.account_notices import shown_name
from keyturn.web.pages.people.successors import successor_in
from keyturn.web.requests import AnyRequest, IdInPath, asked_id, read_id

SENTENCES: Mapping[str, str] = {
    "created": "Created the group <b>{}</b>.",
    "saved": "Saved the group <b>{}</b>.",
    "attribute": "Saved attributes of <b>{}</b>.",
}
"""The part of the group that a notice tells."""
COLUMNS: Mapping[str, Column] = {
    "name": Column("Name"),
    "members": Column("Members", is_first_descending=True),
}


@page("/", GROUPS)
def groups_page(
    request: AnyRequest,
    view: InjectedView,
    page: FromQuery[int] = 1,
    notice: FromQuery[str | None] = None,
    deleted: FromQuery[str | None] = None,
) -> Response[str]:
    """Show the groups that are looked for, by name unless another order is asked for."""
    asked = read_list(request.query_params, GROUPS.path, COLUMNS)
    at, groups = read_page(
        lambda offset, size: view.services.groups.list_visible(
            view.principal, named_search(asked, GroupSearch), offset=offset, size=size
        ),
        page,
        GROUPS.path,
        size=ROWS,
        **asked.query,
    )
    return view.render(
        "people/groups.html",
        groups=groups,
        sorting=asked.sorting,
        values=asked.values,
        member_counts=view.services.groups.count_members(
            view.principal, [group.group_id for group in groups]
        ),
        at=at,
        notice=_deleted(view, deleted) if notice == "deleted" else None,
    )


def _deleted(view: View, number: str | None) -> str:
    name = deleted_name(view, AuditAction.GROUP_DELETED, Target.GROUP, number, "name")
    if not name:
        return "Deleted the group. Its members stay."
    return said("Deleted the group <b>{}</b>. Its members stay.", name)


@page("/suggestions", GROUPS)
def suggestions(view: InjectedView, q: FromQuery[str] = "") -> Response[list[Suggestion]]:
    """Answer with groups for what somebody types."""
    return suggested_groups(view, q)


@page("/new", GROUPS)
def new_page(view: InjectedView) -> Response[str]:
    """Show the form for a new group."""
    return view.render("people/group_new.html")


@form("/new", GROUPS, asks=NEVER_ASKS, again=new_page)
def create(sent: InjectedForm) -> Redirect:
    """Make a group."""
    _check_named(sent.form.get("name", ""))
    group = sent.services.groups.add(
        sent.principal,
        sent.origin,
        name=sent.form.get("name", ""),
        email=sent.text("email"),
        description=sent.text("description"),
    )
    return see_other(f"{GROUPS.path}/{group.group_id}?notice=created")


def _check_named(name: str) -> None:
    if not name.strip():
        raise InvalidInput("name", "Enter a name for the group.")


@page("/{group_id:str}", GROUPS)
def group_page(
    group_id: IdInPath,
    view: InjectedView,
    page: FromQuery[int] = 1,
    notice: FromQuery[str | None] = None,
    about: FromQuery[str | None] = None,
) -> Response[str]:
    """Show a group; `about` is the number of the user whom the notice tells of."""
    group = view.services.groups.get(view.principal, read_id(group_id))
    return _group(view, group, page=page, notice=_notice(view, group, notice or "", about or ""))


def _notice(view: View, group: GroupRecord, kind: str, about: str) -> str | None:
    if kind in SENTENCES:
        return said(SENTENCES[kind], group.name)
    sentence = {"added": "Added <b>{}</b> to {}.", "removed": "Removed <b>{}</b> from {}."}.get(kind)
    if sentence is None:
        return None
    wanted = UserSearch(ids=frozenset({asked_id(about)}))
    found = view.services.user_administration.search(view.principal, wanted, size=1).items
    return said(sentence, shown_name(found[0]) if found else "the user", group.name)


@form("/{group_id:str}", GROUPS, asks=NEVER_ASKS, again=group_page)
def update(group_id: IdInPath, sent: InjectedForm) -> Redirect:
    """Change what is said of a group."""
    number, changes = read_id(group_id), sent.changed("name", "email", "description")
    if "name" in changes:
        _check_named(changes["name"])
    sent.services.groups.update(
        sent.principal,
        number,
        sent.origin,
        **changes,
    )
    return see_other(f"{GROUPS.path}/{number}?notice=saved")


@form("/{group_id:str}/members/add", GROUPS, again=group_page)
def add_member(group_id: IdInPath, sent: InjectedForm) -> Redirect:
    """Put a user into the group."""
    number, user = read_id(group_id), picked_member(sent, "userid")
    sent.services.groups.add_member(sent.principal, number, sent.origin, iamid=user.iamid, userid=user.userid)
    return see_other(f"{GROUPS.path}/{number}?notice=added&about={user.user_id}")


@form("/{group_id:str}/members/{membership_id:str}/remove", GROUPS, asks=NEVER_ASKS)
def remove_member(group_id: IdInPath, membership_id: IdInPath, sent: InjectedForm) -> Redirect:
    """Take a user out of the group."""
    number = read_id(group_id)
    member = sent.services.groups.remove_member(sent.principal, number, read_id(membership_id), sent.origin)
    return see_other(f"{GROUPS.path}/{number}?notice=removed&about={member.user_id}")


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
    successor = successor_in(sent)
    sent.services.groups.delete(sent.principal, group.group_id, sent.origin, successor=successor)
    return see_other(f"{GROUPS.path}?notice=deleted&deleted={group.group_id}")


def _change_attribute(sent: SubmittedForm, number: int, *, is_given: bool) -> Redirect:
    value = sent.form.get("value", "") if is_given else sent.text("value")
    attribute = (sent.form.get("key", ""), value)
    sent.services.groups.change_attribute(sent.principal, number, attribute, sent.origin, is_given=is_given)
    return see_other(f"{GROUPS.path}/{number}?notice=attribute")


def _group(view: View, group: GroupRecord, *, page: int, notice: str | None) -> Response[str]:
    service = view.services.groups
    at, members = read_page(
        lambda offset, size: service.list_members(view.principal, group.group_id, offset=offset, size=size),
        page,
        f"{GROUPS.path}/{group.group_id}",
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
