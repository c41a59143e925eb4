"""The page of one account: what it is, what it may do, its keys, and how it is changed."""

from collections.abc import Mapping
from typing import Any

from litestar import Response
from litestar.params import FromQuery
from litestar.response import Redirect

from keyturn.core.apis import ApiRecord
from keyturn.core.pages import Page
from keyturn.core.people import UserKind, UserRecord
from keyturn.core.permissions import ALLOWS, DEFAULT_PERMISSIONS, Permission
from keyturn.core.principal import Principal
from keyturn.web.pages.frame.account_lists import (
    ADMINISTERED,
    ALL_ACCOUNTS,
    AccountList,
    InjectedAccountList,
    find_account,
    list_of_account,
    owners_of,
)
from keyturn.web.pages.frame.forms import form, page
from keyturn.web.pages.frame.reauthentication import NEVER_ASKS
from keyturn.web.pages.frame.rendering import see_other
from keyturn.web.pages.frame.tabs import KEYS
from keyturn.web.pages.frame.views import WAS, InjectedForm, InjectedView, SubmittedForm, View
from keyturn.web.pages.keys.forms import (
    OFFERED_SERVICES,
    key_form,
    project_names,
    project_of,
    shown_key,
)
from keyturn.web.pages.keys.key_page import uses_of
from keyturn.web.requests import IdInPath

BOX = "permission."
"""The prefix of the name of a permission's box."""
LISTED_KEYS = 30
"""So that the page stays under 60 KB; the others are a link away."""
LISTED_GROUPS = 50
OFFERED_GROUPS = 200
"""How many groups stand in a choice; where there are more, a number is typed instead."""

NOTICES = {
    "permissions": "The permissions are saved.",
    "attribute": "The attributes are saved.",
    "disabled": "The account is disabled. Its keys and sessions are refused from now on.",
    "enabled": "The account is enabled. Keys that were not revoked work again.",
    "handed-over": "The service account has a new owner.",
    "revoked": "The key is revoked. It and every token made from it are refused from now on.",
}


@page("/{user_id:str}", *ALL_ACCOUNTS)
def account_page(
    user_id: IdInPath,
    view: InjectedView,
    account_list: InjectedAccountList,
    notice: FromQuery[str | None] = None,
) -> Response[str] | Redirect:
    """Show an account; lead to the list that it is in."""
    found_in = list_of_account(view, account_list, user_id)
    if found_in is not account_list:
        return see_other(f"{found_in.path}/{user_id}")
    user = find_account(view, account_list, user_id)
    return show_account(view, account_list, user, notice=NOTICES.get(notice or ""))


@form("/{user_id:str}/permissions", *ADMINISTERED, again=account_page)
def set_permissions(user_id: IdInPath, sent: InjectedForm, account_list: InjectedAccountList) -> Redirect:
    """Give what was ticked and take what was unticked, of what the administrator may give."""
    user = find_account(sent, account_list, user_id)
    offered = {name for name in Permission if _may_give(sent.principal, name)}
    ticked, shown = offered & set(sent.ticked(BOX)), offered & set(sent.ticked(WAS + BOX))
    sent.services.user_administration.give_and_take(
        sent.principal,
        user.iamid,
        user.userid,
        sent.origin,
        given=ticked - shown,
        taken=shown - ticked,
    )
    return see_other(f"{account_list.path}/{user.user_id}?notice=permissions")


@form("/{user_id:str}/attributes/add", *ADMINISTERED, again=account_page)
def add_attribute(user_id: IdInPath, sent: InjectedForm, account_list: InjectedAccountList) -> Redirect:
    """Give the account an attribute."""
    return _change_attribute(sent, account_list, user_id, is_given=True)


@form("/{user_id:str}/attributes/remove", *ADMINISTERED, asks=NEVER_ASKS, again=account_page)
def remove_attribute(user_id: IdInPath, sent: InjectedForm, account_list: InjectedAccountList) -> Redirect:
    """Take an attribute from the account."""
    return _change_attribute(sent, account_list, user_id, is_given=False)


