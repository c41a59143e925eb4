"""Finding people, inviting them, and the links with which they set a password."""

from collections.abc import Mapping
from dataclasses import replace

from litestar import Response
from litestar.params import FromQuery

from keyturn.core.audit import AuditAction, Target
from keyturn.core.people import UserRecord, UserState
from keyturn.core.permissions import DEFAULT_PERMISSIONS
from keyturn.core.searches import UserOrder, UserSearch
from keyturn.errors import InvalidInput
from keyturn.services.people.administration import PEOPLE as PEOPLE_ALONE
from keyturn.services.people.identity.invitations import Invitation
from keyturn.web.pages.frame.account_lists import PEOPLE, InjectedAccountList, find_account
from keyturn.web.pages.frame.forms import form, page
from keyturn.web.pages.frame.lists import Column, ListQuery, read_list
from keyturn.web.pages.frame.notices import deleted_name, said
from keyturn.web.pages.frame.paging import ROWS, read_page
from keyturn.web.pages.frame.pickers import Suggestion, suggested_users
from keyturn.web.pages.frame.views import InjectedForm, InjectedView, View
from keyturn.web.pages.people.accounts import account_page
from keyturn.web.pages.people.permission_boxes import ADMINISTRATORS, BOX, permission_groups
from keyturn.web.requests import AnyRequest, IdInPath, asked_id

STATES: Mapping[UserState, str] = {
    UserState.ACTIVE: "Active",
    UserState.INVITED: "Invited",
    UserState.LOCKED: "Locked",
    UserState.SUSPENDED: "Suspended",
}
"""The parts of the list, in the order in which they are offered."""
COLUMNS: Mapping[str, Column] = {
    "name": Column("Name"),
    "state": Column("State"),
    "keys": Column("Keys", is_first_descending=True),
    "used": Column("Last sign-in", is_first_descending=True),
}
OFFERED_GROUPS = 20
"""How many groups the filter offers; where there are more, the page of a group leads to its members."""


@page("/", PEOPLE)
def users_page(
    request: AnyRequest,
    view: InjectedView,
    page: FromQuery[int] = 1,
    notice: FromQuery[str | None] = None,
    deleted: FromQuery[str | None] = None,
) -> Response[str]:
    """Show the people that are looked for, by name unless another order is asked for."""
    service, principal = view.services.user_administration, view.principal
    asked, rule = _asked(request), service.rule
    found = UserSearch(
        text=asked.text or None,
        kinds=PEOPLE_ALONE,
        in_group=asked_id(asked.filters["group"]) or None,
        rule=rule,
        order=UserOrder(asked.column),
        is_descending=asked.is_descending,
    )
    state = asked.filters["state"]
    wanted = replace(found, state=UserState(state)) if state else found
    at, users = read_page(
        lambda offset, size: service.search(principal, wanted, offset=offset, size=size),
        page,
        PEOPLE.path,
        size=ROWS,
        **asked.query,
    )
    counts = service.count_states(principal, found)
    ids = [user.user_id for user in users]
    return view.render(
        "people/users.html",
        users=users,
        total=service.count_states(principal, UserSearch(kinds=PEOPLE_ALONE)).total,
        at=at,
        sorting=asked.sorting,
        segments=asked.segments(
            counts.total, {state.value: (label, getattr(counts, state)) for state, label in STATES.items()}
        ),
        groups=_offered_groups(view, found.in_group),
        rule=rule,
        administration=ADMINISTRATORS,
        invitations=service.invitation_ends(principal, ids),
        key_counts=view.services.keys.count_living(ids),
        values=asked.values,
        notice=_deleted(view, deleted) if notice == "deleted" else None,
    )


def _offered_groups(view: View, chosen: int | None) -> list[tuple[int, str]]:
    """Return the groups of the filter: all, or where they are too many for a choice the chosen one alone."""
    groups = view.services.groups
    offered = groups.list_visible(view.principal, size=OFFERED_GROUPS)
    if offered.count <= OFFERED_GROUPS:
        return [(group.group_id, group.name) for group in offered]
    return [] if chosen is None else sorted(groups.names(view.principal, {chosen}).items())


def _asked(request: AnyRequest) -> ListQuery:
    """Read what is asked of the list; what is no number of a group asks for no group."""
    group = str(asked_id(str(request.query_params.get("group", "")).strip()) or "")
    return read_list(
        {**request.query_params, "group": group},
        PEOPLE.path,
        COLUMNS,
        {"state": set(UserState), "group": {group}},
    )


def _deleted(view: View, number: str | None) -> str:
    name = deleted_name(view, AuditAction.USER_DELETED, Target.USER, number, "userid")
    if not name:
        return "Deleted the user, with all keys and sessions."
    return said("Deleted <b>{}</b>, with all keys and sessions.", name)


@page("/suggestions", PEOPLE)
def suggestions(view: InjectedView, q: FromQuery[str] = "") -> Response[list[Suggestion]]:
    """Answer with users for what somebody types."""
    return suggested_users(view, q)


@page("/new", PEOPLE)
def new_page(view: InjectedView) -> Response[str]:
    """Show the form for a new user."""
    return view.render(
        "people/user_new.html",
        permission_groups=permission_groups(view.principal, DEFAULT_PERMISSIONS, view.values),
        always=DEFAULT_PERMISSIONS,
    )


@form("/new", PEOPLE, again=new_page)
def create(sent: InjectedForm) -> Response[str]:
    """Make a user; their user name is their e-mail address unless another is given."""
    email = sent.text("email")
    userid = sent.text("userid") or email
    if userid is None:
        raise InvalidInput("userid", "Enter an email address or a user name.")
    if userid.isdigit():
        raise InvalidInput("userid", "Add at least one letter: digits alone are reserved for user numbers.")
    added = sent.services.user_administration.add(
        sent.principal,
        sent.origin,
        userid=userid,
        profile={"name": sent.text("name"), "email": email},
        password=None,
        permissions=sent.ticked(BOX),
    )
    return _show_link(sent, added.record, added.invitation, is_new=True)


@form("/{user_id:str}/invite", PEOPLE, again=account_page)
def invite(user_id: IdInPath, sent: InjectedForm, account_list: InjectedAccountList) -> Response[str]:
    """Make a new link with which the person sets a password, and show it, this once."""
    user = find_account(sent, account_list, user_id)
    invitation = sent.services.user_administration.invite(
        sent.principal, user.iamid, user.userid, sent.origin
    )
    return _show_link(sent, user, invitation, is_new=False)


def _show_link(view: View, user: UserRecord, invitation: Invitation | None, *, is_new: bool) -> Response[str]:
    return view.render("people/link.html", user=user, invitation=invitation, is_new=is_new)
