"""Finding people, making their accounts, and the links with which they set a password."""

from litestar import Response
from litestar.params import FromQuery

from keyturn.core.people import UserRecord
from keyturn.core.permissions import DEFAULT_PERMISSIONS
from keyturn.core.searches import UserSearch
from keyturn.services.people.administration import PEOPLE as PEOPLE_ALONE
from keyturn.services.people.identity.invitations import Invitation
from keyturn.web.pages.frame.account_lists import PEOPLE, InjectedAccountList, find_account
from keyturn.web.pages.frame.forms import form, page
from keyturn.web.pages.frame.paging import read_page
from keyturn.web.pages.frame.views import InjectedForm, InjectedView, View
from keyturn.web.pages.people.accounts import BOX, account_page, permission_boxes
from keyturn.web.requests import IdInPath

STATUSES = {"active": False, "disabled": True, "all": None}
"""The choices of the filter, and whether such users are disabled."""

_NOTICES = {"deleted": "The user is deleted."}


@page("/", PEOPLE)
def users_page(
    view: InjectedView,
    text: FromQuery[str] = "",
    status: FromQuery[str] = "active",
    page: FromQuery[int] = 1,
    notice: FromQuery[str | None] = None,
) -> Response[str]:
    """Show the people that are looked for."""
    status = status if status in STATUSES else "active"
    wanted = UserSearch(text=text.strip() or None, is_disabled=STATUSES[status], kinds=PEOPLE_ALONE)
    service = view.services.user_administration
    at, users = read_page(
        lambda offset, size: service.search(view.principal, wanted, offset=offset, size=size),
        page,
        PEOPLE.path,
        text=text,
        status=status,
    )
    return view.render(
        "people/users.html",
        users=users,
        at=at,
        with_password={one.iamid for one in view.services.identity if one.stores_password},
        values={"text": text, "status": status},
        notice=_NOTICES.get(notice or ""),
    )


@page("/new", PEOPLE)
def new_page(view: InjectedView) -> Response[str]:
    """Show the form for a new user."""
    return view.render(
        "people/user_new.html",
        permission_boxes=permission_boxes(view.principal, DEFAULT_PERMISSIONS, view.values),
        always=DEFAULT_PERMISSIONS,
    )


@form("/new", PEOPLE, again=new_page)
def create(sent: InjectedForm) -> Response[str]:
    """Make a user; their user name is their e-mail address unless another is given."""
    email = sent.text("email")
    added = sent.services.user_administration.add(
        sent.principal,
        sent.origin,
        userid=sent.text("userid") or email or "",
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