def _change_attribute(
    sent: SubmittedForm, account_list: AccountList, user_id: str, *, is_given: bool
) -> Redirect:
    user = find_account(sent, account_list, user_id)
    attribute = (sent.form.get("key", ""), sent.form.get("value", ""))
    sent.services.user_administration.change_attribute(
        sent.principal, user.iamid, user.userid, attribute, sent.origin, is_given=is_given
    )
    return see_other(f"{account_list.path}/{user.user_id}?notice=attribute")


def show_account(
    view: View,
    account_list: AccountList,
    user: UserRecord,
    *,
    notice: str | None = None,
    problems: dict[str, str] | None = None,
) -> Response[str]:
    """Return the page of an account, with what went wrong there and what was typed."""
    return view.render(
        "people/account.html",
        account_list=account_list,
        user=user,
        has_password_here=user.kind is UserKind.PERSON and view.services.identity.stores_password_of(user),
        owner=owners_of(view, [user])[user.owner] if user.owner is not None else None,
        permission_boxes=permission_boxes(view.principal, user.permissions, view.values),
        groups=view.services.groups.list_of(view.principal, user.user_id, size=LISTED_GROUPS)
        if account_list.is_administration
        else Page(0, ()),
        **group_choices(view),
        **_keys(view, account_list, user),
        **(key_form(view.services, _offered(view, user)) if user.kind is UserKind.SERVICE else {}),
        notice=notice,
        problems=problems or {},
    )


def _offered(view: View, user: UserRecord) -> Page[ApiRecord]:
    """Return the services with those scopes of theirs that a key of this account may be narrowed to."""
    return view.services.apis.list_givable(view.principal, user.user_id, size=OFFERED_SERVICES)


def _keys(view: View, account_list: AccountList, user: UserRecord) -> dict[str, Any]:
    now = view.services.system.now()
    active = view.services.keys.list_active(user.user_id, size=LISTED_KEYS)
    names = project_names(view.services, view.principal, active)
    uses = uses_of(view, active.items)
    shown = [
        shown_key(
            key,
            now,
            **paths_of_key(account_list, user, key.key_id),
            project=project_of(key, names),
            **uses[key.key_id],
            owner_is_disabled=user.is_disabled,
        )
        for key in active
    ]
    return {"keys": shown, "key_count": active.count}


def paths_of_key(account_list: AccountList, user: UserRecord, key_id: int) -> dict[str, Any]:
    """Return where a key of an account is shown and revoked. Only its owner, or the key, rotates it."""
    if user.kind is UserKind.SERVICE:
        return {"path": f"{account_list.path}/{user.user_id}/keys/{key_id}", "may_rotate": False}
    return {
        "path": f"{KEYS.path}/{key_id}",
        "revoke": f"{KEYS.path}/revoke?key={key_id}",
        "may_rotate": False,
    }


def group_choices(view: View) -> dict[str, Any]:
    """Return the groups that the viewer may name as an owner: the first, and whether there are others."""
    offered = view.services.groups.list_visible(view.principal, size=OFFERED_GROUPS)
    return {
        "all_groups": [(group.group_id, group.name) for group in offered],
        "has_more_groups": offered.count > len(offered),
    }


def permission_boxes(
    principal: Principal, held: frozenset[str], values: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Return the permissions as boxes: as they are held, or as they were ticked in `values`.

    One that the administrator may not give is shown, and not offered. Those that allow something here come
    first.
    """
    return [
        {
            "name": name.value,
            "box": BOX + name.value,
            "allows": ALLOWS.get(name, "Stored, and told to APIs behind /verify."),
            "is_offered": _may_give(principal, name),
            "is_ticked": BOX + name in values
            if "permissions" in values and _may_give(principal, name)
            else name in held,
            "was": WAS + BOX + name.value,
            "was_ticked": WAS + BOX + name in values if "permissions" in values else name in held,
        }
        for name in sorted(Permission, key=lambda name: name not in ALLOWS)
    ]


def _may_give(principal: Principal, name: Permission) -> bool:
    return name in principal.carried_permissions or name in DEFAULT_PERMISSIONS
