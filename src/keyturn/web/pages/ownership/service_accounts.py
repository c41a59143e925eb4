"""Service accounts, for administrators and for those who own some."""

from collections.abc import Mapping
from typing import Any

from litestar import Response
from litestar.params import FromQuery
from litestar.response import Redirect

from keyturn.core.audit import AuditAction, Target
from keyturn.core.networks import read_address
from keyturn.core.permissions import Permission
from keyturn.core.records import ApiKeyRecord
from keyturn.core.searches import UserOrder, UserSearch
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
from keyturn.web.pages.frame.lists import Column, read_list
from keyturn.web.pages.frame.notices import deleted_name, said
from keyturn.web.pages.frame.paging import ROWS, read_page
from keyturn.web.pages.frame.reauthentication import NEVER_ASKS
from keyturn.web.pages.frame.rendering import see_other
from keyturn.web.pages.frame.views import (
    InjectedForm,
    InjectedView,
    View,
)
from keyturn.web.pages.keys.forms import (
    OFFERED_SERVICES,
    key_form,
    new_key_of,
    problems_of,
    show_created,
    shown_key,
)
from keyturn.web.pages.keys.key_page import show_key
from keyturn.web.pages.keys.tab import show_it_was_shown
from keyturn.web.pages.people.account_notices import shown_name
from keyturn.web.pages.people.accounts import (
    account_page,
    group_choices,
    paths_of_key,
)
from keyturn.web.pages.people.permission_boxes import ADMINISTRATORS, BOX, permission_groups
from keyturn.web.pages.people.successors import owner_in
from keyturn.web.requests import AnyRequest, IdInPath, read_id

COLUMNS: Mapping[str, Column] = {
    "name": Column("Name"),
    "state": Column("State"),
    "keys": Column("Keys", is_first_descending=True),
}


@page("/", *OF_SERVICE_ACCOUNTS)
def service_accounts_page(
    request: AnyRequest,
    view: InjectedView,
    account_list: InjectedAccountList,
    notice: FromQuery[str | None] = None,
    deleted: FromQuery[str | None] = None,
    page: FromQuery[int] = 1,
) -> Response[str] | Redirect:
    """Show those of the service accounts that the person manages that are looked for."""
    if not account_list.is_administration and view.principal.may(Permission.USER_ADMIN):
        return see_other(SERVICE_ACCOUNTS.path)
    service, rule = view.services.service_accounts, view.services.user_administration.rule
    asked = read_list(request.query_params, account_list.path, COLUMNS)
    wanted = UserSearch(
        text=asked.text or None,
        rule=rule,
        order=UserOrder(asked.column),
        is_descending=asked.is_descending,
    )
    at, users = read_page(
        lambda offset, size: service.list_visible(view.principal, wanted=wanted, offset=offset, size=size),
        page,
        account_list.path,
        size=ROWS,
        **asked.query,
    )
    return view.render(
        "ownership/service_accounts.html",
        account_list=account_list,
        users=users,
        owners=owners_of(view, users),
        rule=rule,
        sorting=asked.sorting,
        values=asked.values,
        administration=ADMINISTRATORS,
        key_counts=view.services.keys.count_living([user.user_id for user in users]),
        at=at,
        notice=_deleted(view, deleted) if notice == "deleted" else None,
    )


def _deleted(view: View, number: str | None) -> str:
    name = deleted_name(view, AuditAction.USER_DELETED, Target.USER, number, "userid")
    if not name:
        return "Deleted the service account. Its keys are refused from now on."
    return said("Deleted the service account <b>{}</b>. Its keys are refused from now on.", name)


@page("/new", SERVICE_ACCOUNTS)
def new_page(view: InjectedView) -> Response[str]:
    """Show the form for a new service account."""
    return view.render(
        "ownership/service_account_new.html",
        permission_groups=permission_groups(view.principal, frozenset(), view.values),
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
        owner=owner_in(sent),
        permissions=sent.ticked(BOX),
    )
    return see_other(f"{SERVICE_ACCOUNTS.path}/{user.user_id}?notice=created")


@form("/{user_id:str}/hand-over", SERVICE_ACCOUNTS, again=account_page)
def transfer(user_id: IdInPath, sent: InjectedForm, account_list: InjectedAccountList) -> Redirect:
    """Give the service account to another owner."""
    user = find_account(sent, account_list, user_id)
    sent.services.service_accounts.transfer(sent.principal, user.userid, owner_in(sent), sent.origin)
    return see_other(f"{account_list.path}/{user.user_id}?notice=handed-over")


@page("/{user_id:str}/keys/new", *OF_SERVICE_ACCOUNTS)
def new_key_page(user_id: IdInPath, view: InjectedView, account_list: InjectedAccountList) -> Response[str]:
    """Show the form for a new key of the service account."""
    user = find_account(view, account_list, user_id)
    path = f"{account_list.path}/{user.user_id}"
    offered = view.services.apis.list_givable(view.principal, user.user_id, size=OFFERED_SERVICES)
    return view.render(
        "keys/new.html",
        action=f"{path}/keys",
        back=path,
        back_label=shown_name(user),
        owner_name=shown_name(user),
        current_part="administration" if account_list.is_administration else "profile",
        address=read_address(view.origin.address or ""),
        project_choices=[],
        **key_form(view, offered),
        problems=problems_of(view),
    )


@form("/{user_id:str}/keys", *OF_SERVICE_ACCOUNTS, again=new_key_page)
def create_key(user_id: IdInPath, sent: InjectedForm, account_list: InjectedAccountList) -> Response[str]:
    """Make a key of the service account and show it, this once."""
    user = find_account(sent, account_list, user_id)
    back = f"{account_list.path}/{user.user_id}"
    try:
        created = sent.services.service_accounts.create_key(
            sent.principal, user.userid, sent.origin, new_key_of(sent)
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
    name = shown_name(user)
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
    user, number = find_account(sent, account_list, user_id), read_id(key_id)
    sent.services.service_accounts.revoke_key(sent.principal, user.userid, number, sent.origin)
    return see_other(f"{account_list.path}/{user.user_id}?notice=revoked&about={number}")
