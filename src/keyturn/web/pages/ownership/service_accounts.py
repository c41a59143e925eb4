"""Service accounts, for administrators and for those who own some."""

from litestar import Response, get, post
from litestar.params import FromQuery
from litestar.response import Redirect

from keyturn.core.people import ServiceOwner
from keyturn.core.permissions import Permission
from keyturn.core.records import KeyState
from keyturn.errors import Conflict, KeyturnError, NotFound
from keyturn.web.pages.frame.account_lists import (
    SERVICE_ACCOUNTS,
    InjectedAccountList,
    find_account,
    owners_of,
)
from keyturn.web.pages.frame.paging import ROWS, paging
from keyturn.web.pages.frame.reauthentication import NEVER_ASKS
from keyturn.web.pages.frame.rendering import see_other
from keyturn.web.pages.frame.views import (
    TOLD_ON_THE_PAGE,
    InjectedForm,
    InjectedView,
    SubmittedForm,
    View,
)
from keyturn.web.pages.keys.forms import (
    new_key_of,
    problems_of,
    show_created,
    shown_key,
)
from keyturn.web.pages.keys.tab import show_it_was_shown
from keyturn.web.pages.people.accounts import (
    BOX,
    group_choices,
    permission_boxes,
    show_account,
)
from keyturn.web.requests import IdInPath, asked_id, in_thread, read_id

_NOTICES = {"deleted": "The service account is deleted."}


@get("/", include_in_schema=False)
@in_thread
def service_accounts_page(
    view: InjectedView,
    account_list: InjectedAccountList,
    notice: FromQuery[str | None] = None,
    page: FromQuery[int] = 1,
) -> Response[str] | Redirect:
    """Show the service accounts that the person manages."""
    if not account_list.is_administration and view.principal.may(Permission.USER_ADMIN):
        return see_other(SERVICE_ACCOUNTS.path)
    service = view.services.service_accounts
    at = paging(service.list_visible(view.principal, size=1).count, page, account_list.path)
    users = service.list_visible(view.principal, offset=at.offset, size=ROWS).items
    return view.render(
        "ownership/service_accounts.html",
        account_list=account_list,
        users=users,
        owners=owners_of(view, users),
        at=at,
        notice=_NOTICES.get(notice or ""),
    )


@get("/new", include_in_schema=False)
@in_thread
def new_page(view: InjectedView) -> Response[str]:
    """Show the form for a new service account."""
    return _new(view)


@post("/new", include_in_schema=False)
@in_thread
def create(sent: InjectedForm) -> Response[str] | Redirect:
    """Make a service account."""
    service = sent.services.service_accounts
    try:
        user = service.add(
            sent.principal,
            sent.origin,
            userid=sent.form.get("userid", ""),
            name=sent.text("name"),
            owner=_owner(sent),
            permissions=sent.ticked(BOX),
        )
    except TOLD_ON_THE_PAGE as error:
        return _new(sent, error=error, values=sent.form)
    return see_other(f"{SERVICE_ACCOUNTS.path}/{user.user_id}")


@post("/{user_id:str}/hand-over", include_in_schema=False)
@in_thread
def transfer(user_id: IdInPath, sent: InjectedForm) -> Response[str] | Redirect:
    """Give the service account to another owner."""
    user = find_account(sent, SERVICE_ACCOUNTS, user_id)
    try:
        sent.services.service_accounts.transfer(sent.principal, user.userid, _owner(sent), sent.origin)
    except TOLD_ON_THE_PAGE as error:
        return show_account(sent, SERVICE_ACCOUNTS, user, error=error, values=sent.form)
    return see_other(f"{SERVICE_ACCOUNTS.path}/{user.user_id}?notice=handed-over")


@post("/{user_id:str}/keys", include_in_schema=False)
@in_thread
def create_key(user_id: IdInPath, sent: InjectedForm, account_list: InjectedAccountList) -> Response[str]:
    """Make a key of the service account and show it, this once."""
    user = find_account(sent, account_list, user_id)
    back = f"{account_list.path}/{user.user_id}"
    try:
        created = sent.services.service_accounts.create_key(
            sent.principal, user.userid, sent.origin, new_key_of(sent.form, sent.services)
        )
    except Conflict as error:
        return show_it_was_shown(sent.pages, sent.visitor, error, back=back)
    except TOLD_ON_THE_PAGE as error:
        problems = problems_of(sent.form, sent.services)
        return show_account(sent, account_list, user, error=error, problems=problems, values=sent.form)
    return show_created(sent.services, sent.pages, sent.visitor, created, back=back)


@get("/{user_id:str}/keys/{key_id:str}/revoke", include_in_schema=False)
@in_thread
def revoke_page(
    user_id: IdInPath, key_id: IdInPath, view: InjectedView, account_list: InjectedAccountList
) -> Response[str]:
    """Ask before revoking, saying when and from where the key was last used."""
    user = find_account(view, account_list, user_id)
    record = view.services.keys.get_of(user.user_id, read_id(key_id))
    now = view.services.system.now()
    if record.state(now) is KeyState.REVOKED:
        raise NotFound
    back = f"{account_list.path}/{user.user_id}"
    return view.render(
        "keys/revoke.html",
        key=shown_key(record, now),
        action=f"{back}/keys/{record.key_id}/revoke",
        back=back,
    )


@post("/{user_id:str}/keys/{key_id:str}/revoke", include_in_schema=False, opt=NEVER_ASKS)
@in_thread
def revoke_key(
    user_id: IdInPath, key_id: IdInPath, sent: InjectedForm, account_list: InjectedAccountList
) -> Redirect:
    """End the key."""
    user = find_account(sent, account_list, user_id)
    sent.services.service_accounts.revoke_key(sent.principal, user.userid, read_id(key_id), sent.origin)
    return see_other(f"{account_list.path}/{user.user_id}?notice=revoked")


def _owner(sent: SubmittedForm) -> ServiceOwner:
    """Return the owner that the form names: a person by user name, or a group of the list."""
    group = sent.text("group")
    return sent.services.service_accounts.find_owner(
        sent.principal,
        userid=sent.text("owner"),
        group_id=None if group is None else asked_id(group),
    )


def _new(
    view: View, *, error: KeyturnError | None = None, values: dict[str, str] | None = None
) -> Response[str]:
    return view.render(
        "ownership/service_account_new.html",
        error=error,
        permission_boxes=permission_boxes(view.principal, frozenset(), values),
        all_groups=group_choices(view),
        values=values or {},
    )


HANDLERS = (service_accounts_page, create_key, revoke_page, revoke_key)
ADMINISTRATION_HANDLERS = (new_page, create, transfer)
