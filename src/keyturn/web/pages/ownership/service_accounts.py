"""Service accounts, for administrators and for those who own some."""

from typing import Any

from litestar import Response
from litestar.params import FromQuery
from litestar.response import Redirect

from keyturn.core.people import ServiceOwner
from keyturn.core.permissions import Permission
from keyturn.core.records import ApiKeyRecord
from keyturn.errors import Conflict, NotFound
from keyturn.web.pages.frame.account_lists import (
    OF_SERVICE_ACCOUNTS,
    SERVICE_ACCOUNTS,
    AccountList,
    InjectedAccountList,
    find_account,
    owners_of,
)
from keyturn.web.pages.frame.forms import form, page
from keyturn.web.pages.frame.paging import read_page
from keyturn.web.pages.frame.reauthentication import NEVER_ASKS
from keyturn.web.pages.frame.rendering import see_other
from keyturn.web.pages.frame.views import (
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
from keyturn.web.pages.keys.key_page import show_key
from keyturn.web.pages.keys.tab import show_it_was_shown
from keyturn.web.pages.people.accounts import (
    BOX,
    account_page,
    group_choices,
    paths_of_key,
    permission_boxes,
    show_account,
)
from keyturn.web.requests import IdInPath, asked_id, read_id

_NOTICES = {"deleted": "The service account is deleted."}


@page("/", *OF_SERVICE_ACCOUNTS)
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
    at, users = read_page(
        lambda offset, size: service.list_visible(view.principal, offset=offset, size=size),
        page,
        account_list.path,
    )
    return view.render(
        "ownership/service_accounts.html",
        account_list=account_list,
        users=users,
        owners=owners_of(view, users),
        at=at,
        notice=_NOTICES.get(notice or ""),
    )


@page("/new", SERVICE_ACCOUNTS)
def new_page(view: InjectedView) -> Response[str]:
    """Show the form for a new service account."""
    return view.render(
        "ownership/service_account_new.html",
        permission_boxes=permission_boxes(view.principal, frozenset(), view.values),
        **group_choices(view),
    )


@form("/new", SERVICE_ACCOUNTS, again=new_page)
def create(sent: InjectedForm) -> Redirect:
    """Make a service account."""
    service = sent.services.service_accounts
    user = service.add(
        sent.principal,
        sent.origin,
        userid=sent.form.get("userid", ""),
        name=sent.text("name"),
        owner=_owner(sent),
        permissions=sent.ticked(BOX),
    )
    return see_other(f"{SERVICE_ACCOUNTS.path}/{user.user_id}")


@form("/{user_id:str}/hand-over", SERVICE_ACCOUNTS, again=account_page)
def transfer(user_id: IdInPath, sent: InjectedForm, account_list: InjectedAccountList) -> Redirect:
    """Give the service account to another owner."""
    user = find_account(sent, account_list, user_id)
    sent.services.service_accounts.transfer(sent.principal, user.userid, _owner(sent), sent.origin)
    return see_other(f"{account_list.path}/{user.user_id}?notice=handed-over")


def _account_again(user_id: IdInPath, view: View, account_list: InjectedAccountList) -> Response[str]:
    """Show the account again with what was typed for a key, and all that is wrong with it."""
    user = find_account(view, account_list, user_id)
    return show_account(view, account_list, user, problems=problems_of(view.values, view.services))


@form("/{user_id:str}/keys", *OF_SERVICE_ACCOUNTS, again=_account_again)
def create_key(user_id: IdInPath, sent: InjectedForm, account_list: InjectedAccountList) -> Response[str]:
    """Make a key of the service account and show it, this once."""
    user = find_account(sent, account_list, user_id)
    back = f"{account_list.path}/{user.user_id}"
    try:
        created = sent.services.service_accounts.create_key(
            sent.principal, user.userid, sent.origin, new_key_of(sent.form, sent.services)
        )
    except Conflict as error:
        return show_it_was_shown(sent, error, back=back)
    return show_created(sent, created, back=back)


@page("/{user_id:str}/keys/{key_id:str}", *OF_SERVICE_ACCOUNTS)
def key_page(
    user_id: IdInPath, key_id: IdInPath, view: InjectedView, account_list: InjectedAccountList
) -> Response[str]:
    """Show one key: whether it is used, by whom, and what ends with it."""
    record, shown = _key(view, account_list, user_id, key_id)
    return show_key(view, record, **shown)


@page("/{user_id:str}/keys/{key_id:str}/revoke", *OF_SERVICE_ACCOUNTS)
def revoke_page(
    user_id: IdInPath, key_id: IdInPath, view: InjectedView, account_list: InjectedAccountList
) -> Response[str]:
    """Ask before revoking, saying when and from where the key was last used."""
    record, shown = _key(view, account_list, user_id, key_id)
    if record.revoked_at is not None:
        raise NotFound
    return view.render("keys/revoke.html", action=shown["key"]["revoke"], **shown)


def _key(
    view: View, account_list: AccountList, user_id: str, key_id: str
) -> tuple[ApiKeyRecord, dict[str, Any]]:
    """Return a key of the account, and what its pages show."""
    user = find_account(view, account_list, user_id)
    record = view.services.keys.get_of(user.user_id, read_id(key_id))
    name = user.profile.name or user.userid
    return record, {
        "key": shown_key(
            record,
            view.services.system.now(),
            **paths_of_key(account_list, user, record.key_id),
            owner_is_disabled=user.is_disabled,
        ),
        "whose": name,
        "back": f"{account_list.path}/{user.user_id}",
        "back_label": name,
    }


@form("/{user_id:str}/keys/{key_id:str}/revoke", *OF_SERVICE_ACCOUNTS, asks=NEVER_ASKS)
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
